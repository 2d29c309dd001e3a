"""The compiled loops of ``scorer``: text bytes -> tokens -> hashes -> vocabulary entries -> sum of folded values.

One text goes through five short loops per few thousand tokens, instead of one loop that does everything per token.
None of them branches on the text, so none waits for a mispredicted word end, and a cache miss in one iteration
overlaps with the next iterations:

1. ``_edges``: 64 bytes at a time become a bit mask of separators; its set bits after ``mask ^ (mask << 1)`` are the
   beginnings and ends of words.
2. ``_hashes``: FNV-1a of each word. The words' bytes are laid side by side in blocks of eight, padded with zeros, and
   hashed in vector lanes. A padding byte only multiplies the hash by the FNV prime, which is odd: multiplying by a
   power of its inverse takes the padding off again. So no lane needs to know where its word ends.
3. ``_lookup``: a perfect hash (a displacement per group of words) leads to the one slot where the word can be. The
   slot holds the word's first eight bytes, so up to seven bytes are compared in one instruction; longer candidates
   are compared with the dictionary's bytes afterwards.
4. ``_drop_labels``: only when a token of the block is, or looks like, a label or the end of the line.
5. ``sum_values`` (one number per word and bucket) or ``_sum_rows`` (several, or subwords).

What bounds it (AMD EPYC 9004 at 3.7 GHz, 256 dimensions, 3-grams, 2 M buckets, multilingual page text of 7.3 bytes per
word, a third of the words unknown; ns per word): edges 1.4, hashes 2.9, slots and n-gram buckets with their prefetches
5.5, lookup 3.0, sums 2.2. Most of the last three is waiting for cache lines: a busy neighbour in the shared third-level
cache costs up to a third. What was tried on the way:

* conditional moves in the lookup, which LLVM turns back into branches: 6.9 ns where ``opaque`` takes 2.6;
* asking for buckets and slots early: 19.7 to 10 ns for the n-grams, 9.8 to 4 for the dictionary;
* blocks of 2048 down to 128 tokens: the smaller, the more of what was asked for is still in the first-level cache when
  it is read (sums 4.0 ns at 1024, 2.2 at 128);
* four running sums instead of one: no difference beyond the noise once the lines come early;
* huge pages (the table of buckets gets them from numpy anyway): no difference beyond the noise;
* a table of 16-bit floats was not tried: it would round each value by up to 1 part in 2048, far beyond 1e-6.

Imported when a model is loaded, since it imports numba.
"""

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

TOKENS = 128  # of a block: the cache lines it asks for, three or so per token, stay in the first-level cache
MULTIPLIER = np.uint64(116049371)  # of word n-grams, Dictionary::addWordNgrams
FNV_BASIS, FNV_PRIME = 2166136261, 16777619
EOS = int.from_bytes(b"</s>", "little")
EOS_HASH = np.uint32(0xD79C9359)  # FNV-1a of it
LABEL = int.from_bytes(b"__label_", "little")  # first eight bytes of the prefix that unknown labels have
UNPAD = np.array([pow(FNV_PRIME, -count, 2**32) for count in range(9)], dtype=np.uint32)
MIX, SPREAD, SCATTER = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93), np.uint64(0xC2B2AE3D27D4EB4F)
ONES = np.uint64(2**64 - 1)
BASIS = np.uint32(FNV_BASIS)

_i8, _i32, _i64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)


@intrinsic
def load8(typing: Any, address: Any) -> Any:
    """The eight bytes at an address, as a little-endian number."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(builder.inttoptr(arguments[0], _i64.as_pointer()), align=1)

    return types.uint64(types.uint64), build


@intrinsic
def separators(typing: Any, address: Any) -> Any:
    """Bit i is set where byte i of the 64 at an address separates words: ASCII white space, or zero."""
    vector = ir.VectorType(_i8, 64)

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def constant(value: int) -> ir.Constant:
            return ir.Constant(vector, [value] * 64)

        data = builder.load(builder.inttoptr(arguments[0], vector.as_pointer()), align=1)
        control = builder.icmp_unsigned("<", builder.sub(data, constant(9)), constant(5))
        found = builder.or_(control, builder.icmp_unsigned("==", data, constant(32)))
        found = builder.or_(found, builder.icmp_unsigned("==", data, constant(0)))
        return builder.bitcast(found, _i64)

    return types.uint64(types.uint64), build


@intrinsic
def trailing_zeros(typing: Any, value: Any) -> Any:
    """Position of the lowest set bit; 64 for zero."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), build


