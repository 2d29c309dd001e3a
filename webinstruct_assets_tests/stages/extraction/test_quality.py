"""Pairs against gold: matching and the figures that come of it."""

from pathlib import Path
from typing import Any

import pytest

from webinstruct_assets.core.errors import BadInput
from webinstruct_assets.stages.extraction.quality import measure, overlap, read_gold, skipped, words


def entry(question: str, answer: str, rule: str = "llm", url: str = "u") -> dict[str, Any]:
    return {"url": url, "question": question, "answer": answer, "rule": rule, "question_spans": [], "answer_spans": []}


def span(start: int, end: int) -> dict[str, int]:
    return {"start": start, "end": end}


def test_mathematics_and_markdown_signs_do_not_count() -> None:
    assert overlap(words(r"Burn $\mathrm{H_2O}$ at **once**."), words("burn H2O at once")) == 1.0


def test_precision_recall_and_span_overlap() -> None:
    text = "What is one and one?\nIt is two.\nName a prime number\nSeven\nThat was all."
    gold = [
        entry("What is one and one?", "It is two"),
        entry("Name a prime number", "Seven"),
        entry("Elsewhere?", "Yes", url="other"),
    ]
    marked = {
        **entry("What is one and one?", "It is two", "marked"),
        "question_spans": [span(0, 20)],
        "answer_spans": [span(21, 31)],
    }
    pairs = [
        marked,
        {**marked, "rule": "llm"},  # a second pair for the same gold pair is wrong
        entry("Name a prime number", "Forty two million"),
        {**entry("Name a prime number", "Seven"), "question_spans": [span(32, 51)], "answer_spans": [span(52, 71)]},
    ]
    result = measure(pairs, gold, {"u": text, "empty": ""}, {"u": "quiz"})
    assert (result["gold_pairs"], result["gold_pages"], result["pages_measured"]) == (2, 1, 2)
    assert {name: result["all"][name] for name in ("pairs", "right", "precision", "recall", "f1", "spans")} == {
        "pairs": 4, "right": 2, "precision": 0.5, "recall": 1.0, "f1": 0.667, "spans": 2,
    }  # fmt: skip
    assert result["mode"]["rules"]["span_overlap"] == 1.0 == result["rule"]["marked"]["span_overlap"]
    assert 0.6 < result["mode"]["llm"]["span_overlap"] < 0.7  # "That was all." does not belong to it
    assert result["mode"]["llm"]["right"] == 1
    assert result["site"]["quiz"]["recall"] == 1.0
    assert measure([], gold, {"u": text}, {})["all"]["recall"] == 0.0


def test_what_is_lost_by_skipping_the_llm() -> None:
    gold = [entry("What is a?", "This", url=url) for url in ("found", "void")] + [
        entry("What is b?", "That", url="found")
    ]
    pairs = [entry("What is a?", "This", "marked", url="found")]
    result = skipped(pairs, gold, {"found": "", "void": "", "news": ""}, ["void", "news"], {"found"})
    assert result == {
        "no_question": {"pages": 2, "pages_with_gold": 1, "gold_pairs": 1, "false_negative_rate": 0.5},
        "rules_only": {"pages": 1, "gold_pairs": 2, "gold_pairs_missed": 1},
    }


def test_bad_gold_names_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "gold.jsonl"
    path.write_text('{"url": "u", "question": "q", "answer": "a"}\n{"url": "u"}\n')
    with pytest.raises(BadInput, match=r"gold\.jsonl: line 2"):
        read_gold(path)
