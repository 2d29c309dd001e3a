"""Hashes of the words of many texts in one pass over their UTF-8 bytes, and looking n-grams up in a table.

``tokenize`` follows ``words.py`` word for word: ASCII, and single characters of planes 0 and 1 through tables made
from ``words.fold``. What depends on neighbouring characters (combining marks, digits of other scripts, an invisible
character inside a number) it does not decide: it gives the text back as slow, and ``words`` itself is asked. Hashes
only nominate; whoever reports a match compares words.

Compiled by numba at first use and cached on disk, so this module is imported inside functions only.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from webinstruct_assets.stages.decontamination.words import (
    CODE_POINTS,
    INVISIBLE,
    SILENT,
    fold,
    stands_apart,
    words,
)  # fmt: skip

U64 = np.uint64
START, PRIME, MIX = U64(0xCBF29CE484222325), U64(0x9E3779B97F4A7C15), U64(0xD6E8FEB86659FD93)
BASE = U64(0x2545F4914F6CDD1D)
# What a byte or a character is. SPECIAL: a separator, unless it stands in a number or a command.
SEPARATOR, LETTER, DIGIT, BACKSLASH, WIDE, EXPANDS, APART, HIDDEN, SPECIAL, SLOW = range(10)
SLOW_TEXT = -1
MARKS = 0x300  # combining marks, up to U+036F
MAX_GRAM = 62  # lengths of short strings are bits of an int64

Array = np.ndarray[Any, Any]


class Tables(NamedTuple):
    """``byte_kind``/``byte_fold``: per byte. ``kind``/``folded``: per code point. ``first``/``parts``: of expansions.

    ``accented``: per ASCII letter and combining mark (from U+0300) the folded letter, -1: a separator, 0: slow.
    """

    byte_kind: Array
    byte_fold: Array
    kind: Array
    folded: Array
    first: Array
    parts: Array
    silent: Array
    accented: Array


@njit(cache=True, nogil=True, inline="always")
def finish(h):  # type: ignore[no-untyped-def]
    h ^= h >> U64(32)
    h *= MIX
    return h ^ (h >> U64(29))


@njit(cache=True, nogil=True, inline="always")
def _is_digit(buffer, i, end):  # type: ignore[no-untyped-def]
    return i < end and 48 <= buffer[i] <= 57


@njit(cache=True, nogil=True)
def _digits(buffer, i, end, h, tex):  # type: ignore[no-untyped-def]
    """The digits from ``i`` on, TeX thousands separators left out: (next position, number of digits, hash)."""
    count = 0
    while True:
        while _is_digit(buffer, i, end):
            h = (h ^ U64(buffer[i])) * PRIME
            count += 1
            i += 1
        if count == 0 or not tex or i + 4 >= end:
            return i, count, h
        a, b, c = buffer[i], buffer[i + 1], buffer[i + 2]
        if (a == 123 and b == 44 and c == 125) or (a == 44 and b == 92 and c == 33):  # {,}  ,\!
            j = i + 3
        elif a == 92 and b == 44:  # \,
            j = i + 2
        else:
            return i, count, h
        if (
            _is_digit(buffer, j, end)
            and _is_digit(buffer, j + 1, end)
            and _is_digit(buffer, j + 2, end)
            and not _is_digit(buffer, j + 3, end)
        ):
            i = j
        else:
            return i, count, h


@njit(cache=True, nogil=True)
def _number(buffer, i, end, tex):  # type: ignore[no-untyped-def]
    """The number that starts at ``i``: (next position, hash)."""
    i, count, h = _digits(buffer, i, end, START, tex)
    if count <= 3 and i < end and buffer[i] == 44 and _is_digit(buffer, i + 1, end):
        j, grouped = i, h
        whole = True
        while j < end and buffer[j] == 44 and _is_digit(buffer, j + 1, end):
            j, count, grouped = _digits(buffer, j + 1, end, grouped, tex)
            if count != 3:
                whole = False
                break
        if whole:
            i, h = j, grouped
    if i < end and buffer[i] == 46 and _is_digit(buffer, i + 1, end):
        h = (h ^ U64(46)) * PRIME
        i, count, h = _digits(buffer, i + 1, end, h, tex)
    return i, h


@njit(cache=True, nogil=True, inline="always")
def _decode(buffer, i):  # type: ignore[no-untyped-def]
    """Code point and length of the non-ASCII character at ``i``."""
    lead = np.int64(buffer[i])
    if lead < 0xE0:
        return ((lead & 0x1F) << 6) | (np.int64(buffer[i + 1]) & 0x3F), 2
    if lead < 0xF0:
        return ((lead & 0x0F) << 12) | ((np.int64(buffer[i + 1]) & 0x3F) << 6) | (np.int64(buffer[i + 2]) & 0x3F), 3
    return (
        ((lead & 0x07) << 18)
        | ((np.int64(buffer[i + 1]) & 0x3F) << 12)
        | ((np.int64(buffer[i + 2]) & 0x3F) << 6)
        | (np.int64(buffer[i + 3]) & 0x3F)
    ), 4


@njit(cache=True, nogil=True)
def _kind_at(buffer, i, kind):  # type: ignore[no-untyped-def]
    """The kind of the non-ASCII character at ``i``."""
    code, _ = _decode(buffer, i)
    return kind[code] if code < kind.size else SLOW


@njit(cache=True, nogil=True)
def _command(buffer, i, end, kind, silent):  # type: ignore[no-untyped-def]
    r"""The TeX command whose backslash is at ``i``: (next position or SLOW_TEXT, hash, whether it is a word)."""
    j = i + 1
    h, rest, length = START, START, 0  # rest: the name without its first three letters
    while j < end and (97 <= (buffer[j] | 32) <= 122):
        letter = U64(buffer[j] | 32)
        h = (h ^ letter) * PRIME
        if length >= 3:
            rest = (rest ^ letter) * PRIME
        length += 1
        j += 1
    if j < end and buffer[j] >= 128 and _kind_at(buffer, j, kind) != SEPARATOR:
        return SLOW_TEXT, h, False
    if length == 0:
        return i + 1, h, False
    is_begin = length == 5 and (buffer[i + 1] | 32) == 98 and (buffer[i + 2] | 32) == 101 and (buffer[i + 3] | 32) == 103 and (buffer[i + 4] | 32) == 105 and (buffer[i + 5] | 32) == 110  # fmt: skip
    is_end = length == 3 and (buffer[i + 1] | 32) == 101 and (buffer[i + 2] | 32) == 110 and (buffer[i + 3] | 32) == 100
    if is_begin or is_end:
        k = j
        while k < end and (9 <= buffer[k] <= 13 or 28 <= buffer[k] <= 32):
            k += 1
        if k < end and buffer[k] >= 128:
            return SLOW_TEXT, h, False
        if k < end and buffer[k] == 123:
            k += 1
            while k < end and buffer[k] != 123 and buffer[k] != 125:
                if buffer[k] >= 128 and _kind_at(buffer, k, kind) == SLOW:
                    return SLOW_TEXT, h, False
                k += 1
            if k < end and buffer[k] == 125:
                return k + 1, h, False
    found = np.searchsorted(silent, h)
    if found < silent.size and silent[found] == h:
        return j, h, False
    if length >= 3 and (buffer[i + 1] | 32) == 118 and (buffer[i + 2] | 32) == 97 and (buffer[i + 3] | 32) == 114:
        return j, rest, length > 3
    return j, h, True


@njit(cache=True, nogil=True)
def tokenize(buffer, i, end, tables, tex, out, digit_first):  # type: ignore[no-untyped-def]
    """Writes the hashes of the words of ``buffer[i:end]`` to ``out``; returns their number, or SLOW_TEXT.

    ``digit_first``: bool per word, whether it is a number. Both need room for two words per byte.
    """
    byte_kind, byte_fold, kind = tables.byte_kind, tables.byte_fold, tables.kind
    start, n, h, inside = i, 0, START, False
    before = START  # the hash before the last ASCII letter
    while i < end:
        what = byte_kind[buffer[i]]
        if what == LETTER:
            while True:
                before = h
                h = (h ^ U64(byte_fold[buffer[i]])) * PRIME
                i += 1
                if i >= end or byte_kind[buffer[i]] != LETTER:
                    break
            inside = True
            continue
        if what == WIDE:
            code, length = _decode(buffer, i)
            wide = kind[code] if code < kind.size else SLOW
            if wide == LETTER:
                h = (h ^ U64(tables.folded[code])) * PRIME
                inside = True
                i += length
                continue
            if wide in (HIDDEN, SPECIAL):
                if i > start and _fragile(buffer[i - 1], buffer[i - 2] if i > start + 1 else 32):
                    return SLOW_TEXT
                i += length
                if wide == HIDDEN:
                    continue
            elif wide == EXPANDS:
                for place in range(tables.first[code], tables.first[code + 1]):
                    part = tables.parts[place]
                    if part == 0:
                        if inside:
                            out[n], digit_first[n] = finish(h), False
                            n += 1
                            h, inside = START, False
                    else:
                        h = (h ^ U64(part)) * PRIME
                        inside = True
                i += length
                continue
            elif wide == SLOW:
                # One mark after an ASCII letter; whatever is more than that is left to NFKC itself.
                place = code - MARKS
                if i == start or place < 0 or place >= tables.accented.shape[1] or byte_kind[buffer[i - 1]] != LETTER:
                    return SLOW_TEXT
                letter = tables.accented[buffer[i - 1], place]
                i += length
                if letter == 0 or (i < end and buffer[i] >= 128 and _kind_at(buffer, i, kind) == SLOW):
                    return SLOW_TEXT
                if letter > 0:
                    h = (before ^ U64(letter)) * PRIME
                    continue
            elif wide == SEPARATOR:
                i += length
        if inside:
            out[n], digit_first[n] = finish(h), False
            n += 1
            h, inside = START, False
        if what == SEPARATOR:
            i += 1
        elif what == DIGIT:
            i, h = _number(buffer, i, end, tex)
            out[n], digit_first[n] = finish(h), True
            n += 1
            h = START
        elif what == BACKSLASH:
            if not tex:
                i += 1
                continue
            i, h, named = _command(buffer, i, end, kind, tables.silent)
            if i == SLOW_TEXT:
                return SLOW_TEXT
            if named:
                out[n], digit_first[n] = finish(h), False
                n += 1
            h = START
        elif wide == APART:
            while i < end and buffer[i] >= 128:
                code, length = _decode(buffer, i)
                if code >= kind.size or kind[code] != APART:
                    break
                for place in range(tables.first[code], tables.first[code + 1]):
                    part = tables.parts[place]
                    if part == 0:
                        if inside:
                            out[n], digit_first[n] = finish(h), True
                            n += 1
                        h, inside = START, False
                    else:
                        h = (h ^ U64(part)) * PRIME
                        inside = True
                i += length
            if inside:
                out[n], digit_first[n] = finish(h), True
                n += 1
            h, inside = START, False
    if inside:
        out[n], digit_first[n] = finish(h), False
        n += 1
    return n


@njit(cache=True, nogil=True, inline="always")
def _fragile(byte, earlier):  # type: ignore[no-untyped-def]
    r"""Whether an invisible or special character after these bytes could change a number or a command: 0-9 . , \ { } !"""
    if byte == 46 and not 48 <= earlier <= 57:
        return False
    return 48 <= byte <= 57 or byte == 46 or byte == 44 or byte == 92 or byte == 123 or byte == 125 or byte == 33


@njit(cache=True, nogil=True)
def plain(buffer, i, end, out, digit_first):  # type: ignore[no-untyped-def]
    """As ``tokenize``, for words that ``words`` made, joined by spaces."""
    n, h, inside, digit = 0, START, False, False
    while i < end:
        byte = buffer[i]
        if byte == 32:
            if inside:
                out[n], digit_first[n] = finish(h), digit
                n += 1
            h, inside = START, False
            i += 1
            continue
        if not inside:
            digit = 48 <= byte <= 57
        inside = True
        if byte < 128:
            h = (h ^ U64(byte)) * PRIME
            i += 1
        else:
            code, length = _decode(buffer, i)
            h = (h ^ U64(code)) * PRIME
            i += length
    if inside:
        out[n], digit_first[n] = finish(h), digit
        n += 1
    return n


@njit(cache=True, nogil=True)
def hash_texts(buffer, offsets, tables, tex, joined, out, digit_first, ends, slow):  # type: ignore[no-untyped-def]
    """Word hashes of all texts, one after the other; ``ends``: where each text's end. ``slow``: set where undecided."""
    total = 0
    for row in range(offsets.size - 1):
        if joined:
            n = plain(buffer, offsets[row], offsets[row + 1], out[total:], digit_first[total:])
        else:
            n = tokenize(buffer, offsets[row], offsets[row + 1], tables, tex, out[total:], digit_first[total:])
        if n == SLOW_TEXT:
            slow[row] = True
            n = 0
        total += n
        ends[row] = total


