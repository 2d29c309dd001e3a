"""The n-gram index over benchmark items, and looking texts up in it.

In: items of benchmarks, then any texts. Out: ``Match`` per item that a text shares wording with. The rule is
the paper's (§2.2: an exact match of n consecutive words, n = 10, with a question *or answer*; a worked solution
counts as an answer) with DeepSeekMath's addition for short strings (§2.1: ``min_words`` .. n-1 words match only
as a whole). Words are those of ``words.py``; ``kernel.py`` nominates by hash, here the words themselves decide.
What is not evidence, and why:

* a stretch without any word of two letters: ``1 2 3 4 5 6 7 8 9 10`` is in every page's pager;
* strings shorter than ``min_words``: "42" and "C" are everywhere;
* a short question that several items with different answers share ("Which statement is true?") names none of them;
* a choice of a multiple-choice item below n words: a third of MMLU-STEM's right choices are 3-9 words long, of the
  kind "all of the above". The stem counts as a question, and so do stem and choices together (n words or more);
* grams that the crawl is full of, once ``set_common`` says which: a match of nothing else is marked ``common``.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from webinstruct_assets.stages.decontamination.words import words

if TYPE_CHECKING:
    from webinstruct_assets.stages.decontamination.kernel import Array

# A phrase that a benchmark repeats in hundreds of items (its instruction) is attributed to this many of them.
MAX_ITEMS_PER_GRAM = 8
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


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

    ``field``: question, answer or solution. ``common``: every gram of it is one that the crawl is full of.
    """

    benchmark: str
    item_id: str
    field: str
    text: str
    common: bool = False


@dataclass(frozen=True)
class BenchmarkString:
    """One indexed string: its words, which field of which item it is (``order``: the item's place)."""

    order: int
    benchmark: str
    item_id: str
    field: str
    words: tuple[str, ...]
    short: bool