@intrinsic
def count_ones(typing: Any, value: Any) -> Any:
    """Number of set bits."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), build


@intrinsic
def high_product(typing: Any, left: Any, right: Any) -> Any:
    """The upper 64 bits of a 64 x 64 bit product."""
    wide = ir.IntType(128)

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        product = builder.mul(builder.zext(arguments[0], wide), builder.zext(arguments[1], wide))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), _i64)

    return types.uint64(types.uint64, types.uint64), build


@intrinsic
def fnv8(typing: Any, start: Any, word: Any) -> Any:
    """FNV-1a of eight bytes, going on from ``start``; bytes from 128 up extend their sign, as in fastText."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value, word = arguments
        halves = (builder.trunc(word, _i32), builder.trunc(builder.lshr(word, ir.Constant(_i64, 32)), _i32))
        for half in halves:
            for place in range(4):
                left = builder.shl(half, ir.Constant(_i32, 24 - 8 * place))
                value = builder.xor(value, builder.ashr(left, ir.Constant(_i32, 24)))
                value = builder.mul(value, ir.Constant(_i32, FNV_PRIME))
        return value

    return types.uint32(types.uint32, types.uint64), build


@intrinsic
def prefetch(typing: Any, address: Any) -> Any:
    """Asks for the cache line at an address, without waiting for it."""
    pointer = _i8.as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [pointer, _i32, _i32, _i32])

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        read, keep, data = (ir.Constant(_i32, value) for value in (0, 3, 1))
        builder.call(function, [builder.inttoptr(arguments[0], pointer), read, keep, data])
        return context.get_dummy_value()

    return types.void(types.uint64), build


@intrinsic
def opaque(typing: Any, value: Any) -> Any:
    """The value itself, in a way the compiler cannot look through.

    Without it LLVM turns "this number if the bytes are equal, else 0" into a branch, mispredicted for every third
    word: 6.9 ns per word where the mask takes 2.6.
    """

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.asm(ir.FunctionType(_i64, [_i64]), "", "=r,0", [arguments[0]], False)

    return types.uint64(types.uint64), build