@njit(cache=True, nogil=True)
def gram_keys(hashes, first, last, n, keys):  # type: ignore[no-untyped-def]
    """Keys of the n-grams of ``hashes[first:last]`` into ``keys``: a polynomial of the words' hashes, n mixed in."""
    top = U64(1)
    for _ in range(n):
        top *= BASE
    h = U64(0)
    for place in range(first, last):
        h = h * BASE + hashes[place]
        if place - first >= n:
            h -= top * hashes[place - n]
        if place - first >= n - 1:
            keys[place - first - n + 1] = finish(h + U64(n))


class Lookup(NamedTuple):
    """A hash table of gram keys. ``bits``: two bits of one word for each of them. ``tail_*``: short strings by their last words."""

    n: int
    min_words: int
    bits: Array  # uint64 words of the bitmap of n-grams
    tail_bits: Array  # likewise, of the last min_words words of short strings
    slots: Array  # open addressing: gram number or -1
    keys: Array  # key per gram number
    tail_slots: Array
    tail_keys: Array
    tail_lengths: Array  # per tail: bit L set when a short string of L words ends so
    powers: Array  # BASE ** k


@njit(cache=True, nogil=True, inline="always")
def _maybe(bits, key):  # type: ignore[no-untyped-def]
    two = (U64(1) << (key & U64(63))) | (U64(1) << ((key >> U64(6)) & U64(63)))
    return bits[(key >> U64(12)) & U64(bits.size - 1)] & two == two


