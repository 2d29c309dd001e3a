"""Numbered lines: cutting at borders, and verbatim spans of line ranges."""

import random
from collections.abc import Sequence

import pytest

from webinstruct_assets.stages.extraction.lines import (
    NUMBER_TOKENS,
    Cut,
    cuts,
    line_spans,
    numbered,
    shown,
    spans_of,
)
from webinstruct_assets.stages.pages.document import joined


def four_characters(texts: Sequence[str]) -> list[int]:
    """A token is four characters."""
    return [len(text) // 4 + 1 for text in texts]


TEXT = "# Quiz\nQuestion 1: What is 2 + 2?\n- Answer: Four.\n\n```\nx = 1\n\ny = 2\n```\n3. Last one."


def test_numbers_start_at_one_in_every_cut() -> None:
    spans = line_spans(TEXT)
    assert numbered(TEXT, spans, Cut(2, 3)) == "1 Question 1: What is 2 + 2?\n2 - Answer: Four."


def test_long_lines_are_shown_by_their_ends() -> None:
    line = "a" * 500 + "b" * 500
    assert shown(line).startswith("aaa") and shown(line).endswith("bbb") and len(shown(line)) < 400


def long_page() -> tuple[list[str], list[int]]:
    """Lines of a page with headings and code, and the numbers of those that ask."""
    chance = random.Random(3)
    lines, asking = [], []
    for number in range(120):
        lines += [f"## Part {number}"] if number % 9 == 0 else []
        lines += ["```", "code = 1", "more = 2", "```"] if number % 13 == 0 else []
        lines.append("word " * chance.randint(1, 12) + ("?" if number % 5 == 0 else "."))
        asking += [len(lines)] if number % 5 == 0 else []
    return lines, asking


@pytest.mark.parametrize("budget", [80, 200, 1000])
def test_cuts_cover_all_questions_and_fit(budget: int) -> None:
    lines, asking = long_page()
    text = "\n".join(lines)
    pieces = cuts(text, line_spans(text), budget, asking, four_characters)
    covered = {number for cut in pieces for number in range(cut.first, cut.last + 1)}
    assert set(asking) <= covered
    assert [cut.first for cut in pieces] == sorted({cut.first for cut in pieces})
    for cut in pieces:
        cost = sum(
            four_characters([shown(lines[number - 1])])[0] + NUMBER_TOKENS for number in range(cut.first, cut.last + 1)
        )
        assert cost <= budget
    if budget >= 200:
        ends = [lines[cut.last] for cut in pieces if cut.last < len(lines)]
        assert all(line.startswith("#") or "?" in line for line in ends)


def test_a_question_whose_answer_was_cut_is_shown_again() -> None:
    lines = ["What is a?", "It is this.", "What is b?", *["word " * 12] * 30]
    text = "\n".join(lines)
    first, second = cuts(text, line_spans(text), 200, [1, 3], four_characters)
    assert first.first == 1 and 3 < first.last < len(lines)
    assert second.first <= 3 and second.last > first.last


def test_a_page_that_fits_is_shown_whole() -> None:
    lines, asking = long_page()
    text = "\n".join(lines)
    assert cuts(text, line_spans(text), 10_000, asking, four_characters) == [Cut(1, len(lines))]


def test_what_asks_nothing_is_not_shown() -> None:
    lines = ["filler line of some length here"] * 200
    lines[150] = "What is it?"
    text = "\n".join(lines)
    (cut,) = cuts(text, line_spans(text), 100, [151], four_characters)
    assert cut.first == 149 and cut.last < 160
    assert cuts(text, line_spans(text), 100, [], four_characters) == []


def test_a_line_longer_than_the_budget_still_gets_its_cut() -> None:
    text = "intro\n" + "word " * 400 + "?\nanswer"
    assert cuts(text, line_spans(text), 20, [2], four_characters)[0] == Cut(2, 2)


def test_spans_leave_markers_and_labels_out() -> None:
    spans = line_spans(TEXT)
    assert joined(TEXT, spans_of(TEXT, spans, [(2, 2)], answer=False)) == "What is 2 + 2?"
    assert joined(TEXT, spans_of(TEXT, spans, [(3, 3)], answer=True)) == "Four."
    assert joined(TEXT, spans_of(TEXT, spans, [(5, 9), (3, 3)], answer=True)) == "Four.\n```\nx = 1\n\ny = 2\n```"
    assert joined(TEXT, spans_of(TEXT, spans, [(10, 10)], answer=True)) == "Last one."
    assert spans_of(TEXT, spans, [(4, 4)], answer=True) == ()
