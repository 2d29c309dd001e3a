"""What of a page its parser need not see: comments, scripts and styles, attributes that nothing here reads.

They are half of a page's bytes, and every later step pays for them. One compiled pass over the bytes, by the states of
the HTML Standard's tokenizer (13.2.5), copies the rest; the tree that a parser builds of it is the same but for what is
left out. Where the standard makes the reading depend on the tree (CDATA, empty raw text elements inside SVG, scripts that
write scripts) the pass gives up, and the page is parsed as it is.
"""

# Compiled code: chains of comparisons compile to less than tuples do.
# ruff: noqa: SIM109, SIM905

import numpy as np
from numba import njit, types

from webinstruct_assets.stages.pages.scan import Bytes, find_name, hash_table

KEPT = ("class id style role hidden itemprop property itemtype typeof start type lang display alt src alttext encoding mathvariant "
        "linethickness open close separators notation mode data-latex data-tex data-mathml href").split()  # fmt: skip
RAW = ("script", "style", "noscript", "iframe", "noembed", "noframes", "xmp", "textarea", "title", "plaintext")
_KEPT_KEYS, _KEPT_NUMBERS = hash_table(KEPT, 128)
_RAW_KEYS, _RAW_NUMBERS = hash_table(RAW, 64)
_FOREIGN_KEYS, _FOREIGN_NUMBERS = hash_table(("svg", "math"), 8)
_SCRIPT, _XMP, _TITLE, _PLAINTEXT = (RAW.index(name) + 1 for name in ("script", "xmp", "title", "plaintext"))
_TYPE, _SRC, _HREF = (KEPT.index(name) + 1 for name in ("type", "src", "href"))
_WRITTEN = np.frombuffer(b"script", np.uint8)
_BASIS, _PRIME = 14695981039346656037, 1099511628211
MAX_SOURCE = 2_000  # bytes of an image's address that may be TeX; data: addresses are longer