@njit(cache=True, nogil=True)
def _find(slots, keys, key):  # type: ignore[no-untyped-def]
    mask = U64(slots.size - 1)
    place = (key >> U64(32)) & mask
    while slots[place] >= 0:
        if keys[slots[place]] == key:
            return slots[place]
        place = (place + U64(1)) & mask
    return np.int64(-1)


@njit(cache=True, nogil=True)
def fill(slots, keys, bits):  # type: ignore[no-untyped-def]
    """Enters ``keys`` into an empty table."""
    mask = U64(slots.size - 1)
    for number in range(keys.size):
        key = keys[number]
        place = (key >> U64(32)) & mask
        while slots[place] >= 0:
            place = (place + U64(1)) & mask
        slots[place] = number
        two = (U64(1) << (key & U64(63))) | (U64(1) << ((key >> U64(6)) & U64(63)))
        bits[(key >> U64(12)) & U64(bits.size - 1)] |= two


@njit(cache=True, nogil=True)
def scan(buffer, offsets, row, tables, tex, joined, lookup, words_out, digit_first, prefix, hits, slow):  # type: ignore[no-untyped-def]
    """Looks the texts from ``row`` on up; returns (number of hits, next row): it stops where ``hits`` has no room.

    ``hits``: rows of (text, index after the gram's last word, gram number).
    """
    n, least = lookup.n, lookup.min_words
    found = 0
    while row < offsets.size - 1:
        if joined:
            count = plain(buffer, offsets[row], offsets[row + 1], words_out, digit_first)
        else:
            count = tokenize(buffer, offsets[row], offsets[row + 1], tables, tex, words_out, digit_first)
        if count == SLOW_TEXT:
            slow[row] = True
            row += 1
            continue
        before = found
        h = U64(0)
        prefix[0] = h
        top, short_top = lookup.powers[n], lookup.powers[least]
        for place in range(count):
            h = h * BASE + words_out[place]
            prefix[place + 1] = h
            after = place + 1
            if after >= least:
                tail = finish(h - short_top * prefix[after - least] + U64(least))
                if _maybe(lookup.tail_bits, tail):
                    number = _find(lookup.tail_slots, lookup.tail_keys, tail)
                    if number >= 0:
                        lengths = lookup.tail_lengths[number]
                        for length in range(least, min(n, after + 1)):
                            if (lengths >> length) & 1:
                                key = finish(h - lookup.powers[length] * prefix[after - length] + U64(length))
                                gram = _find(lookup.slots, lookup.keys, key)
                                if gram >= 0:
                                    if found == hits.shape[0]:
                                        return before, row
                                    hits[found, 0], hits[found, 1], hits[found, 2] = row, after, gram
                                    found += 1
            if after >= n:
                key = finish(h - top * prefix[after - n] + U64(n))
                if _maybe(lookup.bits, key):
                    gram = _find(lookup.slots, lookup.keys, key)
                    if gram >= 0:
                        if found == hits.shape[0]:
                            return before, row
                        hits[found, 0], hits[found, 1], hits[found, 2] = row, after, gram
                        found += 1
        row += 1
    return found, row


