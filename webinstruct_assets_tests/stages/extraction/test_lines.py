"""Numbered lines: cutting at borders, and verbatim spans of line ranges."""

import random

import pytest

from webinstruct_assets.stages.extraction.lines import Cut, cuts, estimate_tokens, line_spans, numbered, shown, spans_of
from webinstruct_assets.stages.pages.document import joined

TEXT = "# Quiz\nQuestion 1: What is 2 + 2?\n- Answer: Four.\n\n```\nx = 1\n\ny = 2\n```\n3. Last one."


def test_numbers_run_through_the_page() -> None:
    spans = line_spans(TEXT)
    assert numbered(TEXT, spans, Cut(2, 3)) == "2 Question 1: What is 2 + 2?\n3 - Answer: Four."


def test_long_lines_are_shown_by_their_ends() -> None:
    line = "a" * 500 + "b" * 500
    assert shown(line).startswith("aaa") and shown(line).endswith("bbb") and len(shown(line)) < 400


@pytest.mark.parametrize("budget", [30, 60, 200, 1000])
def test_cuts_cover_the_page_once_and_fit(budget: int) -> None:
    chance = random.Random(budget)
    lines = []
    for number in range(120):
        lines += [f"## Part {number}"] if number % 9 == 0 else []
        lines += ["```", "code = 1", "more = 2", "```"] if number % 13 == 0 else []
        lines.append("word " * chance.randint(1, 12) + ("?" if number % 5 == 0 else "."))
    text = "\n".join(lines)
    spans = line_spans(text)
    pieces = cuts(text, spans, budget)
    assert [number for cut in pieces for number in range(cut.first, cut.last + 1)] == list(range(1, len(lines) + 1))
    for cut in pieces:
        cost = sum(estimate_tokens(shown(lines[number - 1])) + 3 for number in range(cut.first, cut.last + 1))
        assert cost <= budget or cut.first == cut.last
    if budget >= 200:
        assert all(lines[cut.first - 1].startswith(("#", "`")) or "?" in lines[cut.first - 1] for cut in pieces[1:])


def test_spans_leave_markers_and_labels_out() -> None:
    spans = line_spans(TEXT)
    assert joined(TEXT, spans_of(TEXT, spans, [(2, 2)], answer=False)) == "What is 2 + 2?"
    assert joined(TEXT, spans_of(TEXT, spans, [(3, 3)], answer=True)) == "Four."
    assert joined(TEXT, spans_of(TEXT, spans, [(5, 9), (3, 3)], answer=True)) == "Four.\n```\nx = 1\n\ny = 2\n```"
    assert joined(TEXT, spans_of(TEXT, spans, [(10, 10)], answer=True)) == "Last one."
    assert spans_of(TEXT, spans, [(4, 4)], answer=True) == ()
