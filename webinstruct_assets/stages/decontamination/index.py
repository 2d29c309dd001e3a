"""The n-gram index over benchmark items, and looking texts up in it.

In: items of benchmarks, then any text. Out: ``Match`` per item that the text shares wording with. The rule is
the paper's (§2.2: an exact match of n consecutive words, n = 10, with a question *or answer*; a worked solution
counts as an answer) with DeepSeekMath's addition for short strings (§2.1: ``min_words`` .. n-1 words match only
as a whole). Words are those of ``words.py``. What is not evidence, and why:

* a stretch without any word of two letters: ``1 2 3 4 5 6 7 8 9 10`` is in every page's pager;
* strings shorter than ``min_words``: "42" and "C" are everywhere;
* a short question that several items with different answers share ("Which statement is true?") names none of them;
* a choice of a multiple-choice item below n words: a third of MMLU-STEM's right choices are 3-9 words long, of the
  kind "all of the above". The stem counts as a question, and so do stem and choices together (n words or more).
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from webinstruct_assets.stages.decontamination.words import words

# A phrase that a benchmark repeats in hundreds of items (its instruction) is attributed to this many of them.
MAX_ITEMS_PER_TEXT = 8


@dataclass(frozen=True)
class BenchmarkItem:
    """An item as ``benchmark_items`` holds it. ``choices``: empty where ``answer`` is the answer itself."""

    benchmark: str
    item_id: str
    question: str
    answer: str
    choices: tuple[str, ...] = ()
    solution: str = ""


@dataclass(frozen=True)
class Match:
    """``text`` (normalised words) stands both in the looked-up text and in ``field`` of the benchmark's item.

    ``field``: question, answer or solution.
    """

    benchmark: str
    item_id: str
    field: str
    text: str


@dataclass(frozen=True)
class _Source:
    """One benchmark string: which field of which item."""

    order: int
    benchmark: str
    item_id: str
    field: str


class BenchmarkIndex:
    """All items' n-grams and short strings, for exact look-up."""

    def __init__(self, items: Sequence[BenchmarkItem], n: int = 10, min_words: int = 3):
        self.n, self.min_words = n, min_words
        self._vocabulary: set[str] = set()
        self._grams: dict[str, list[_Source]] = defaultdict(list)
        # Short strings by their first min_words words: (all words, source).
        self._short: dict[str, list[tuple[list[str], _Source]]] = defaultdict(list)
        self.ignored_strings = 0
        self._shared = _shared_questions(items, n)
        for order, item in enumerate(items):
            self._add(order, item)

    @property
    def grams(self) -> int:
        """Number of distinct n-grams."""
        return len(self._grams)

    @property
    def short_strings(self) -> int:
        """Number of short strings that match as a whole."""
        return sum(len(strings) for strings in self._short.values())

    def _add(self, order: int, item: BenchmarkItem) -> None:
        question = _Source(order, item.benchmark, item.item_id, "question")
        answer = _Source(order, item.benchmark, item.item_id, "answer")
        self._add_string(
            item.question,
            question,
            short=(item.benchmark, " ".join(words(item.question))) not in self._shared,
        )
        if item.choices:
            lettered = " ".join(
                f"({letter}) {choice}"
                for letter, choice in zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", item.choices, strict=False)
            )
            self._add_string(f"{item.question} {lettered}", question, short=False)
            self._add_string(f"{item.question} {' '.join(item.choices)}", question, short=False)
            right = "ABCDEFGHIJKLMNOPQRSTUVWXYZ".find(item.answer) if len(item.answer) == 1 else -1
            self._add_string(item.choices[right] if 0 <= right < len(item.choices) else "", answer, short=False)
        else:
            self._add_string(item.answer, answer, short=True)
        self._add_string(item.solution, _Source(order, item.benchmark, item.item_id, "solution"), short=True)

    def _add_string(self, text: str, source: _Source, *, short: bool) -> None:
        sequence = words(text)
        if len(sequence) >= self.n:
            for start in range(len(sequence) - self.n + 1):
                stretch = sequence[start : start + self.n]
                if _telling(stretch):
                    sources = self._grams[" ".join(stretch)]
                    if source not in sources[-1:]:
                        sources.append(source)
        elif short and len(sequence) >= self.min_words and _telling(sequence):
            self._short[" ".join(sequence[: self.min_words])].append((sequence, source))
        else:
            self.ignored_strings += bool(sequence)
            return
        self._vocabulary.update(sequence)

    def find(self, text: str) -> list[Match]:
        """The items that ``text`` shares wording with, strongest first (at most ``MAX_ITEMS_PER_TEXT``)."""
        sequence = words(text)
        found: dict[_Source, list[tuple[int, int]]] = defaultdict(list)
        known = 0  # words up to here, without a gap, that occur in some benchmark
        for end, word in enumerate(sequence, 1):
            known = known + 1 if word in self._vocabulary else 0
            if known >= self.n:
                for source in self._grams.get(" ".join(sequence[end - self.n : end]), ()):
                    found[source].append((end - self.n, end))
            if known >= self.min_words:
                start = end - self.min_words
                for short, source in self._short.get(" ".join(sequence[start:end]), ()):
                    if sequence[start : start + len(short)] == short:
                        found[source].append((start, start + len(short)))
        return _strongest(found, sequence)


def _telling(sequence: Sequence[str]) -> bool:
    """Whether a stretch holds more than numbers and one-letter symbols."""
    return any(len(word) > 1 and word.isalpha() for word in sequence)


def _shared_questions(items: Sequence[BenchmarkItem], n: int) -> set[tuple[str, str]]:
    """Short questions of a benchmark that stand in several items with different answers or choices."""
    variants: Counter[tuple[str, str]] = Counter()
    for benchmark, question, *_ in {
        (item.benchmark, " ".join(words(item.question)), item.answer, item.choices) for item in items
    }:
        variants[benchmark, question] += 1
    return {key for key, count in variants.items() if count > 1 and len(key[1].split()) < n}


def _strongest(found: dict[_Source, list[tuple[int, int]]], sequence: list[str]) -> list[Match]:
    """One match per item: its longest stretch. Items in order of the number of words matched, then as indexed."""
    best: dict[tuple[str, str], tuple[int, int, Match]] = {}
    for source, spans in found.items():
        start, end = max(_merged(spans), key=lambda span: span[1] - span[0])
        match = Match(source.benchmark, source.item_id, source.field, " ".join(sequence[start:end]))
        key = (source.benchmark, source.item_id)
        if key not in best or end - start > -best[key][0]:
            best[key] = (start - end, source.order, match)
    return [match for _, _, match in sorted(best.values(), key=lambda entry: entry[:2])[:MAX_ITEMS_PER_TEXT]]


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Overlapping stretches joined, so that a copied question is one stretch and not one per n-gram."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