@njit(cache=True, nogil=True)
def common_subsequence(first, second, previous):  # type: ignore[no-untyped-def]
    """Length of the longest common subsequence of two sequences of hashes; ``previous``: zeros, len(second) + 1."""
    previous[:] = 0
    for place in range(first.size):
        diagonal = previous[0]
        for other in range(second.size):
            above = previous[other + 1]
            if first[place] == second[other]:
                previous[other + 1] = diagonal + 1
            elif previous[other] > above:
                previous[other + 1] = previous[other]
            diagonal = above
    return previous[second.size]


@cache
def tables() -> Tables:
    """The character tables, made from ``words.fold``."""
    seconds = set()
    for code in range(0x80, CODE_POINTS):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            seconds.add(int(parts[1], 16))
    seconds |= set(range(0x1161, 0x1176)) | set(range(0x11A8, 0x11C3))

    def composes(character: str) -> bool:
        return unicodedata.combining(character) != 0 or ord(character) in seconds

    kind, folded = np.full(CODE_POINTS, SLOW, np.int8), np.zeros(CODE_POINTS, np.int32)
    expansions: list[list[int]] = [[] for _ in range(CODE_POINTS)]
    for code in range(0x80, CODE_POINTS):
        character = chr(code)
        if 0xD800 <= code <= 0xDFFF or composes(character) or character.isdecimal():
            continue
        normal = unicodedata.normalize("NFKC", character)
        if any(map(composes, normal[:1])):
            continue
        text = fold(character)
        spelled = [ord(part) if part.isalnum() else 0 for part in text]
        digits = any("0" <= part <= "9" for part in text)
        if any(part in "\\{}" for part in text):
            continue
        if stands_apart(character):
            if all("0" <= part <= "9" or not (part.isalnum() or part in ".,") for part in text):
                kind[code], expansions[code] = APART, spelled
        elif digits:
            continue
        elif not text:
            assert character in INVISIBLE or not normal.strip(), f"U+{code:04X} folds to nothing"
            kind[code] = HIDDEN
        elif len(text) > 1:
            kind[code], expansions[code] = EXPANDS, spelled
        elif text in ".,!*":
            kind[code] = SPECIAL
        elif text.isalnum():
            kind[code], folded[code] = LETTER, ord(text)
        else:
            kind[code] = SEPARATOR
    accented = np.zeros((128, 0x70), np.int32)
    for letter in (*range(65, 91), *range(97, 123)):
        for mark in range(0x70):
            composed = unicodedata.normalize("NFKC", chr(letter) + chr(MARKS + mark))
            if len(composed) == 1:
                text = fold(composed)
                accented[letter, mark] = ord(text) if len(text) == 1 and text.isalnum() else 0
            elif composed == chr(letter) + chr(MARKS + mark) and not any(map(str.isalnum, fold(composed[1]))):
                accented[letter, mark] = -1
    first = np.zeros(CODE_POINTS + 1, np.int32)
    np.cumsum([len(parts) for parts in expansions], out=first[1:])
    byte_kind, byte_fold = np.full(256, SEPARATOR, np.int8), np.arange(256, dtype=np.uint8)
    byte_kind[128:] = WIDE
    for letter in range(26):
        byte_kind[[65 + letter, 97 + letter]] = LETTER
        byte_fold[65 + letter] = 97 + letter
    byte_kind[48:58], byte_kind[92] = DIGIT, BACKSLASH
    made = Tables(
        byte_kind, byte_fold, kind, folded, first, np.array([p for parts in expansions for p in parts], np.int32),
        np.array(sorted(_text_hash(name) for name in SILENT), np.uint64), accented,
    )  # fmt: skip
    return made