class BenchmarkIndex:
    """All items' n-grams and short strings, for exact look-up of many texts at a time.

    ``tex``: whether TeX notation is undone (``words.py``).
    """

    def __init__(self, items: Sequence[BenchmarkItem], n: int = 10, min_words: int = 3, *, tex: bool = True):
        self.n, self.min_words, self.tex = n, min_words, tex
        self.ignored_strings = 0
        self.strings: list[BenchmarkString] = []
        self._postings: dict[int, tuple[tuple[str, ...], list[int]]] = {}
        shared = self._shared_questions(items)
        for order, item in enumerate(items):
            self._add(order, item, shared)
        self._compile()
        self.common = np.zeros(self._keys.size, np.bool_)

    @property
    def grams(self) -> int:
        """Number of distinct n-grams and short strings."""
        return int(self._keys.size)

    @property
    def short_strings(self) -> int:
        """Number of short strings that match as a whole."""
        return sum(string.short for string in self.strings)

    # -- making it ---------------------------------------------------------------------------------------

    def _words(self, text: str) -> list[str]:
        return words(text, tex=self.tex)

    def _add(self, order: int, item: BenchmarkItem, shared: set[tuple[str, str]]) -> None:
        def add(text: str, name: str, *, short: bool) -> None:
            self._add_string(text, order, item, name, short=short)

        named = (item.benchmark, " ".join(self._words(item.question))) not in shared
        add(item.question, "question", short=named)
        if item.choices:
            lettered = " ".join(f"({letter}) {text}" for letter, text in zip(LETTERS, item.choices, strict=False))
            add(f"{item.question} {lettered}", "question", short=False)
            add(f"{item.question} {' '.join(item.choices)}", "question", short=False)
            right = LETTERS.find(item.answer) if len(item.answer) == 1 else -1
            add(item.choices[right] if 0 <= right < len(item.choices) else "", "answer", short=False)
        else:
            add(item.answer, "answer", short=True)
        add(item.solution, "solution", short=True)

    def _add_string(self, text: str, order: int, item: BenchmarkItem, name: str, *, short: bool) -> None:
        sequence = tuple(self._words(text))
        long = len(sequence) >= self.n
        if long or (short and len(sequence) >= self.min_words and telling(sequence)):
            self.strings.append(BenchmarkString(order, item.benchmark, item.item_id, name, sequence, not long))
        else:
            self.ignored_strings += bool(sequence)

    def _shared_questions(self, items: Sequence[BenchmarkItem]) -> set[tuple[str, str]]:
        """Short questions of a benchmark that stand in several items with different answers or choices."""
        variants: Counter[tuple[str, str]] = Counter()
        for benchmark, question, *_ in {
            (item.benchmark, " ".join(self._words(item.question)), item.answer, item.choices) for item in items
        }:
            variants[benchmark, question] += 1
        return {key for key, count in variants.items() if count > 1 and len(key[1].split()) < self.n}

    def _compile(self) -> None:
        """Postings: for each distinct key, in ascending order, (string, place of its first word)."""
        from webinstruct_assets.stages.decontamination import kernel

        hashed = kernel.hash_words([" ".join(string.words) for string in self.strings], joined=True)
        keys, owners, starts = [], [], []
        tails: dict[int, int] = defaultdict(int)
        for number, string in enumerate(self.strings):
            size = len(string.words)
            length = size if string.short else self.n
            own = hashed.of(number)
            made = np.empty(size - length + 1, np.uint64)
            kernel.gram_keys(own, 0, size, length, made)
            # A stretch tells something when it holds a word of letters.
            telling_words = np.cumsum([0, *(len(word) > 1 and word.isalpha() for word in string.words)])
            places = np.flatnonzero(telling_words[length:] > telling_words[:-length])
            keys.append(made[places])
            owners.append(np.full(places.size, number, np.int64))
            starts.append(places)
            if string.short:
                tail = np.empty(1, np.uint64)
                kernel.gram_keys(own, size - self.min_words, size, self.min_words, tail)
                tails[int(tail[0])] |= 1 << size
        every = np.concatenate(keys) if keys else np.zeros(0, np.uint64)
        order = np.argsort(every, kind="stable")
        self._keys, first = np.unique(every[order], return_index=True)
        self._first = np.append(first, every.size)
        self._owners = np.concatenate(owners)[order] if keys else np.zeros(0, np.int64)
        self._starts = np.concatenate(starts)[order] if keys else np.zeros(0, np.int64)
        tail_keys = np.array(sorted(tails), np.uint64)
        lengths = np.array([tails[key] for key in sorted(tails)], np.int64)
        self.lookup = kernel.lookup_table(self.n, self.min_words, self._keys, tail_keys, lengths)

    def gram(self, number: int) -> tuple[tuple[str, ...], list[BenchmarkString]]:
        """The words of a gram and the first strings that hold them."""
        words, owners = self._posting(number)
        return words, [self.strings[owner] for owner in owners]

    def _posting(self, number: int) -> tuple[tuple[str, ...], list[int]]:
        """The words of a gram and the first strings that hold just these."""
        if number not in self._postings:
            first, last = int(self._first[number]), int(self._first[number + 1])
            held = zip(self._owners[first:last].tolist(), self._starts[first:last].tolist(), strict=True)
            stretches = [(owner, self._stretch(self.strings[owner], start)) for owner, start in held]
            words = stretches[0][1]
            owners = dict.fromkeys(owner for owner, stretch in stretches if stretch == words)
            items = dict.fromkeys(self.strings[owner].order for owner in owners)
            named = set(list(items)[:MAX_ITEMS_PER_GRAM])
            self._postings[number] = words, [owner for owner in owners if self.strings[owner].order in named]
        return self._postings[number]

    def _stretch(self, string: BenchmarkString, start: int) -> tuple[str, ...]:
        return string.words if string.short else string.words[start : start + self.n]

    # -- using it ----------------------------------------------------------------------------------------

    def count(self, texts: Sequence[str]) -> "Array":
        """Per gram the number of ``texts`` that hold it."""
        hits = self.nominated(texts)
        distinct = np.unique(hits[:, [0, 2]], axis=0)
        return np.bincount(distinct[:, 1], minlength=self._keys.size)

    def set_common(self, numbers: Iterable[int]) -> None:
        """Which grams the crawl is full of: alone they are no evidence."""
        self.common[:] = False
        self.common[list(numbers)] = True

    def nominated(self, texts: Sequence[str]) -> "Array":
        """Rows (text, index after the last word, gram) that agree by hash."""
        from webinstruct_assets.stages.decontamination.kernel import find_grams

        return find_grams(texts, self.lookup, tex=self.tex)

    def find(self, text: str) -> list[Match]:
        """The items that ``text`` shares wording with, strongest first, common ones last."""
        return self.find_many([text]).get(0, [])

    def find_many(self, texts: Sequence[str]) -> dict[int, list[Match]]:
        """``find`` for many texts: index of a text -> its matches, for those that have any."""
        hits = self.nominated(texts)
        found: dict[int, list[Match]] = {}
        for row, own in _groups(hits):
            if matches := self._confirm(self._words(texts[row]), own):
                found[row] = matches
        return found

    def _confirm(self, sequence: list[str], hits: "Array") -> list[Match]:
        spans: dict[int, list[tuple[int, int, bool]]] = defaultdict(list)
        for _, end, number in hits.tolist():
            stretch, owners = self._posting(number)
            if tuple(sequence[end - len(stretch) : end]) == stretch:
                common = bool(self.common[number])
                for owner in owners:
                    spans[owner].append((end - len(stretch), end, common))
        return self._strongest(spans, sequence)

    def _strongest(self, spans: dict[int, list[tuple[int, int, bool]]], sequence: list[str]) -> list[Match]:
        """One match per item: its longest stretch. Items that are no commonplace first, then by words matched."""
        best: dict[tuple[str, str], tuple[bool, int, int, Match]] = {}
        for owner in sorted(spans):
            string = self.strings[owner]
            fresh = [(start, end) for start, end, common in spans[owner] if not common]
            stretches = _merged(fresh or [(start, end) for start, end, _ in spans[owner]])
            start, end = max(stretches, key=lambda span: span[1] - span[0])
            match = Match(string.benchmark, string.item_id, string.field, " ".join(sequence[start:end]), not fresh)
            rank = (not fresh, start - end, string.order, match)
            key = (string.benchmark, string.item_id)
            if key not in best or rank[:2] < best[key][:2]:
                best[key] = rank
        return [match for *_, match in sorted(best.values(), key=lambda entry: entry[:3])]


def telling(sequence: Sequence[str]) -> bool:
    """Whether a stretch holds more than numbers and one-letter symbols."""
    return any(len(word) > 1 and word.isalpha() for word in sequence)


def _groups(hits: "Array") -> Iterable[tuple[int, "Array"]]:
    """Hits of one text after the other."""
    rows, first = np.unique(hits[:, 0], return_index=True)
    bounds: Any = np.append(first, hits.shape[0])
    for place, row in enumerate(rows.tolist()):
        yield row, hits[bounds[place] : bounds[place + 1]]


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Overlapping stretches joined, so that a copied question is one stretch and not one per n-gram."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