@intrinsic
def address_as_pointer(typing: Any, address: Any) -> Any:
    """The address as a pointer, for ``carray``."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], _i8.as_pointer())

    return types.voidptr(types.uint64), build


@njit(nogil=True, cache=True)
def _bits(count: int) -> int:
    """A mask of the lowest ``count`` bytes, 1 to 8."""
    return ONES >> np.uint64(64 - 8 * count)


@njit(nogil=True, cache=True)
def remainder(value: int, divisor: int, reciprocal: int) -> int:
    """``value % divisor`` with ``reciprocal`` = min(2^64 / divisor, 2^64 - 1): the quotient is at most one too small."""
    rest = value - high_product(value, reciprocal) * divisor
    return min(rest, rest - divisor)  # unsigned: a negative number is a huge one


@njit(nogil=True, cache=True)
def _edges(text: int, position: int, end: int, before: int, edges: Any, count: int) -> tuple[int, int, int]:
    """Appends beginnings and ends of words from ``position`` on to ``edges`` until the text ends or a block is full.

    ``before``: 1 when the byte before ``position`` separates words. Returns the new ``position``, ``before`` and
    number of edges; where the text ends, its last word ends too.
    """
    while position < end and count < 2 * TOKENS - 64:
        mask = separators(text + np.uint64(position))
        if end - position < 64:
            mask |= ONES << np.uint64(end - position)
        changes = mask ^ ((mask << np.uint64(1)) | before)
        before = mask >> np.uint64(63)
        total = count + count_ones(changes)
        while count < total:
            for _ in range(8):
                edges[count] = position + np.int64(trailing_zeros(changes))
                changes &= changes - np.uint64(1)
                count += 1
        count = total
        position += 64
    if position >= end and count % 2:
        edges[count] = end
        count += 1
    return position, before, count


@njit(nogil=True, cache=True)
def _hashes(text: int, edges: Any, tokens: int, first: Any, hashes: Any, words: Any, starts: Any, active: Any) -> None:
    """``first``: each token's first eight bytes, zeros after its end; ``hashes``: its FNV-1a."""
    longer = 0
    for i in range(tokens):
        length = edges[2 * i + 1] - edges[2 * i]
        first[i] = load8(text + np.uint64(edges[2 * i])) & _bits(min(length, 8))
        active[longer] = i
        longer += length > 8
    for i in range(tokens):
        hashes[i] = fnv8(BASIS, first[i])
    for i in range(tokens):
        hashes[i] *= UNPAD[8 - min(edges[2 * i + 1] - edges[2 * i], 8)]
    done = 8
    while longer:
        for j in range(longer):
            i = active[j]
            rest = edges[2 * i + 1] - edges[2 * i] - done
            words[j] = load8(text + np.uint64(edges[2 * i] + done)) & _bits(min(rest, 8))
            starts[j] = hashes[i]
        for j in range(longer):
            starts[j] = fnv8(starts[j], words[j])
        still = 0
        for j in range(longer):
            i = active[j]
            rest = edges[2 * i + 1] - edges[2 * i] - done
            hashes[i] = starts[j] * UNPAD[8 - min(rest, 8)]
            active[still] = i
            still += rest > 8
        longer, done = still, done + 8


@njit(nogil=True, cache=True)
def mixed(first: int, value: int) -> int:
    """A 64-bit key of a token from its first eight bytes and its hash."""
    return (first ^ (np.uint64(value) * MIX)) * SPREAD


@njit(nogil=True, cache=True)
def slot_of(key: int, displacement: int, shift: int) -> int:
    """The slot of a key, given its group's displacement."""
    return ((key ^ (np.uint64(displacement) * SCATTER)) * MIX) >> shift


@njit(nogil=True, cache=True)
def same_rest(left: int, right: int, length: int) -> bool:
    """Whether ``length`` bytes at two addresses are equal; up to seven bytes after them are read."""
    done = 0
    while length - done > 8:
        if load8(left + np.uint64(done)) != load8(right + np.uint64(done)):
            return False
        done += 8
    if length == done:
        return True
    return (load8(left + np.uint64(done)) ^ load8(right + np.uint64(done))) & _bits(length - done) == np.uint64(0)


class Vocabulary(NamedTuple):
    """The dictionary as a perfect hash table.

    ``slots`` [2n]: first eight bytes of the slot's word (0: free), then its number, which is its dictionary id + 1.
    ``following`` [ids + 1]: number of the next word with the same key, 0 for none. ``spans`` [ids + 1]: where a word
    begins in ``pool`` (dictionary bytes, padded), times 2^32, and its length. ``words``: how many; higher numbers are
    labels.
    """

    displacements: Any
    group_shift: Any
    slots: Any
    slot_shift: Any
    following: Any
    spans: Any
    pool: Any
    words: Any


class Tables(NamedTuple):
    """Folded parameters, a row of K numbers per word and bucket (K is 1 where one number decides).

    ``values`` [words + 1, K]: sum over a word's input vectors, row 0 (unknown words) is zero. ``sizes`` [words + 1]:
    how many vectors that are. ``buckets`` [B, K]. ``end``: number of ``</s>``, 0 when the dictionary lacks it.
    """

    values: Any
    sizes: Any
    buckets: Any
    reciprocal: Any
    end: Any
    word_ngrams: Any
    minn: Any
    maxn: Any


@njit(nogil=True, cache=True)
def _slots(tokens: int, first: Any, hashes: Any, known: Vocabulary, slots: Any) -> None:
    """Sets ``slots`` to where in the vocabulary each token would be, and asks for these cache lines."""
    address = np.uint64(known.slots.ctypes.data)
    for i in range(tokens):
        key = mixed(first[i], hashes[i])
        slot = slot_of(key, known.displacements[key >> known.group_shift], known.slot_shift)
        slots[i] = np.uint32(slot)
        prefetch(address + slot * np.uint64(16))


