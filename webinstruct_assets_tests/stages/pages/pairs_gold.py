"""Pages with their pairs marked: reading the sets, and scoring rules on them.

A set is one file of pages, each behind ``<!-- page: NAME URL -->``. ``<q3->…</q3->`` and ``<a3->…</a3->`` mark the
question and the answer of pair 3 (in several stretches where need be); the marks are taken off before a page is read.
"""

import html
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from webinstruct_assets.stages.extraction.quality import overlap, words
from webinstruct_assets.stages.pages.html import extract_page

PAGE = re.compile(r"<!-- page: (\S+) (\S+) -->\n")
MARK = re.compile(r"</?[qa]\d+->")
TAG = re.compile(r"<[^>]+>")
MATCH = 0.9  # of the words of question and answer each


class GoldPage(NamedTuple):
    """A page as served, and its (question, answer) texts."""

    name: str
    url: str
    source: bytes
    pairs: list[tuple[str, str]]


class Score(NamedTuple):
    """Pairs found, right and wanted over a set; ``wrong``: what to look at."""

    found: int
    right: int
    gold: int
    rules: Counter[str]
    wrong: list[str]

    @property
    def precision(self) -> float:
        """Share of found pairs that are right."""
        return self.right / self.found

    @property
    def recall(self) -> float:
        """Share of gold pairs found."""
        return self.right / self.gold


def read_set(path: Path) -> list[GoldPage]:
    """The pages of one file."""
    parts = PAGE.split(path.read_text(encoding="utf-8"))[1:]
    pages = []
    for name, url, source in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        numbers = sorted({int(found) for found in re.findall(r"<q(\d+)->", source)})
        pairs = [(_marked(source, f"q{number}"), _marked(source, f"a{number}")) for number in numbers]
        pages.append(GoldPage(name, url, MARK.sub("", source).encode(), pairs))
    return pages


def _marked(source: str, mark: str) -> str:
    stretches = re.findall(rf"<{mark}->(.*?)</{mark}->", source, re.DOTALL)
    assert stretches, mark
    return html.unescape(TAG.sub(" ", " ".join(stretches)))


def score(pages: list[GoldPage]) -> Score:
    """The rules' pairs against gold, one to one within a page."""
    found = right = gold = 0
    rules: Counter[str] = Counter()
    wrong = []
    for page in pages:
        pairs = extract_page(page.source, url=page.url).markup_pairs
        open_gold = list(page.pairs)
        found, gold = found + len(pairs), gold + len(page.pairs)
        for pair in pairs:
            match = next(
                (entry for entry in open_gold if _same(pair.question, entry[0]) and _same(pair.answer, entry[1])), None
            )
            if match is None:
                wrong.append(f"{page.name}: {pair.rule}: {pair.question!r} -> {pair.answer!r}")
                continue
            open_gold.remove(match)
            right += 1
            rules[pair.rule] += 1
        wrong += [f"{page.name}: missed {question!r} -> {answer!r}" for question, answer in open_gold]
    return Score(found, right, gold, rules, wrong)


def _same(text: str, gold: str) -> bool:
    return overlap(words(text), words(gold)) >= MATCH