def _text_hash(name: str) -> int:
    h = int(START)
    for letter in name.encode():
        h = ((h ^ letter) * int(PRIME)) & 0xFFFFFFFFFFFFFFFF
    return h


def buffers(texts: Sequence[str]) -> tuple[Array, Array]:
    """The texts' UTF-8 bytes one after the other, and where each starts (and the last ends)."""
    import pyarrow as pa

    _, offsets, data = pa.array(texts, pa.large_string()).buffers()
    return np.frombuffer(data or b"", np.uint8), np.frombuffer(offsets, np.int64)[: len(texts) + 1]


@dataclass(frozen=True)
class Hashed:
    """Word hashes of texts: ``hashes[ends[i - 1]:ends[i]]`` are text i's; ``digit_first``: which are numbers."""

    hashes: Array
    digit_first: Array
    ends: Array

    def of(self, row: int) -> Array:
        """The hashes of one text's words."""
        return self.hashes[self.ends[row - 1] if row else 0 : self.ends[row]]


def hash_words(texts: Sequence[str], *, tex: bool = True, joined: bool = False) -> Hashed:
    """The words' hashes of every text. ``joined``: the texts are words already, one space between them."""
    buffer, offsets = buffers(texts)
    out, digit_first = np.empty(2 * buffer.size + 16, np.uint64), np.empty(2 * buffer.size + 16, np.bool_)
    ends, slow = np.zeros(len(texts), np.int64), np.zeros(len(texts), np.bool_)
    hash_texts(buffer, offsets, tables(), tex, joined, out, digit_first, ends, slow)
    made = Hashed(out[: ends[-1] if len(texts) else 0], digit_first[: ends[-1] if len(texts) else 0], ends)
    if not slow.any():
        return made
    undecided = [int(row) for row in np.flatnonzero(slow)]
    asked = hash_words([" ".join(words(texts[row], tex=tex)) for row in undecided], joined=True)
    parts = dict(zip(undecided, range(len(undecided)), strict=True))
    pieces, numbers, lengths = [], [], []
    for row in range(len(texts)):
        source, place = (asked, parts[row]) if row in parts else (made, row)
        first, last = source.ends[place - 1] if place else 0, source.ends[place]
        pieces.append(source.hashes[first:last])
        numbers.append(source.digit_first[first:last])
        lengths.append(last - first)
    return Hashed(np.concatenate(pieces), np.concatenate(numbers), np.cumsum(lengths))


