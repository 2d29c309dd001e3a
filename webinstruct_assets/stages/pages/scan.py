"""One compiled pass over a page's normalised HTML: its text in blocks, the containers around them, what needs a second look.

In goes what lexbor serialised: well-formed by construction (every element closed, attributes in double quotes, five
entities), so that a scanner of a few states reads it. Out come flat arrays; ``html`` makes objects of them. Numba
compiles this at its first use and keeps the result on disk; a walk over the same tree in Python costs six times more.

The text buffer holds all blocks one after the other, white space folded. Marks of the private use area (see
``marks``) stand for what only Python can finish: breaks, code, sub and sup, and ``SPECIAL`` for a formula whose
source lies at a span of the input.
"""

# Compiled code: chains of comparisons compile to less than tuples do.
# ruff: noqa: SIM109, SIM905

from collections.abc import Iterable
from typing import Any

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]  # state; the result arrays are 32 bits wide, sources being far below 2 GB
Rows = NDArray[np.int32]

# -- what elements are -------------------------------------------------------------------------------------------

(OTHER, SKIP, VOID, LINK, HEADING, ITEM, LIST, ROW, CELL, PRE, CODE, SUB, SUP, BR, HR, IMAGE, MATH, SCRIPT, BLOCK, PRUNED,
 BUTTON, MATHJAX, RAW, TITLE, ROOT, RAW_PRE) = range(26)  # fmt: skip
TAGS: dict[str, int] = {
    tag: kind
    for kind, tags in (
        (SKIP, "template svg canvas object applet audio video select textarea map datalist dialog optgroup option progress "
               "meter rp rt frameset"),
        (VOID, "area base basefont bgsound col embed frame input keygen link meta param source track wbr"),
        (RAW, "style iframe noembed noframes noscript"), (RAW_PRE, "xmp plaintext"), (SCRIPT, "script"), (TITLE, "title"),
        (LINK, "a"), (HEADING, "h1 h2 h3 h4 h5 h6"), (ITEM, "li"), (LIST, "ul ol"), (ROW, "tr"), (CELL, "td th"),
        (PRE, "pre listing"), (CODE, "code tt kbd samp"), (SUB, "sub"), (SUP, "sup"), (BR, "br"), (HR, "hr"), (IMAGE, "img"),
        (MATH, "math"), (MATHJAX, "mjx-container"), (BUTTON, "button"), (ROOT, "html body"),
        (BLOCK, "div p section article main header form fieldset blockquote center address dl dt dd details summary "
                "figure figcaption table tbody thead tfoot caption legend hgroup menu dir aside"),
        (PRUNED, "nav footer"),
    )
    for tag in tags.split()
}  # fmt: skip
CONTAINER_TAGS = frozenset(
    "div section article main header form fieldset blockquote dl dt dd details summary ul ol li table tr td th nav "
    "footer aside figure menu center".split()
)
NAMES = ["", *TAGS]  # index: a tag's number in the arrays; 0 for all others
ATTRIBUTES = ("class", "id", "style", "role", "hidden", "itemprop", "property", "itemtype", "typeof", "start", "type",
              "lang", "display", "alt", "src", "href")  # fmt: skip
(A_CLASS, A_ID, A_STYLE, A_ROLE, A_HIDDEN, A_ITEMPROP, A_PROPERTY, A_ITEMTYPE, A_TYPEOF, A_START, A_TYPE, A_LANG, A_DISPLAY,
 A_ALT, A_SRC, A_HREF) = range(16)  # fmt: skip

# Columns of the arrays.
(B_START, B_END, B_KIND, B_LEVEL, B_CONTAINER, B_LINK_CHARS, B_LINKS, B_FLAGS, B_ROW, B_CELL, B_DEPTH, B_ORDER,
 B_NUMBER, B_BOLD) = range(14)  # fmt: skip
(C_PARENT, C_TAG, C_FIRST, C_LAST, C_CLASS, C_CLASS_END, C_ID, C_ID_END, C_ROLE, C_ROLE_END, C_HIDDEN, C_MARKUP,
 C_SOURCE, C_SOURCE_END) = range(14)  # fmt: skip
S_KIND, S_START, S_END, S_DISPLAY = range(4)
PARAGRAPH, HEAD, LISTED, CELLED, CODED = range(5)  # B_KIND
F_DOLLAR, F_SCRIPT, F_CODE, F_BREAK, F_SPECIAL, F_TICK = 1, 2, 4, 8, 16, 32  # B_FLAGS: what the text holds
(GONE, MATHML, TEX_SCRIPT, RENDERED, PREVIEW, PICTURE, JSON_LD, OPENER) = range(8)  # S_KIND
OK, TOO_MANY, TOO_DEEP = 0, 1, 2

# State shared by the functions below.
(OUT, CHARS, BLOCK_OUT, BLOCK_CHARS, PENDING, BROKEN, LINK_CHARS, LINKS, LINK_DEPTH, FLAGS, BLOCKS, CONTAINERS, HERE, HEADING_,
 PRE_, CODE_, MARKED, ORDER, NUMBER, LISTS, ROW_, ROWS, CELL_, CELLS, SPECIALS, DISPLAYED, BOLD,
 BOLD_CHARS, LINE_START, BOLD_LINES, PLAIN, AWAY, AWAY_LINKS) = range(33)  # fmt: skip