@njit(nogil=True, cache=True)
def _lookup(text: int, edges: Any, tokens: int, first: Any, at: Any, known: Vocabulary, ids: Any, active: Any) -> int:
    """Sets ``ids`` to the tokens' numbers, 0 for unknown words; returns how many may be labels or the line's end.

    ``at``: the tokens' slots.
    """
    slots, spans = known.slots, known.spans
    special = longer = 0
    for i in range(tokens):
        slot = np.uint64(2) * np.uint64(at[i])
        number = slots[slot + np.uint64(1)] & opaque(np.uint64(0) - np.uint64(slots[slot] == first[i]))
        ids[i] = np.uint32(number)
        active[longer] = i
        longer += (number != 0) & (edges[2 * i + 1] - edges[2 * i] >= 8)
        special += (first[i] == np.uint64(LABEL)) | (first[i] == np.uint64(EOS)) | (number > known.words)
    pool = np.uint64(known.pool.ctypes.data)
    for j in range(longer):  # their first eight bytes are equal
        i = active[j]
        length, number = np.uint64(edges[2 * i + 1] - edges[2 * i]), ids[i]
        address = text + np.uint64(edges[2 * i] + 8)
        while number and not (
            spans[number] & np.uint64(2**32 - 1) == length
            and same_rest(address, pool + (spans[number] >> np.uint64(32)) + np.uint64(8), np.int64(length) - 8)
        ):
            number = known.following[number]
        ids[i] = number
    return special


@njit(nogil=True, cache=True)
def _drop_labels(
    text: int, edges: Any, tokens: int, first: Any, hashes: Any, known: Vocabulary, ids: Any
) -> tuple[int, bool]:
    """Takes labels out, and what follows ``</s>``; returns how many tokens are left and whether the line has ended."""
    kept = 0
    for i in range(tokens):
        if ids[i] > known.words or (
            ids[i] == 0
            and first[i] == np.uint64(LABEL)
            and edges[2 * i + 1] - edges[2 * i] > 8
            and load8(text + np.uint64(edges[2 * i] + 8)) & _bits(1) == np.uint64(95)
        ):
            continue
        edges[2 * kept], edges[2 * kept + 1] = edges[2 * i], edges[2 * i + 1]
        hashes[kept], ids[kept] = hashes[i], ids[i]
        kept += 1
        if first[i] == np.uint64(EOS):
            return kept, True
    return kept, False


@njit(nogil=True, cache=True)
def _ngrams(hashes: Any, carried: int, tokens: int, rolling: Any, places: Any, tables: Tables) -> int:
    """Sets ``places`` to the buckets of the n-grams that end in this block, and returns how many there are.

    ``hashes``: of the ``carried`` tokens before the block, then of the block's. The buckets are asked for at once and
    read after the dictionary's turn: by then they have come from the third-level cache, or from memory.
    """
    buckets = tables.buckets
    divisor, end, address = np.uint64(buckets.shape[0]), carried + tokens, np.uint64(buckets.ctypes.data)
    width, count = np.uint64(4 * buckets.shape[1]), 0
    for i in range(end):
        rolling[i] = np.uint64(np.int64(np.int32(hashes[i])))  # fastText keeps hashes in int32
    for ahead in range(1, tables.word_ngrams):
        for i in range(end - ahead):
            rolling[i] = rolling[i] * MULTIPLIER + np.uint64(np.int64(np.int32(hashes[i + ahead])))
        for i in range(max(0, carried - ahead), end - ahead):
            place = remainder(rolling[i], divisor, tables.reciprocal)
            places[count] = np.uint32(place)
            prefetch(address + place * width)
            count += 1
    return count


