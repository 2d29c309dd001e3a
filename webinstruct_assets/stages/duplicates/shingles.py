"""Word shingles of pairs as hashes, their Jaccard similarity, and connected components: the compiled part.

In: word hashes of ``decontamination/kernel.py`` (same words, same normalisation). Compiled by numba at first use, so
this module is imported inside functions only.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from webinstruct_assets.stages.decontamination.kernel import BASE, U64, finish, hash_words
from webinstruct_assets.stages.decontamination.words import GREEK

Array = np.ndarray[Any, Any]

# Two questions that differ in one of these ask for different things, however long they are. Symbols of one letter
# belong to them (but for what an apostrophe leaves: don't, it's); numbers are known by their kind.
_TURNS = """
    not no never none nor cannot without except unless neither incorrect false true least most minimum maximum
    smallest largest increase decrease increases decreases increasing decreasing before after more less greater
    sin cos tan cot sec csc log ln exp b c e f g h j k l n o p q r u v w x y z
"""
# Signs that words leave out, and what each counts as; TeX commands that are no such sign count by their name, those of
# style and spacing not at all. A page's ° and the ^\circ of another are one sign.
SIGNS = {
    spelling: sign
    for sign, spellings in {
        "+": "+", "-": "- −", "<": "< \\lt", ">": "> \\gt", "/": "/ ÷ \\div \\frac \\dfrac \\tfrac", "=": "=", "≤": "≤ \\le \\leq \\leqslant",
        "≥": "≥ \\ge \\geq \\geqslant", "≠": "≠ \\ne \\neq", "√": "√ \\sqrt", "±": "± \\pm", "×": "× · ⋅ \\times \\cdot", "∫": "∫ \\int",
        "∑": "∑ \\sum", "∏": "∏ \\prod", "∈": "∈ \\in", "∩": "∩ \\cap", "∪": "∪ \\cup", "°": "° \\circ \\degree", "→": "→ \\to \\rightarrow",
        "≈": "≈ \\approx", "∞": "∞ \\infty",
    }.items()
    for spelling in spellings.split()
} | {letter: f"\\{name}" for letter, name in GREEK.items()}  # fmt: skip
_SIGN = re.compile(rf"[{re.escape(''.join(sign for sign in SIGNS if len(sign) == 1))}]|\\[a-zA-Z]+")
_STYLE = frozenset(
    [
        r"\left",
        r"\right",
        r"\text",
        r"\mathrm",
        r"\mathbf",
        r"\mathit",
        r"\mathsf",
        r"\operatorname",
        r"\textrm",
        r"\displaystyle",
        r"\textstyle",
        r"\quad",
        r"\qquad",
        r"\begin",
        r"\end",
    ]
)


def _signs(text: str) -> int:
    found = [SIGNS.get(sign, sign) for sign in _SIGN.findall(text) if sign not in _STYLE]
    return int.from_bytes(hashlib.blake2b(" ".join(found).encode(), digest_size=8).digest(), "big") if found else 0


@njit(cache=True, nogil=True)
def _shingle(hashes, ends, each, n, out, out_ends):  # type: ignore[no-untyped-def]
    """Sorted distinct shingles per text; a text is ``each`` consecutive segments of ``ends``, or the first of two."""
    total = 0
    top = U64(1)
    for _ in range(n):
        top *= BASE
    for row in range(out_ends.size):
        first = ends[2 * row - 1] if row else 0
        last = ends[2 * row + each - 1]
        begin = total
        h = U64(0)
        for place in range(first, last):
            h = h * BASE + hashes[place]
            if place - first >= n:
                h -= top * hashes[place - n]
            if place - first >= n - 1:
                out[total] = finish(h)
                total += 1
        if first < last < first + n:
            out[total] = finish(h)
            total += 1
        own = np.sort(out[begin:total])
        total = begin
        for place in range(own.size):
            if place == 0 or own[place] != own[place - 1]:
                out[total] = own[place]
                total += 1
        out_ends[row] = total


@njit(cache=True, nogil=True)
def _guards(hashes, digit_first, ends, each, turns, out):  # type: ignore[no-untyped-def]
    """Per text a hash of its numbers and turns in their order: equal for texts that hold the same ones."""
    for row in range(out.size):
        total = U64(0)
        for place in range(ends[2 * row - 1] if row else 0, ends[2 * row + each - 1]):
            found = np.searchsorted(turns, hashes[place])
            if digit_first[place] or (found < turns.size and turns[found] == hashes[place]):
                total = finish(total * BASE + hashes[place])
        out[row] = total


@njit(cache=True, nogil=True)
def jaccard(first, second):  # type: ignore[no-untyped-def]
    """Jaccard similarity of two sorted arrays of distinct hashes; 0 where both are empty."""
    i = j = common = 0
    while i < first.size and j < second.size:
        if first[i] == second[j]:
            common += 1
            i += 1
            j += 1
        elif first[i] < second[j]:
            i += 1
        else:
            j += 1
    union = first.size + second.size - common
    return common / union if union else 0.0


@njit(cache=True, nogil=True)
def _root(parents, node):  # type: ignore[no-untyped-def]
    while parents[node] != node:
        parents[node] = parents[parents[node]]
        node = parents[node]
    return node


@njit(cache=True, nogil=True)
def unite(parents, first, second):  # type: ignore[no-untyped-def]
    """Joins the components of every edge; a component's root is its lowest member."""
    for edge in range(first.size):
        a, b = _root(parents, first[edge]), _root(parents, second[edge])
        if a < b:
            parents[b] = a
        elif b < a:
            parents[a] = b


@njit(cache=True, nogil=True)
def flatten(parents):  # type: ignore[no-untyped-def]
    """Points every node at its root."""
    for node in range(parents.size):
        parents[node] = _root(parents, node)


@dataclass(frozen=True)
class Shingles:
    """Sorted distinct shingle hashes of texts; ``guards``: their numbers, turns and signs; ``words``: how many."""

    hashes: Array
    ends: Array
    guards: Array
    words: Array

    def of(self, row: int) -> Array:
        """The shingles of one text."""
        return self.hashes[self.ends[row - 1] if row else 0 : self.ends[row]]


def shingle(questions: Sequence[str], answers: Sequence[str], n: int) -> tuple[Shingles, Shingles]:
    """Shingles of the questions alone, and of question and answer together."""
    texts = [text for pair in zip(questions, answers, strict=True) for text in pair]
    words = hash_words(texts)
    turns = np.sort(hash_words([_TURNS]).hashes)
    signs = np.array([_signs(text) for text in texts], np.uint64)
    made = []
    for each in (1, 2):
        rows = len(questions)
        out, ends, guards = np.empty(words.hashes.size + rows, np.uint64), np.zeros(rows, np.int64), np.zeros(rows, U64)
        _shingle(words.hashes, words.ends, each, n, out, ends)
        _guards(words.hashes, words.digit_first, words.ends, each, turns, guards)
        for side in range(each):
            guards = guards * BASE + signs[side::2]
        starts = np.concatenate([[0], words.ends[1::2][:-1]]) if rows else np.zeros(0, np.int64)
        made.append(Shingles(out, ends, guards, words.ends[each - 1 :: 2] - starts))
    return made[0], made[1]