_BASIS, _PRIME, _MASK = 14695981039346656037, 1099511628211, (1 << 64) - 1


def _hash(name: str) -> int:
    value = _BASIS
    for byte in name.encode():
        value = ((value ^ byte) * _PRIME) & _MASK
    return value


def hash_table(names: Iterable[str], size: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Open-addressed hash table of names to their numbers, from 1."""
    keys, values = np.zeros(size, np.uint64), np.zeros(size, np.int64)
    for number, name in enumerate(names, 1):
        place = _hash(name) & (size - 1)
        while keys[place]:
            place = (place + 1) & (size - 1)
        keys[place], values[place] = _hash(name), number
    return keys, values


_B_TAG, _STRONG_TAG = np.uint64(_hash("b")), np.uint64(_hash("strong"))
_TAG_KEYS, _TAG_NUMBERS = hash_table(TAGS, 512)
_TAG_KINDS = np.array([OTHER, *TAGS.values()])
_TAG_HOLDS = np.array([False, *(tag in CONTAINER_TAGS for tag in TAGS)])
_TAG_LEVELS = np.array([0, *(int(tag[1]) if kind == HEADING else 0 for tag, kind in TAGS.items())])
_ORDERED_LIST = NAMES.index("ol")
_ATTRIBUTE_KEYS, _ATTRIBUTE_NUMBERS = hash_table(ATTRIBUTES, 64)


def packed(words: Iterable[str]) -> Bytes:
    """Words as one array, each between zero bytes."""
    return np.frombuffer(b"\0" + b"".join(word.encode() + b"\0" for word in words), np.uint8)


_KATEX_HTML, _KATEX_DISPLAY, _KATEX, _MATHJAX, _PREVIEW, _ASSISTIVE, _MWE, _MWE_INLINE, _EDIT = (
    np.frombuffer(word.encode(), np.uint8)
    for word in (
        "katex-html",
        "katex-display",
        "katex",
        "MathJax",
        "MathJax_Preview",
        "MJX_Assistive_MathML",
        "mwe-math-element",
        "mwe-math-element-inline",
        "mw-editsection",
    )
)
_MATH_TYPES, _LD_JSON = packed(["math/"]), packed(["application/ld+json"])
_HIDING = packed(["display:none", "visibility:hidden"])
_OPENS = packed(["accordion", "collaps", "faq"])  # buttons that carry a panel's title
_SCRIPTED = packed(["javascript:"])
_NOTES = packed(["reference", "footnote", "noprint"])
_TEX_SIGNS = packed(["\\", "^{", "_{", "$", "tex", "math", "codecogs", "chl=", "eq"])


# Signatures are given so that each function is compiled once, not anew for literals and read-only arrays.
_source = types.Array(types.uint8, 1, "C", readonly=True)
_out, _state, _rows = types.uint8[::1], types.int64[::1], types.int32[:, ::1]
_int, _bool, _hashed = types.int64, types.boolean, types.uint64
_hashes = types.Array(types.uint64, 1, "C", readonly=True)
_numbers = types.Array(types.int64, 1, "C", readonly=True)


def _part(*signature: Any) -> Any:
    """A function of the scanner: called from nowhere else, so it gets no wrappers for Python and C."""
    result, *arguments = signature
    return njit(result(*arguments), cache=True, nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)


@_part(_bool, _source, _int, _int, _source)
def _starts(s: Bytes, at: int, end: int, word: Bytes) -> bool:
    if end - at < word.size:
        return False
    for k in range(word.size):
        byte = s[at + k]
        if byte != word[k]:
            return False
    return True


@_part(_bool, _source, _int, _int, _source, _bool)
def _has_token(s: Bytes, start: int, end: int, word: Bytes, prefix: bool) -> bool:
    """Whether a list of names has ``word``, or one that begins with it."""
    at = start
    while at + word.size <= end:
        if (at == start or s[at - 1] <= 32) and _starts(s, at, end, word):
            after = at + word.size
            if prefix or after == end or s[after] <= 32:
                return True
        at += 1
    return False


@_part(_bool, _source, _int, _int, _source, _bool)
def _has_any(s: Bytes, start: int, end: int, words: Bytes, spaced: bool) -> bool:
    """Whether text holds one of the packed words, case folded; ``spaced``: white space in the text does not count."""
    at = start
    while at < end:
        w = 1
        while w < words.size:
            p, k = at, w
            while words[k] != 0 and p < end:
                byte = s[p]
                if 65 <= byte <= 90:
                    byte += 32
                if spaced and byte <= 32 and p > at:
                    p += 1
                    continue
                if byte != words[k]:
                    break
                p += 1
                k += 1
            if words[k] == 0:
                return True
            while words[w] != 0:
                w += 1
            w += 1
        at += 1
    return False


@_part(_bool, _source, _int, _int, _source)
def _is_any(s: Bytes, start: int, end: int, words: Bytes) -> bool:
    """Whether text is one of the packed words."""
    w = 1
    while w < words.size:
        k = 0
        while words[w + k] != 0 and start + k < end and words[w + k] == s[start + k]:
            k += 1
        if words[w + k] == 0 and start + k == end and k > 0:
            return True
        while words[w] != 0:
            w += 1
        w += 1
    return False


@_part(_bool, _source, _int, _int, _source)
def _markup_name(s: Bytes, start: int, end: int, words: Bytes) -> bool:
    """Whether the first name of an ``itemprop``, without a prefix, is one of ``words``."""
    while start < end and s[start] <= 32:
        start += 1
    stop = start
    while stop < end and s[stop] > 32:
        stop += 1
    for at in range(start, stop):
        if s[at] == 58 or s[at] == 47:  # ":" of a prefix, "/" of a URL
            start = at + 1
    return _is_any(s, start, stop, words)


@_part(types.void, _out, _state, _int)
def _mark(out: Bytes, st: Ints, last: int) -> None:
    """Writes U+E000 + ``last``."""
    if st[PENDING] and not st[PRE_]:
        out[st[OUT]] = 32
        st[OUT] += 1
        st[CHARS] += 1
    at = st[OUT]
    out[at] = 0xEE
    out[at + 1] = 0x80
    out[at + 2] = 0x80 + last
    st[OUT] = at + 3
    st[CHARS] += 1
    st[PENDING] = 0
    st[BROKEN] = 0


@_part(types.void, _state)
def _end_line(st: Ints) -> None:
    """Counts the lines that a block begins with and that are bold as a whole (but for a colon or a formula)."""
    chars = st[CHARS] - st[LINE_START]
    if chars > 0:
        if st[BOLD_CHARS] > 0 and st[BOLD_CHARS] >= chars - max(2, chars // 20) and not st[PLAIN]:
            st[BOLD_LINES] += 1
        else:
            st[PLAIN] = 1
    st[BOLD_CHARS] = 0


@_part(types.void, _out, _state)
def _break(out: Bytes, st: Ints) -> None:
    if st[PRE_]:
        out[st[OUT]] = 10
        st[OUT] += 1
        st[CHARS] += 1
        return
    st[PENDING] = 0
    if st[OUT] > st[BLOCK_OUT] and not st[BROKEN]:
        _end_line(st)
        _mark(out, st, 9)
        st[LINE_START] = st[CHARS]
        st[BROKEN] = 1
        st[FLAGS] |= F_BREAK


@_part(types.void, _source, _int, _int, _out, _state, _bool)
def _text(s: Bytes, start: int, end: int, out: Bytes, st: Ints, raw: bool) -> None:
    """Adds text: entities resolved, white space folded (not in ``pre``), invisible characters dropped."""
    o, chars = st[OUT], st[CHARS]
    pending, pre = st[PENDING], st[PRE_]
    before = chars
    fresh = st[BLOCK_OUT]
    broken = st[BROKEN]
    flags = st[FLAGS]
    i = start
    while i < end:
        byte = s[i]
        if 96 < byte < 127:  # lower-case letters, most of any text
            if pending and not pre:
                out[o] = 32
                o += 1
                chars += 1
                pending = 0
            start = i
            while i < end and 96 < s[i] < 127:
                out[o] = s[i]
                o += 1
                i += 1
            chars += i - start
            broken = 0
            continue
        width = 1
        space = False
        if byte <= 32:
            space = True
        elif byte < 0x80:
            if byte == 38 and not raw:  # &
                if i + 4 < end and s[i + 1] == 97 and s[i + 2] == 109 and s[i + 3] == 112 and s[i + 4] == 59:
                    width = 5
                elif i + 3 < end and s[i + 1] == 108 and s[i + 2] == 116 and s[i + 3] == 59:
                    byte, width = 60, 4
                elif i + 3 < end and s[i + 1] == 103 and s[i + 2] == 116 and s[i + 3] == 59:
                    byte, width = 62, 4
                elif (
                    i + 5 < end
                    and s[i + 1] == 110
                    and s[i + 2] == 98
                    and s[i + 3] == 115
                    and s[i + 4] == 112
                    and s[i + 5] == 59
                ):
                    byte, width, space = 32, 6, True
                elif (
                    i + 5 < end
                    and s[i + 1] == 113
                    and s[i + 2] == 117
                    and s[i + 3] == 111
                    and s[i + 4] == 116
                    and s[i + 5] == 59
                ):
                    byte, width = 34, 6
            if byte == 36 or byte == 92:
                flags |= F_DOLLAR
            elif byte == 96:
                flags |= F_TICK
        elif i + 1 < end:
            second = s[i + 1]
            if byte == 0xC2:
                if second == 0xA0 or second == 0x85:
                    space, width = True, 2
                elif second == 0xAD:
                    i += 2
                    continue
            elif i + 2 < end:
                third = s[i + 2]
                if byte == 0xE2 and second == 0x80:
                    if third <= 0x8A or third == 0xA8 or third == 0xA9 or third == 0xAF:
                        space, width = True, 3
                    elif third <= 0x8D:
                        i += 3
                        continue
                elif byte == 0xE2 and second == 0x81:
                    if third == 0x9F:
                        space, width = True, 3
                    elif third == 0xA0:
                        i += 3
                        continue
                elif (byte == 0xE3 and second == 0x80 and third == 0x80) or (
                    byte == 0xE1 and second == 0x9A and third == 0x80
                ):
                    space, width = True, 3
                elif byte == 0xEF and second == 0xBB and third == 0xBF:
                    i += 3
                    continue
                elif byte == 0xEE and second == 0x80 and third <= 0x8F:  # our marks are not the page's
                    if pending and not pre:
                        out[o] = 32
                        o += 1
                        chars += 1
                        pending = 0
                    out[o] = 0xEF
                    out[o + 1] = 0xBF
                    out[o + 2] = 0xBD
                    o += 3
                    chars += 1
                    broken = 0
                    i += 3
                    continue
        if pre:
            if space:
                out[o] = 32 if width > 1 or (byte != 10 and byte != 9 and byte != 13) else byte
                o += 1
                chars += 1
                i += width
                continue
        elif space:
            if o > fresh and not broken:
                pending = 1
            i += width
            continue
        elif pending:
            out[o] = 32
            o += 1
            chars += 1
            pending = 0
        out[o] = byte
        o += 1
        if byte & 0xC0 != 0x80:
            chars += 1
        broken = 0
        i += width
    st[OUT], st[CHARS], st[PENDING], st[BROKEN], st[FLAGS] = o, chars, pending, broken, flags
    if st[LINK_DEPTH]:
        st[LINK_CHARS] += chars - before
    if st[BOLD]:
        st[BOLD_CHARS] += chars - before


@_part(types.void, _out, _state, _rows)
def _flush(out: Bytes, st: Ints, blocks: Rows) -> None:
    """Ends the current block."""
    o, first = st[OUT], st[BLOCK_OUT]
    if st[BROKEN] and o >= first + 3:
        o -= 3
        st[CHARS] -= 1
        st[BROKEN] = 0
    empty = True
    for at in range(first, o):
        if out[at] > 32:
            empty = False
            break
    if empty:
        st[OUT], st[CHARS] = first, st[BLOCK_CHARS]
        st[PENDING] = st[FLAGS] = 0
        st[LINE_START], st[BOLD_CHARS], st[BOLD_LINES], st[PLAIN], st[AWAY] = st[CHARS], 0, 0, 0, 0
        return
    _end_line(st)
    number = st[BLOCKS]
    row = blocks[number]
    row[B_START], row[B_END] = st[BLOCK_CHARS], st[CHARS]
    row[B_CONTAINER], row[B_FLAGS] = st[HERE], st[FLAGS]
    row[B_LINK_CHARS], row[B_LINKS] = st[LINK_CHARS], st[LINKS]
    row[B_ROW], row[B_CELL] = st[ROW_], st[CELL_]
    row[B_BOLD] = st[BOLD_LINES]
    if st[AWAY] or (st[HEADING_] and st[AWAY_LINKS] > 0):
        row[B_BOLD] += 1 << 16
    row[B_LEVEL] = row[B_DEPTH] = row[B_ORDER] = row[B_NUMBER] = 0
    if st[PRE_]:
        row[B_KIND] = CODED
        row[B_ROW] = -1
    else:
        if st[HEADING_]:
            row[B_KIND], row[B_LEVEL] = HEAD, st[HEADING_]
        elif st[MARKED]:
            row[B_KIND] = LISTED
        elif st[ROW_] >= 0:
            row[B_KIND] = CELLED
        else:
            row[B_KIND] = PARAGRAPH
        if st[MARKED]:
            row[B_DEPTH], row[B_ORDER], row[B_NUMBER] = st[MARKED], st[ORDER], st[NUMBER]
            st[MARKED] = 0
    st[BLOCKS] = number + 1
    st[OUT] = st[BLOCK_OUT] = o
    st[BLOCK_CHARS] = st[CHARS]
    st[PENDING] = st[FLAGS] = st[LINK_CHARS] = st[LINKS] = 0
    st[LINE_START], st[BOLD_CHARS], st[BOLD_LINES], st[PLAIN], st[AWAY] = st[CHARS], 0, 0, 0, 0


@_part(types.void, _state, _rows, _int)
def _close_row(st: Ints, blocks: Rows, first: int) -> None:
    """A row whose cells hold one block each is a table row; others are layout, and their blocks stand alone."""
    row = st[ROW_]
    cells, cell = 0, -1
    layout = False
    for at in range(first, st[BLOCKS]):
        block = blocks[at]
        if block[B_ROW] == row:
            if block[B_CELL] == cell or block[B_KIND] == HEAD or block[B_END] - block[B_START] > 2000:
                layout = True
            cell = block[B_CELL]
            cells += 1
        elif block[B_ROW] >= 0 or block[B_KIND] == CODED:
            layout = True
    if layout or cells < 2:
        for at in range(first, st[BLOCKS]):
            block = blocks[at]
            if block[B_ROW] == row:
                block[B_ROW] = -1
                if block[B_KIND] == CELLED:
                    block[B_KIND] = PARAGRAPH


@_part(types.void, _out, _state, _rows, _int, _int, _int, _int)
def _special(out: Bytes, st: Ints, specials: Rows, kind: int, start: int, end: int, display: int) -> None:
    row = specials[st[SPECIALS]]
    row[S_KIND], row[S_START], row[S_END], row[S_DISPLAY] = kind, start, end, display
    st[SPECIALS] += 1
    if kind != JSON_LD and kind != OPENER:
        _mark(out, st, 10)
        st[FLAGS] |= F_SPECIAL


@_part(_int, _hashes, _numbers, _hashed)
def find_name(keys: NDArray[np.uint64], numbers: NDArray[np.int64], value: int) -> int:
    place = value & np.uint64(keys.size - 1)
    while keys[place] != 0:
        if keys[place] == value:
            return int(numbers[place])
        place = (place + np.uint64(1)) & np.uint64(keys.size - 1)
    return 0


@_part(_int, _source, _int, _int)
def _number(s: Bytes, start: int, end: int) -> int:
    """A decimal number of at most six digits; 1 for anything else."""
    if end <= start or end - start > 7:
        return 1
    at, sign, value = start, 1, 0
    if s[at] == 45:
        sign, at = -1, at + 1
    if at == end:
        return 1
    while at < end:
        if not 48 <= s[at] <= 57:
            return 1
        value = value * 10 + int(s[at]) - 48
        at += 1
    return sign * value


@njit(_int(_source, _int, _int, _source, _source, _source, _source, _out, _state, _rows, _rows, _rows, _state, _state),
      cache=True, nogil=True, no_cfunc_wrapper=True)  # fmt: skip
def scan(s: Bytes, max_nodes: int, max_depth: int, openable: Bytes, properties: Bytes,
         inner: Bytes, schema_types: Bytes, out: Bytes, st: Ints, blocks: Rows, containers: Rows, specials: Rows, names: NDArray[np.int64], span: Ints) -> int:  # fmt: skip
    """Reads serialised HTML ``s`` into the arrays; returns OK, TOO_MANY (nodes) or TOO_DEEP.

    ``st``: state, of which the counts (OUT, BLOCKS, CONTAINERS, SPECIALS) matter afterwards. ``span``: title start and end,
    language start and end, number of pruned elements. ``openable``: what names of hidden inline elements hold that
    readers can open. ``properties``, ``schema_types``: schema.org names whose elements become containers; ``inner``: properties
    that do so inside a question or an answer. ``names``: per container, a hash of its tag, class and id.
    """
    n = s.size
    hashes = np.empty(max_depth + 2, np.uint64)
    kinds = np.empty(max_depth + 2, np.int64)
    outers = np.empty(max_depth + 2, np.int64)
    saved = np.empty((max_depth + 2, 8), np.int64)
    lists = np.empty((max_depth + 2, 2), np.int64)
    lists[0, :] = 0
    a0 = np.zeros(16, np.int64)  # attribute spans, by attribute number
    a1 = np.zeros(16, np.int64)
    depth = 0
    skip = -1  # depth at which skipping began
    capture, capture_start, capture_display = 0, 0, 0
    nodes = 0
    question = 0  # open elements that are a question or an answer in schema.org terms
    katex_display = mwe = mwe_inline = mwe_found = katex_found = 0
    st[:] = 0
    st[HERE] = 0
    st[ROW_] = st[CELL_] = -1
    span[:] = 0
    containers[0, :] = 0
    containers[0, C_PARENT] = -1
    st[CONTAINERS] = 1
    i = 0
    while i < n:
        if s[i] != 60:
            start = i
            while i < n and s[i] != 60:
                i += 1
            if skip < 0:
                nodes += 1
                _text(s, start, i, out, st, False)
            continue
        if i + 1 >= n:
            break
        c = s[i + 1]
        if c == 33 or c == 63:  # comment, doctype
            if i + 3 < n and s[i + 2] == 45 and s[i + 3] == 45:
                i += 4
                while i < n and not (s[i] == 62 and s[i - 1] == 45 and s[i - 2] == 45):
                    i += 1
            else:
                while i < n and s[i] != 62:
                    i += 1
            i += 1
            continue
        if c == 47:  # end tag
            i += 2
            value = np.uint64(_BASIS)
            while i < n and s[i] != 62:
                value = (value ^ np.uint64(s[i])) * np.uint64(_PRIME)
                i += 1
            i += 1
            level = depth - 1
            while level >= 0 and hashes[level] != value:
                level -= 1
            if level < 0:
                continue
            while depth > level:
                depth -= 1
                kind = kinds[depth]
                if skip >= 0:
                    if depth == skip:
                        skip = -1
                        if capture:
                            _special(out, st, specials, capture, capture_start, i, capture_display)
                            if capture == MATHML:
                                mwe_found = 1
                                katex_found = 1
                            capture = 0
                    continue
                if kind == OTHER:
                    mark = saved[depth, 0]
                    if mark & 1:
                        katex_display -= 1
                    if mark & 2:
                        mwe -= 1
                    if mark & 4:
                        mwe_inline -= 1
                    if mark & 8:
                        question -= 1
                    if mark & 16:
                        st[BOLD] -= 1
                    if outers[depth] >= 0:
                        _flush(out, st, blocks)
                        containers[st[HERE], C_LAST] = st[BLOCKS]
                        st[HERE] = outers[depth]
                    continue
                if kind == LINK:
                    st[LINK_DEPTH] -= 1
                    st[AWAY_LINKS] -= saved[depth, 0]
                    continue
                if kind == SUB or kind == SUP:
                    _mark(out, st, 6)
                    continue
                if kind == CODE:
                    st[CODE_] -= 1
                    _mark(out, st, 8)
                    continue
                if kind == BUTTON:
                    asks = st[OUT] > 0 and out[st[OUT] - 1] == 63
                    if not asks and not st[HEADING_]:
                        specials[saved[depth, 3], S_END] = i
                        st[OUT], st[CHARS], st[BLOCKS] = saved[depth, 0], saved[depth, 1], saved[depth, 2]
                        st[SPECIALS], st[CONTAINERS] = saved[depth, 3] + 1, saved[depth, 4]
                        st[BLOCK_OUT], st[BLOCK_CHARS], st[FLAGS] = saved[depth, 5], saved[depth, 6], saved[depth, 7]
                        st[PENDING] = 1 if st[OUT] > st[BLOCK_OUT] else 0
                        st[BROKEN] = 0
                    else:
                        specials[saved[depth, 3], S_KIND] = GONE
                    continue
                _flush(out, st, blocks)
                if kind == HEADING:
                    st[HEADING_] = 0
                elif kind == LIST:
                    st[LISTS] -= 1
                elif kind == ITEM:
                    st[MARKED] = 0
                elif kind == PRE:
                    st[PRE_] -= 1
                elif kind == ROW:
                    _close_row(st, blocks, saved[depth, 2])
                    st[ROW_], st[CELL_] = saved[depth, 0], saved[depth, 1]
                mark = saved[depth, 3]
                if mark & 1:
                    katex_display -= 1
                if mark & 2:
                    mwe -= 1
                if mark & 4:
                    mwe_inline -= 1
                if mark & 8:
                    question -= 1
                if outers[depth] >= 0:
                    containers[st[HERE], C_LAST] = st[BLOCKS]
                    st[HERE] = outers[depth]
            continue
        if not (97 <= c <= 122 or 65 <= c <= 90):
            if skip < 0:
                _text(s, i, i + 1, out, st, False)
            i += 1
            continue
        # Start tag.
        source = i
        i += 1
        value = np.uint64(_BASIS)
        while i < n and s[i] > 32 and s[i] != 62 and s[i] != 47:
            value = (value ^ np.uint64(s[i])) * np.uint64(_PRIME)
            i += 1
        tag = find_name(_TAG_KEYS, _TAG_NUMBERS, value)
        kind = _TAG_KINDS[tag]
        nodes += 1
        if nodes > max_nodes:
            return TOO_MANY
        seen = 0  # bits of the attributes that are there
        wanted = skip < 0 or kind == SCRIPT
        while i < n and s[i] != 62:
            if s[i] <= 32 or s[i] == 47:
                i += 1
                continue
            name = np.uint64(_BASIS)
            while i < n and s[i] > 32 and s[i] != 61 and s[i] != 62:
                name = (name ^ np.uint64(s[i])) * np.uint64(_PRIME)
                i += 1
            start = stop = i
            if i < n and s[i] == 61:
                i += 1
                if i < n and s[i] == 34:
                    i += 1
                    start = i
                    while i < n and s[i] != 34:
                        i += 1
                    stop = i
                    i += 1
            if wanted:
                number = find_name(_ATTRIBUTE_KEYS, _ATTRIBUTE_NUMBERS, name)
                if number:
                    a0[number - 1], a1[number - 1] = start, stop
                    seen |= 1 << (number - 1)
        i += 1
        if kind == SCRIPT or kind == RAW or kind == RAW_PRE:
            start = i
            end = n  # the raw text ends at its end tag
            while i < n:
                if s[i] == 60 and i + 2 < n and s[i + 1] == 47:
                    k = i + 2
                    name = np.uint64(_BASIS)
                    while k < n and s[k] > 32 and s[k] != 62 and s[k] != 47 and k < i + 16:
                        byte = s[k]
                        if 65 <= byte <= 90:
                            byte += 32
                        name = (name ^ np.uint64(byte)) * np.uint64(_PRIME)
                        k += 1
                    if name == value:
                        end = i
                        while i < n and s[i] != 62:
                            i += 1
                        i += 1
                        break
                i += 1
            if kind == SCRIPT and seen >> A_TYPE & 1:
                if _has_any(s, a0[A_TYPE], min(a1[A_TYPE], a0[A_TYPE] + 40), _LD_JSON, False):
                    _special(out, st, specials, JSON_LD, start, end, 0)
                elif skip < 0 and _has_any(s, a0[A_TYPE], min(a1[A_TYPE], a0[A_TYPE] + 8), _MATH_TYPES, False):
                    # What a renderer left just before this source shows the same formula.
                    previous, at = st[SPECIALS] - 1, st[OUT]
                    while (
                        previous >= 0
                        and at - 3 >= st[BLOCK_OUT]
                        and out[at - 1] == 0x8A
                        and out[at - 2] == 0x80
                        and out[at - 3] == 0xEE
                    ):
                        if specials[previous, S_KIND] == RENDERED or specials[previous, S_KIND] == PREVIEW:
                            specials[previous, S_KIND] = GONE
                        elif specials[previous, S_KIND] != GONE:
                            break
                        previous -= 1
                        at -= 3
                        if at > st[BLOCK_OUT] and out[at - 1] == 32:
                            at -= 1
                    _special(out, st, specials, TEX_SCRIPT, source, i, 0)
            elif kind == RAW_PRE and skip < 0:
                _flush(out, st, blocks)
                st[PRE_] += 1
                _text(s, start, end, out, st, True)
                _flush(out, st, blocks)
                st[PRE_] -= 1
            continue
        if skip >= 0:
            if kind == VOID or kind == BR or kind == HR or kind == IMAGE:
                continue
            if depth >= max_depth:
                return TOO_DEEP
            hashes[depth] = value
            depth += 1
            continue
        if kind == VOID:
            continue
        if kind == ROOT:  # html, body: container 0 stands for them, and their end tags close nothing
            if seen >> A_LANG & 1:
                span[2], span[3] = a0[A_LANG], a1[A_LANG]
            continue
        if kind == BR:
            _break(out, st)
            continue
        if kind == HR:
            _flush(out, st, blocks)
            continue
        if kind == IMAGE:
            shows = False
            if not (mwe and mwe_found):
                for number in (A_ALT, A_SRC, A_CLASS):
                    if seen >> number & 1:
                        shows = shows or _has_any(s, a0[number], min(a1[number], a0[number] + 500), _TEX_SIGNS, False)
            if shows:
                _special(out, st, specials, PICTURE, source, i, 0)
            continue
        if depth >= max_depth:
            return TOO_DEEP
        hashes[depth] = value
        kinds[depth] = kind
        outers[depth] = -1
        if kind == TITLE:
            if span[1] == 0:
                end = i
                while end < n and s[end] != 60:
                    end += 1
                span[0], span[1] = i, end
            kind = SKIP
        if kind == SKIP or kind == PRUNED:
            if kind == PRUNED:
                span[4] += 1
            skip = depth
            depth += 1
            continue
        if kind == LINK:
            st[LINK_DEPTH] += 1
            st[LINKS] += 1
            saved[depth, 0] = 0
            if seen >> A_HREF & 1 and a1[A_HREF] > a0[A_HREF]:
                away = not _has_any(s, a0[A_HREF], min(a0[A_HREF] + 20, a1[A_HREF]), _SCRIPTED, False)
                for at in range(a0[A_HREF], a1[A_HREF]):
                    away = away and s[at] != 35
                if away:
                    saved[depth, 0] = 1
                    st[AWAY_LINKS] += 1
                    if st[HEADING_]:
                        st[AWAY] = 1
            depth += 1
            continue
        class0 = class1 = 0
        if seen >> A_CLASS & 1:
            class0, class1 = a0[A_CLASS], a1[A_CLASS]
        if kind == MATH:
            display = 1 if katex_display else (2 if mwe_inline else 0)
            skip, capture, capture_start, capture_display = depth, MATHML, source, display
            depth += 1
            continue
        if kind == MATHJAX:
            skip, capture, capture_start, capture_display = depth, RENDERED, source, 0
            depth += 1
            continue
        if kind == SUB or kind == SUP:
            if class1 > class0 and _has_any(s, class0, class1, _NOTES, False):
                skip = depth
                depth += 1
                continue
            if st[PRE_] or st[CODE_]:
                kinds[depth] = OTHER
                saved[depth, 0] = 0
            else:
                _mark(out, st, 4 if kind == SUB else 5)
                st[FLAGS] |= F_SCRIPT
            depth += 1
            continue
        if kind == CODE:
            if st[PRE_] or st[CODE_]:
                kinds[depth] = OTHER
                saved[depth, 0] = 0
            else:
                st[CODE_] += 1
                _mark(out, st, 7)
                st[FLAGS] |= F_CODE
            depth += 1
            continue
        if kind == BUTTON and class1 > class0 and _has_any(s, class0, class1, _OPENS, False):
            kind = BLOCK
            kinds[depth] = BLOCK
        if kind == BUTTON:
            saved[depth, 0], saved[depth, 1], saved[depth, 2], saved[depth, 3] = (
                st[OUT],
                st[CHARS],
                st[BLOCKS],
                st[SPECIALS],
            )
            saved[depth, 4], saved[depth, 5], saved[depth, 6], saved[depth, 7] = (
                st[CONTAINERS],
                st[BLOCK_OUT],
                st[BLOCK_CHARS],
                st[FLAGS],
            )
            _special(out, st, specials, OPENER, source, i, st[BLOCKS])
            depth += 1
            continue
        marks = 0
        if class1 > class0:
            if _has_token(s, class0, class1, _KATEX, True):
                if _has_token(s, class0, class1, _KATEX_DISPLAY, False):
                    marks |= 1
                    katex_display += 1
                elif _has_token(s, class0, class1, _KATEX_HTML, False):
                    if katex_found:
                        skip = depth
                        depth += 1
                        continue
                elif _has_token(s, class0, class1, _KATEX, False):
                    katex_found = 0
            elif _has_token(s, class0, class1, _MATHJAX, True):
                preview = _has_token(s, class0, class1, _PREVIEW, False)
                skip, capture, capture_start, capture_display = depth, PREVIEW if preview else RENDERED, source, 0
                depth += 1
                continue
            elif _has_token(s, class0, class1, _ASSISTIVE, False):
                skip = depth
                depth += 1
                continue
            elif _has_token(s, class0, class1, _MWE, False):
                marks |= 2
                mwe += 1
                mwe_found = 0
                if _has_token(s, class0, class1, _MWE_INLINE, False):
                    marks |= 4
                    mwe_inline += 1
            elif kind == OTHER and _has_token(s, class0, class1, _EDIT, False):
                skip = depth
                depth += 1
                continue
        hidden = seen >> A_HIDDEN & 1 or (seen >> A_STYLE & 1 and _has_any(s, a0[A_STYLE], a1[A_STYLE], _HIDING, True))
        markup = False
        if seen & (1 << A_ITEMPROP | 1 << A_PROPERTY | 1 << A_ITEMTYPE | 1 << A_TYPEOF):
            for number in (A_ITEMTYPE, A_TYPEOF):
                if seen >> number & 1 and _has_any(s, a0[number], a1[number], schema_types, False):
                    markup = True
            for number in (A_ITEMPROP, A_PROPERTY):
                if seen >> number & 1:
                    named = _markup_name(s, a0[number], a1[number], properties)
                    if named or (question and _markup_name(s, a0[number], a1[number], inner)):
                        markup = True
            if markup:
                marks |= 8
                question += 1
        if kind == OTHER:
            if (
                hidden
                and not mwe
                and not (
                    (class1 > class0 and _has_any(s, class0, class1, openable, False))
                    or (seen >> A_ID & 1 and _has_any(s, a0[A_ID], a1[A_ID], openable, False))
                )
            ):
                if marks & 1:
                    katex_display -= 1
                if marks & 8:
                    question -= 1
                skip = depth
                depth += 1
                continue
            if value == _B_TAG or value == _STRONG_TAG:
                marks |= 16
                st[BOLD] += 1
            saved[depth, 0] = marks
            if not markup:
                depth += 1
                continue
        else:
            saved[depth, 3] = marks
        # A block, or an inline element that markup names: text before it ends.
        _flush(out, st, blocks)
        if kind == HEADING:
            st[HEADING_] = _TAG_LEVELS[tag]
        elif kind == LIST:
            at = st[LISTS]
            lists[at, 0] = 0
            if tag == _ORDERED_LIST:
                lists[at, 0] = 1
                if seen >> A_TYPE & 1 and a1[A_TYPE] == a0[A_TYPE] + 1 and (s[a0[A_TYPE]] == 97 or s[a0[A_TYPE]] == 65):
                    lists[at, 0] = int(s[a0[A_TYPE]])
            lists[at, 1] = _number(s, a0[A_START], a1[A_START]) - 1 if seen >> A_START & 1 else 0
            st[LISTS] = at + 1
        elif kind == ITEM:
            at = max(st[LISTS] - 1, 0)
            if st[LISTS] == 0:
                lists[0, 0] = 0
            lists[at, 1] += 1
            st[MARKED], st[ORDER], st[NUMBER] = max(st[LISTS], 1), lists[at, 0], lists[at, 1]
        elif kind == PRE:
            st[PRE_] += 1
        elif kind == ROW:
            saved[depth, 0], saved[depth, 1], saved[depth, 2] = st[ROW_], st[CELL_], st[BLOCKS]
            st[ROW_] = st[ROWS]
            st[ROWS] += 1
        elif kind == CELL:
            st[CELL_] = st[CELLS]
            st[CELLS] += 1
        if _TAG_HOLDS[tag] or markup or hidden or seen & (1 << A_CLASS | 1 << A_ID | 1 << A_ROLE):
            outers[depth] = st[HERE]
            number = st[CONTAINERS]
            row = containers[number]
            row[C_PARENT], row[C_TAG], row[C_FIRST], row[C_LAST] = st[HERE], tag, st[BLOCKS], st[BLOCKS]
            row[C_CLASS], row[C_CLASS_END] = class0, class1
            row[C_ID] = row[C_ID_END] = row[C_ROLE] = row[C_ROLE_END] = 0
            if seen >> A_ID & 1:
                row[C_ID], row[C_ID_END] = a0[A_ID], a1[A_ID]
            if seen >> A_ROLE & 1:
                row[C_ROLE], row[C_ROLE_END] = a0[A_ROLE], a1[A_ROLE]
            value = np.uint64(_BASIS) ^ np.uint64(tag)
            for at in range(class0, class1):
                value = (value ^ np.uint64(s[at])) * np.uint64(_PRIME)
            value = (value ^ np.uint64(255)) * np.uint64(_PRIME)
            for at in range(row[C_ID], row[C_ID_END]):
                value = (value ^ np.uint64(s[at])) * np.uint64(_PRIME)
            names[number] = np.int64(value & np.uint64(0x7FFFFFFFFFFFFFFF))
            row[C_HIDDEN], row[C_MARKUP], row[C_SOURCE], row[C_SOURCE_END] = hidden, markup, source, i
            st[HERE] = number
            st[CONTAINERS] = number + 1
        depth += 1
    while depth > 0:  # the input ended inside elements: only when it was cut
        depth -= 1
        if outers[depth] >= 0 and (skip < 0 or depth < skip):
            _flush(out, st, blocks)
            containers[st[HERE], C_LAST] = st[BLOCKS]
            st[HERE] = outers[depth]
    _flush(out, st, blocks)
    containers[0, C_LAST] = st[BLOCKS]
    return OK