@njit(nogil=True, cache=True)
def _sum_of(table: Any, rows: Any, count: int) -> float:
    """Sum of single values; in four parts, since each addition waits for the one before it."""
    a = b = c = d = 0.0
    whole = count // 4 * 4
    for i in range(0, whole, 4):
        a += np.float64(table[rows[i], 0])
        b += np.float64(table[rows[i + 1], 0])
        c += np.float64(table[rows[i + 2], 0])
        d += np.float64(table[rows[i + 3], 0])
    for i in range(whole, count):
        a += np.float64(table[rows[i], 0])
    return (a + b) + (c + d)


@njit(nogil=True, cache=True)
def _sum_values(ids: Any, tokens: int, places: Any, ngrams: int, tables: Tables) -> tuple[float, int]:
    """Sum and number of the folded values of a block's words and n-grams, one value each."""
    words = _sum_of(tables.values, ids, tokens)
    known = 0
    for i in range(tokens):
        known += ids[i] != 0
    return words + _sum_of(tables.buckets, places, ngrams), known + ngrams


@njit(nogil=True, cache=True)
def _add_row(total: Any, table: Any, row: int) -> None:
    for k in range(table.shape[1]):
        total[k] += np.float64(table[row, k])


@njit(nogil=True, cache=True)
def add_subwords(word: Any, minn: int, maxn: int, buckets: Any, total: Any) -> int:
    """Adds the bucket rows of a word's character n-grams (Dictionary::computeSubwords); returns how many."""
    count, size = 0, word.shape[0] + 2
    for begin in range(size):
        if 0 < begin < size - 1 and word[begin - 1] & 0xC0 == 0x80:
            continue
        value, end, characters = np.uint32(BASIS), begin, 1
        while end < size and characters <= maxn:
            while True:
                byte = 60 if end == 0 else 62 if end == size - 1 else np.int64(np.int8(word[end - 1]))
                value = np.uint32((np.int64(value) ^ byte) * FNV_PRIME)
                end += 1
                if not (end < size - 1 and word[end - 1] & 0xC0 == 0x80):
                    break
            if characters >= minn and not (characters == 1 and (begin == 0 or end == size)):
                _add_row(total, buckets, value % np.uint32(buckets.shape[0]))
                count += 1
            characters += 1
    return count


@njit(nogil=True, cache=True)
def _sum_rows(
    text: int, edges: Any, ids: Any, tokens: int, places: Any, ngrams: int, tables: Tables, total: Any
) -> int:
    """As ``_sum_values`` for rows of numbers and for models with subwords; adds to ``total``, returns the number."""
    count = ngrams
    for i in range(tokens):
        if ids[i]:
            _add_row(total, tables.values, ids[i])
            count += tables.sizes[ids[i]]
        elif tables.maxn and edges[2 * i + 1]:
            address = address_as_pointer(text + np.uint64(edges[2 * i]))
            word = carray(address, edges[2 * i + 1] - edges[2 * i], np.uint8)
            count += add_subwords(word, tables.minn, tables.maxn, tables.buckets, total)
    for i in range(ngrams):
        _add_row(total, tables.buckets, places[i])
    return count


