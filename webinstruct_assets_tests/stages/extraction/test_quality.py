"""Pairs against gold: matching and the figures that come of it."""

from pathlib import Path

import pytest

from webinstruct_assets.core.errors import BadInput
from webinstruct_assets.stages.extraction.quality import measure, overlap, read_gold, words


def entry(question: str, answer: str, rule: str = "llm", url: str = "u") -> dict[str, str]:
    return {"url": url, "question": question, "answer": answer, "rule": rule}


def test_mathematics_and_markdown_signs_do_not_count() -> None:
    assert overlap(words(r"Burn $\mathrm{H_2O}$ at **once**."), words("burn H2O at once")) == 1.0


def test_precision_and_recall_per_method() -> None:
    gold = [
        entry("What is one and one?", "It is two"),
        entry("Name a prime number", "Seven"),
        entry("Elsewhere?", "Yes", url="other"),
    ]
    pairs = [
        entry("What is one and one?", "It is two", "marked"),
        entry("What is one and one?", "It is two"),  # a second pair for the same gold pair is wrong
        entry("Name a prime number", "Forty two million"),
        entry("Name a prime number", "Seven"),
    ]
    result = measure(pairs, gold, {"u", "empty"})
    assert (result["gold_pairs"], result["gold_pages"], result["pages_measured"]) == (2, 1, 2)
    assert result["all"] == {"pairs": 4, "right": 2, "precision": 0.5, "recall": 1.0, "f1": 0.667}
    assert result["rules"] == {"pairs": 1, "right": 1, "precision": 1.0, "recall": 0.5, "f1": 0.667}
    assert result["llm"]["right"] == 1


def test_bad_gold_names_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "gold.jsonl"
    path.write_text('{"url": "u", "question": "q", "answer": "a"}\n{"url": "u"}\n')
    with pytest.raises(BadInput, match=r"gold\.jsonl: line 2"):
        read_gold(path)
