"""Numbered lines: cutting at borders, and verbatim spans of line ranges."""

import random
from itertools import pairwise

import pytest

from webinstruct_assets.core.llm.tokens import TokenCounts
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.extraction.lines import SHOWN_BYTES, Cut, cuts, line_spans, numbered, shown, spans_of
from webinstruct_assets.stages.extraction.prompt import line_costs, load_prompt, messages_for
from webinstruct_assets.stages.pages.document import joined

TEXT = "# Quiz\nQuestion 1: What is 2 + 2?\n- Answer: Four.\n\n```\nx = 1\n\ny = 2\n```\n3. Last one."


def costs_of(text: str) -> list[int]:
    """A token per word and five for number and line break: what the borders are tested with is no tokenizer's affair."""
    return [len(line.split()) + 5 for line in text.split("\n")]


def test_numbers_start_at_one_in_every_cut() -> None:
    spans = line_spans(TEXT)
    assert numbered(TEXT, spans, Cut(2, 3)) == "1 Question 1: What is 2 + 2?\n2 - Answer: Four."


def test_long_lines_are_shown_by_their_ends() -> None:
    line = "a" * 500 + "b" * 500
    assert shown(line).startswith("aaa") and shown(line).endswith("bbb") and len(shown(line)) < 400
    japanese = "光の速さ" * 100
    assert shown(japanese).startswith("光の速さ") and shown(japanese).endswith("の速さ")
    assert len(shown(japanese).encode()) <= SHOWN_BYTES + 5


@pytest.fixture
def count(workspace: Workspace) -> TokenCounts:
    return workspace.token_counts("smollm2-135m", print)


WORDS = {
    "german": [
        "Geschwindigkeitsbegrenzung",
        "Wärmeausdehnungskoeffizient",
        "die",
        "der",
        "Größe",
        "über",
        "Donaudampfschifffahrtsgesellschaft",
        "für",
    ],
    "japanese": [
        "微分方程式",
        "を解き",
        "なさい",
        "光の",
        "速さ",
        "次の",
        "問い",
        "に答えよ。",
        "ラグランジュ",
        "平方根",
    ],
    "tex": [
        r"$\frac{d}{dx}\left(x^{2}+3x\right)$",
        r"\begin{pmatrix}1&0\\0&1\end{pmatrix}",
        r"$\sum_{n=1}^{\infty}\frac{1}{n^{2}}$",
        r"so",
    ],
    "other": ["🜁🜂", "ᚠᚢᚦ", "\t", "\u200b", "≋≋≋", "১২৩৪", "12345678", "é̂"],
}


def foreign_page(language: str) -> tuple[str, list[int]]:
    """A long page in one script, with very short and very long lines, and the numbers of those that ask."""
    chance = random.Random(language)
    lines, asking = [], []
    for number in range(300):
        lines += ["", "## 3"] if number % 11 == 0 else []
        lines.append(" ".join(chance.choices(WORDS[language], k=chance.choice([1, 3, 8, 60]))))
        if number % 7 == 0:
            lines[-1] += " ?"
            asking.append(len(lines))
    return "\n".join(lines), asking


@pytest.mark.parametrize("budget", [256, 700])
@pytest.mark.parametrize("language", WORDS)
def test_no_cut_exceeds_the_budget_by_the_models_own_tokenizer(count: TokenCounts, language: str, budget: int) -> None:
    text, asking = foreign_page(language)
    spans, prompt = line_spans(text), load_prompt("point")
    pieces = cuts(text, spans, line_costs(prompt, text, spans, count), budget, asking)
    sizes = count([numbered(text, spans, cut) for cut in pieces])
    assert max(sizes) <= budget and len(pieces) > 3
    # Full enough: half a budget is what a border and the short lines at the end of a page may leave empty.
    assert sum(sizes) / len(sizes) > budget * 0.4
    covered = {number for cut in pieces for number in range(cut.first, cut.last + 1)}
    assert set(asking) <= covered
    assert all(before.last < after.last for before, after in pairwise(pieces))


def test_a_page_to_retype_is_counted_with_whole_lines(count: TokenCounts) -> None:
    text = "\n".join("光の速さを求めなさい。" * 12 + "？" for _ in range(40))
    spans, prompt = line_spans(text), load_prompt("rewrite")
    pieces = cuts(text, spans, line_costs(prompt, text, spans, count), 900, list(range(1, 41)))
    sent = [messages_for(prompt, text, spans, cut)[-1]["content"] for cut in pieces]
    assert max(count(sent)) <= 900 and {line for part in sent for line in part.split("\n")} == set(text.split("\n"))


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
    pieces = cuts(text, line_spans(text), costs_of(text), budget, asking)
    covered = {number for cut in pieces for number in range(cut.first, cut.last + 1)}
    assert set(asking) <= covered
    assert [cut.first for cut in pieces] == sorted({cut.first for cut in pieces})
    for cut in pieces:
        assert sum(costs_of(text)[cut.first - 1 : cut.last]) <= budget
    if budget >= 200:
        ends = [lines[cut.last] for cut in pieces if cut.last < len(lines)]
        assert all(line.startswith("#") or "?" in line for line in ends)


def test_a_question_whose_answer_was_cut_is_shown_again() -> None:
    lines = ["What is a?", "It is this.", "What is b?", *["word " * 12] * 30]
    text = "\n".join(lines)
    first, second = cuts(text, line_spans(text), costs_of(text), 200, [1, 3])
    assert first.first == 1 and 3 < first.last < len(lines)
    assert second.first <= 3 and second.last > first.last


def test_a_page_that_fits_is_shown_whole() -> None:
    lines, asking = long_page()
    text = "\n".join(lines)
    assert cuts(text, line_spans(text), costs_of(text), 10_000, asking) == [Cut(1, len(lines))]


def test_what_asks_nothing_is_not_shown() -> None:
    lines = ["filler line of some length here"] * 200
    lines[150] = "What is it?"
    text = "\n".join(lines)
    (cut,) = cuts(text, line_spans(text), costs_of(text), 100, [151])
    assert cut.first == 149 and cut.last < 160
    assert cuts(text, line_spans(text), costs_of(text), 100, []) == []


def test_a_line_longer_than_the_budget_still_gets_its_cut() -> None:
    text = "intro\n" + "word " * 400 + "?\nanswer"
    assert cuts(text, line_spans(text), costs_of(text), 20, [2])[0] == Cut(2, 2)


def test_spans_leave_markers_and_labels_out() -> None:
    spans = line_spans(TEXT)
    assert joined(TEXT, spans_of(TEXT, spans, [(2, 2)], answer=False)) == "What is 2 + 2?"
    assert joined(TEXT, spans_of(TEXT, spans, [(3, 3)], answer=True)) == "Four."
    assert joined(TEXT, spans_of(TEXT, spans, [(5, 9), (3, 3)], answer=True)) == "Four.\n```\nx = 1\n\ny = 2\n```"
    assert joined(TEXT, spans_of(TEXT, spans, [(10, 10)], answer=True)) == "Last one."
    assert spans_of(TEXT, spans, [(4, 4)], answer=True) == ()