@njit(nogil=True, cache=True)
def mean_rows(data: int, offsets: Any, known: Vocabulary, tables: Tables, means: Any) -> None:
    """Sets ``means`` [n, K] to each text's mean folded row; NaN where it has no known word and no n-gram.

    ``data``: address of the texts' bytes, of which 64 more can be read; ``offsets`` [n + 1]: where texts begin.
    """
    edges = np.empty(2 * TOKENS + 64, np.int32)
    first = np.empty(TOKENS, np.uint64)
    words = np.empty(TOKENS, np.uint64)
    starts = np.empty(TOKENS, np.uint32)
    ids = np.empty(TOKENS + 1, np.uint32)
    active = np.empty(TOKENS, np.int32)
    window = max(0, tables.word_ngrams - 1)
    hashes = np.empty(window + TOKENS + 1, np.uint32)
    rolling = np.empty(window + TOKENS + 1, np.uint64)
    places = np.empty(window * (window + TOKENS + 1), np.uint32)
    total = np.empty(means.shape[1], np.float64)
    single = means.shape[1] == 1 and tables.maxn == 0
    for line in range(offsets.shape[0] - 1):
        text = data + np.uint64(offsets[line])
        end = offsets[line + 1] - offsets[line]
        total[:] = 0
        position, before, edge, carried, count, ended = 0, np.uint64(1), 0, 0, 0, False
        while not ended:
            position, before, edge = _edges(text, position, end, before, edges, edge)
            ended, tokens, new = position >= end, edge // 2, hashes[carried:]
            open_word = edges[edge - 1] if edge % 2 else 0
            _hashes(text, edges, tokens, first, new, words, starts, active)
            new[tokens] = EOS_HASH
            _slots(tokens, first, new, known, starts)
            ngrams = _ngrams(hashes, carried, tokens + ended, rolling, places, tables)
            if _lookup(text, edges, tokens, first, starts, known, ids, active):
                tokens, cut = _drop_labels(text, edges, tokens, first, new, known, ids)
                new[tokens] = EOS_HASH
                if cut:
                    ended, tokens = True, tokens - 1  # the line's end, which the text wrote out
                ngrams = _ngrams(hashes, carried, tokens + ended, rolling, places, tables)
            if ended:
                ids[tokens], edges[2 * tokens], edges[2 * tokens + 1] = tables.end, 0, 0
                tokens += 1
            if single:
                value, number = _sum_values(ids, tokens, places, ngrams, tables)
                total[0] += value
                count += number
            else:
                count += _sum_rows(text, edges, ids, tokens, places, ngrams, tables, total)
            keep = min(window, carried + tokens)
            for i in range(keep):
                hashes[i] = hashes[carried + tokens - keep + i]
            carried = keep
            edges[0] = open_word
            edge %= 2
        for k in range(means.shape[1]):
            means[line, k] = total[k] / count if count else np.nan


@njit(nogil=True, cache=True)
def dictionary_entries(data: Any, position: int, begins: Any, lengths: Any, kinds: Any) -> int:
    """Finds the entries (bytes, zero, 8 bytes count, 1 byte kind) of a dictionary; returns its end, -1 if cut short."""
    for number in range(1, begins.shape[0]):
        begins[number] = position
        while position < data.shape[0] and data[position]:
            position += 1
        if position + 10 > data.shape[0]:
            return -1
        lengths[number] = position - begins[number]
        kinds[number] = data[position + 9]
        position += 10
    return position


@njit(nogil=True, cache=True)
def word_keys(pool: Any, spans: Any, first: Any, keys: Any) -> None:
    """First eight bytes and key of every dictionary word."""
    base = np.uint64(pool.ctypes.data)
    for number in range(1, spans.shape[0]):
        address, done, value = base + (spans[number] >> np.uint64(32)), 0, BASIS
        length = np.int64(spans[number] & np.uint64(2**32 - 1))
        first[number] = load8(address) & _bits(min(length, 8))
        while done < length:
            rest = min(length - done, 8)
            value = np.uint32(fnv8(value, load8(address + np.uint64(done)) & _bits(rest)) * UNPAD[8 - rest])
            done += rest
        keys[number] = mixed(first[number], value)


@njit(nogil=True, cache=True)
def place(
    order: Any, groups: Any, first: Any, keys: Any, displacements: Any, slots: Any, shift: int, group_shift: int
) -> bool:
    """Finds each group's displacement: the first with which all of its words fall into free slots of their own.

    ``order``: word numbers by group, larger groups first; ``groups`` [G + 1]: where each group begins in ``order``.
    """
    for group in range(groups.shape[0] - 1):
        members = order[groups[group] : groups[group + 1]]
        for displacement in range(65536):
            placed = 0
            for number in members:
                slot = 2 * np.int64(slot_of(keys[number], displacement, shift))
                if slots[slot]:
                    break
                slots[slot], slots[slot + 1] = first[number], np.uint64(number)
                placed += 1
            if placed == members.shape[0]:
                displacements[keys[members[0]] >> group_shift] = displacement
                break
            for number in members[:placed]:
                slots[2 * np.int64(slot_of(keys[number], displacement, shift))] = 0
        else:
            return False
    return True
