"""The second tier: benchmark questions that a pair's question repeats with some words changed (off by default).

In: questions of benchmarks, then questions of pairs. Out: per question the nearest benchmark question, where the
longest common subsequence of words covers at least ``ratio`` of the longer of the two (FineMath's decontamination;
the cut of 0.6 is from there). Candidates share a sequence of three words that few benchmark questions have; of these
the ones sharing most are compared. Questions below ``MIN_WORDS`` words are too short for a ratio to mean anything.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from webinstruct_assets.stages.decontamination.index import BenchmarkItem

MIN_WORDS = 10
GRAM = 3
MAX_SHARING = 200  # a gram of more benchmark questions than that says nothing about one of them
CANDIDATES = 5


@dataclass(frozen=True)
class Near:
    """A benchmark item whose question is nearly the text; ``ratio``: common subsequence over the longer length."""

    benchmark: str
    item_id: str
    question: str
    ratio: float


class ParaphraseIndex:
    """Benchmark questions by their three-word sequences."""

    def __init__(self, items: Sequence[BenchmarkItem], *, tex: bool = True):
        from webinstruct_assets.stages.decontamination import kernel

        self._kernel, self._tex, self._items = kernel, tex, items
        self._hashed = kernel.hash_words([item.question for item in items], tex=tex)
        postings: dict[int, list[int]] = defaultdict(list)
        for number in range(len(items)):
            if self._hashed.of(number).size >= MIN_WORDS:
                for key in self._grams(self._hashed.of(number)):
                    postings[key].append(number)
        self._postings = {key: numbers for key, numbers in postings.items() if len(numbers) <= MAX_SHARING}

    def _grams(self, hashes: np.ndarray) -> set[int]:
        keys = np.empty(max(0, hashes.size - GRAM + 1), np.uint64)
        self._kernel.gram_keys(hashes, 0, hashes.size, GRAM, keys)
        return set(keys.tolist())

    def find_many(self, texts: Sequence[str], ratio: float) -> dict[int, Near]:
        """Index of a text -> its nearest item at ``ratio`` or above."""
        hashed = self._kernel.hash_words(texts, tex=self._tex)
        found = {}
        for row in range(len(texts)):
            own = hashed.of(row)
            if own.size < MIN_WORDS:
                continue
            shared = Counter(number for key in self._grams(own) for number in self._postings.get(key, ()))
            best = Near("", "", "", 0.0)
            for number, _ in sorted(shared.items(), key=lambda entry: (-entry[1], entry[0]))[:CANDIDATES]:
                other = self._hashed.of(number)
                length = self._kernel.common_subsequence(own, other, np.zeros(other.size + 1, np.int64))
                value = float(length / max(own.size, other.size))
                if value > best.ratio:
                    item = self._items[number]
                    best = Near(item.benchmark, item.item_id, item.question, value)
            if best.ratio >= ratio:
                found[row] = best
        return found