@njit(
    types.int64(types.Array(types.uint8, 1, "C", readonly=True), types.uint8[::1]),
    cache=True,
    nogil=True,
    no_cfunc_wrapper=True,
)
def slim(s: Bytes, out: Bytes) -> int:
    """Copies what matters of ``s`` to ``out`` (twice as long as ``s``); returns the bytes written, -1 where it gives up."""
    n = s.size
    i = o = 0
    foreign = 0  # open svg and math elements: inside, names may not mean what they do in HTML
    heading = False
    while i < n:
        byte = s[i]
        if byte != 60:
            out[o] = byte
            o += 1
            i += 1
            continue
        if i + 1 >= n:
            out[o] = 60
            return o + 1
        c = s[i + 1]
        if c == 33 and i + 3 < n and s[i + 2] == 45 and s[i + 3] == 45:  # comment
            i += 4
            if i < n and s[i] == 62:
                i += 1
                continue
            if i + 1 < n and s[i] == 45 and s[i + 1] == 62:
                i += 2
                continue
            while i < n:
                if s[i] == 45 and i + 2 < n and s[i + 1] == 45:
                    if s[i + 2] == 62:
                        i += 3
                        break
                    if s[i + 2] == 33 and i + 3 < n and s[i + 3] == 62:
                        i += 4
                        break
                i += 1
            continue
        letter = 97 <= c <= 122 or 65 <= c <= 90
        closing = c == 47 and i + 2 < n and (97 <= s[i + 2] <= 122 or 65 <= s[i + 2] <= 90)
        if not letter and not closing:
            if c == 33 and i + 2 < n and s[i + 2] == 91:  # <![CDATA[
                return -1
            if c == 33 or c == 63 or c == 47:  # doctype, bogus comment
                while i < n and s[i] != 62:
                    out[o] = s[i]
                    o += 1
                    i += 1
                continue
            out[o] = 60
            o += 1
            i += 1
            continue
        # A tag: its name, then its attributes.
        start = o
        out[o] = 60
        o += 1
        i += 1
        if closing:
            out[o] = 47
            o += 1
            i += 1
        name = np.uint64(_BASIS)
        name_at = i
        while i < n and s[i] != 62 and s[i] != 47 and s[i] != 32 and not 9 <= s[i] <= 13:
            byte = s[i]
            out[o] = byte
            o += 1
            i += 1
            if 65 <= byte <= 90:
                byte += 32
            name = (name ^ np.uint64(byte)) * np.uint64(_PRIME)
        length = i - name_at
        first = s[name_at] | 32
        image = length == 3 and first == 105
        if length == 2 and first == 104 and 49 <= s[name_at + 1] <= 54:
            heading = not closing
        empty = keeps = ended = False
        while i < n:
            byte = s[i]
            if byte == 62:
                ended = True
                i += 1
                break
            if byte == 32 or 9 <= byte <= 13:
                i += 1
                continue
            if byte == 47:
                empty = i + 1 < n and s[i + 1] == 62
                i += 1
                continue
            begin = i
            attribute = np.uint64(_BASIS)
            while (
                i < n
                and (i == begin or s[i] != 61)
                and s[i] != 62
                and s[i] != 47
                and s[i] != 32
                and not 9 <= s[i] <= 13
            ):
                byte = s[i]  # a "=" that begins a name is a part of it
                if 65 <= byte <= 90:
                    byte += 32
                attribute = (attribute ^ np.uint64(byte)) * np.uint64(_PRIME)
                i += 1
            end = i
            k = i
            while k < n and (s[k] == 32 or 9 <= s[k] <= 13):
                k += 1
            value_at = value_end = end
            if k < n and s[k] == 61:
                k += 1
                while k < n and (s[k] == 32 or 9 <= s[k] <= 13):
                    k += 1
                if k < n and (s[k] == 34 or s[k] == 39):
                    quote = s[k]
                    k += 1
                    value_at = k
                    while k < n and s[k] != quote:
                        k += 1
                    value_end = k
                    k += 1
                else:
                    value_at = k
                    while k < n and s[k] != 62 and s[k] != 32 and not 9 <= s[k] <= 13:
                        k += 1
                    value_end = k
                i = end = min(k, n)
            if closing:
                continue
            number = find_name(_KEPT_KEYS, _KEPT_NUMBERS, attribute)
            if number == 0 or (number == _HREF and not heading):
                continue
            if number == _SRC and (not image or value_end - value_at > MAX_SOURCE):
                continue
            out[o] = 32
            o += 1
            for at in range(begin, end):
                out[o] = s[at]
                o += 1
            if number == _TYPE and value_end - value_at > 4:
                keeps = True  # math/…, application/…: scripts that are read
        if not ended:  # a tag that the page's end cuts off is no tag
            return start
        if empty:
            out[o] = 32
            out[o + 1] = 47
            o += 2
        out[o] = 62
        o += 1
        if find_name(_FOREIGN_KEYS, _FOREIGN_NUMBERS, name):
            if not closing and not empty:
                foreign += 1
            elif closing and foreign > 0:
                foreign -= 1
        if closing:
            continue
        raw = find_name(_RAW_KEYS, _RAW_NUMBERS, name)
        if raw == 0:
            continue
        if foreign and empty:
            return -1
        keeps = (keeps and raw == _SCRIPT) or raw == _XMP or raw == _TITLE
        if raw == _PLAINTEXT:
            for at in range(i, n):
                out[o] = s[at]
                o += 1
            return o
        escaped = found_end = False
        while i < n:
            byte = s[i]
            if byte == 60 and i + 1 < n:
                if s[i + 1] == 33 and raw == _SCRIPT:
                    escaped = True  # behind "<!--", "<script" begins a state of its own
                elif escaped and i + 6 < n and (s[i + 1] | 32) == 115:
                    k = 0
                    while k < 6 and (s[i + 1 + k] | 32) == _WRITTEN[k]:
                        k += 1
                    if k == 6:
                        return -1
                elif s[i + 1] == 47:
                    k = i + 2
                    found = np.uint64(_BASIS)
                    while k < n and s[k] != 62 and s[k] != 47 and s[k] != 32 and not 9 <= s[k] <= 13 and k - i < 16:
                        byte = s[k]
                        if 65 <= byte <= 90:
                            byte += 32
                        found = (found ^ np.uint64(byte)) * np.uint64(_PRIME)
                        k += 1
                    if found == name and k < n:
                        found_end = True
                        break
                    byte = 60
                elif foreign and not keeps and (97 <= s[i + 1] <= 122 or 65 <= s[i + 1] <= 90):
                    return -1
            if keeps:
                out[o] = byte
                o += 1
            i += 1
        if foreign and not found_end:
            return -1
    return o