def lookup_table(n: int, min_words: int, keys: Array, tails: Array, tail_lengths: Array) -> Lookup:
    """A table of ``keys`` (distinct; n-grams and short strings) and of the ``tails`` of short strings (distinct)."""
    powers = np.ones(MAX_GRAM + 2, np.uint64)
    for place in range(1, powers.size):
        powers[place] = U64((int(powers[place - 1]) * int(BASE)) & 0xFFFFFFFFFFFFFFFF)

    def table(entries: Array) -> tuple[Array, Array]:
        slots = np.full(1 << max(4, int(2 * entries.size + 1).bit_length()), -1, np.int64)
        # 16 to 32 bits per entry, two of them set: about one probe in a hundred goes on to the table.
        bits = np.zeros(max(1, (1 << max(6, int(16 * entries.size).bit_length())) // 64), np.uint64)
        fill(slots, entries, bits)
        return slots, bits

    slots, bits = table(keys)
    tail_slots, tail_bits = table(tails)
    return Lookup(n, min_words, bits, tail_bits, slots, keys, tail_slots, tails, tail_lengths, powers)


def find_grams(texts: Sequence[str], lookup: Lookup, *, tex: bool = True) -> Array:
    """Rows of (text, index after the last word, gram number): where grams of the table stand, in text order."""
    buffer, offsets = buffers(texts)
    parts = list(_scan(buffer, offsets, lookup, tex, False))
    slow = parts.pop()
    undecided = np.flatnonzero(slow)
    if undecided.size:
        joined = [" ".join(words(texts[int(row)], tex=tex)) for row in undecided]
        for found in list(_scan(*buffers(joined), lookup, tex, True))[:-1]:
            found[:, 0] = undecided[found[:, 0]]
            parts.append(found)
    hits = np.concatenate(parts) if parts else np.zeros((0, 3), np.int64)
    return hits[np.argsort(hits[:, 0], kind="stable")] if undecided.size else hits


def scan_buffer(buffer: Array, offsets: Array, lookup: Lookup, *, tex: bool = True) -> tuple[Array, Array]:
    """As ``find_grams``, on UTF-8 bytes with offsets: (hits, which texts are undecided and not looked up)."""
    *parts, slow = _scan(buffer, offsets, lookup, tex, False)
    return (np.concatenate(parts) if parts else np.zeros((0, 3), np.int64)), slow


def _scan(buffer: Array, offsets: Array, lookup: Lookup, tex: bool, joined: bool) -> Iterator[Array]:
    """Blocks of hits, then the mask of texts that are slow."""
    longest = int(np.diff(offsets).max(initial=0))
    out, digit_first = np.empty(2 * longest + 16, np.uint64), np.empty(2 * longest + 16, np.bool_)
    prefix, slow = np.empty(2 * longest + 17, np.uint64), np.zeros(offsets.size - 1, np.bool_)
    row, room = 0, 1 << 16
    while row < offsets.size - 1:
        hits = np.empty((room, 3), np.int64)
        found, after = scan(
            buffer, offsets, row, tables(), tex, joined, lookup, out, digit_first, prefix, hits, slow
        )  # fmt: skip
        room = room * 8 if after == row else room  # one text alone had more
        row = after
        if found:
            yield hits[:found]
    yield slow
