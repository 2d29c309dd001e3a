"""Normalised HTML to a page's layout: blocks, containers, and what the head says.

``scan`` finds them in one compiled pass; this gives them their objects, resolves names of elements (see
``element_names.names``) and schema.org roles, and finishes the text of blocks that hold formulas, sub and sup, or code.
"""

import re
import threading
from dataclasses import dataclass
from functools import lru_cache
from html import unescape
from time import monotonic
from typing import Any

import numpy as np
from selectolax.lexbor import LexborDocumentOptions, LexborHTMLParser

from webinstruct_assets.stages.pages import asciimath, element_names, formulas
from webinstruct_assets.stages.pages.document import Block, Container, Layout, PageRejected
from webinstruct_assets.stages.pages.marks import (
    BREAK,
    CODE_CLOSE,
    CODE_OPEN,
    DISPLAY_CLOSE,
    DISPLAY_OPEN,
    INLINE_CLOSE,
    INLINE_OPEN,
    PRIVATE,
    finished,
)
from webinstruct_assets.stages.pages.tex import clean_tex
from webinstruct_assets.stages.pages.text_math import delimited, scripted

MAX_NODES = 500_000
MAX_DEPTH = 2_000  # real pages stay below 200; deeper nesting is an unclosed tag repeated by a broken template
MAX_SECONDS = 10.0
SPECIAL = "\ue00a"
DROPPED_ROLES = {
    "navigation": "navigation", "banner": "frame", "contentinfo": "frame", "complementary": "frame", "search": "prompt",
    "menu": "navigation", "menubar": "navigation", "toolbar": "navigation", "dialog": "prompt", "alertdialog": "prompt",
}  # fmt: skip
SCHEMA = re.compile(r"schema\.org/(?:#)?(Question|Answer|QAPage|FAQPage)\b|^(Question|Answer)$")
SCHEMA_TYPES = ("question", "answer", "qapage", "faqpage")
PROPERTIES = frozenset({"acceptedAnswer", "suggestedAnswer", "articleBody"})
INNER_PROPERTIES = frozenset({"name", "text", "upvoteCount"})  # these say something inside a question or an answer
IN_QUESTION = frozenset({"Question", "Answer", "acceptedAnswer", "suggestedAnswer"})
REVEAL = re.compile(r"\b(?:show|see|view|reveal|check|display|hide)\b.{0,20}\b(?:answer|solution|explanation|hint|working)|^(?:answer|solution)s?\W*$",
                    re.IGNORECASE)  # fmt: skip
NOT_MARKS = re.compile("[\ue000-\ue009]")
TAG = re.compile(r"<[^>]*>")
BACKTICKS = re.compile(f"{CODE_OPEN}[^{CODE_CLOSE}]*{CODE_CLOSE}|`([^`\ue000-\ue00f]{{1,500}})`")
EMPTY_CODE = re.compile(f"{CODE_OPEN}\\s*{CODE_CLOSE}")
ASCIIMATH_LOADED = (b"asciimath", b"config=am_", b"-mml-am_", b"_mml-am_")  # in lower case
KINDS = ("paragraph", "heading", "item", "cell", "code")
NOTHING: tuple[str, frozenset[str], str] = ("", frozenset(), "")
COUNTS = (0, 10, 11, 24)  # of scan.OUT, BLOCKS, CONTAINERS, SPECIALS in its state


@dataclass(slots=True)
class Reading:
    """A page's layout, what its head says, and whether it marks an accepted answer."""

    layout: Layout
    title: str
    language: str
    pruned: int
    accepted: bool


class Clock:
    """The time that one page may take; asked between steps whose own time is bounded."""

    def __init__(self, seconds: float):
        self._seconds = seconds
        self._end = monotonic() + seconds

    def check(self) -> None:
        """Raises PageRejected (``too_slow``) once the time is over."""
        if monotonic() > self._end:
            raise PageRejected("too_slow", f"not read in {self._seconds:g} seconds")


@lru_cache(maxsize=1)
def _words() -> tuple[Any, ...]:
    from webinstruct_assets.stages.pages.scan import packed

    openable = {*element_names.FLAG_TOKENS["openable"].split(), *element_names.FLAG_TOKENS["answer"].split()}
    return packed(sorted(openable)), packed(sorted(PROPERTIES)), packed(sorted(INNER_PROPERTIES)), packed(SCHEMA_TYPES)


@lru_cache(maxsize=1)
def prepare() -> None:
    """Compiles the scanner, or loads what an earlier process compiled: not a part of any page's time."""
    _scan(_slimmed(b"<p>x</p>"))


class _Scratch(threading.local):
    """Arrays that the scanner writes to, used again for the next page: fresh memory costs as much as the scan."""

    def __init__(self) -> None:
        self.state, self.head = np.empty(40, np.int64), np.empty(8, np.int64)
        self.out = np.empty(0, np.uint8)
        self.rows = 0

    def fit(self, size: int, rows: int) -> None:
        """Makes room for ``size`` bytes of text and ``rows`` elements."""
        if self.out.size < size:
            self.out = np.empty(max(size, 1 << 20), np.uint8)
        if self.rows < rows:
            self.rows = max(rows, 1 << 14)
            self.blocks, self.containers = np.empty((self.rows, 14), np.int32), np.empty((self.rows, 14), np.int32)
            self.specials, self.names = np.empty((self.rows, 4), np.int32), np.empty(self.rows, np.int64)


_scratch = _Scratch()


def _scan(raw: bytes) -> _Scratch:
    """Scans serialised HTML (see ``scan``)."""
    from webinstruct_assets.stages.pages import scan

    a = _scratch
    a.fit(len(raw) + 64, min(len(raw) // 3, MAX_NODES) + 8)  # a tag has three characters or more
    status = scan.scan(np.frombuffer(raw, np.uint8), MAX_NODES, MAX_DEPTH, *_words(), a.out, a.state, a.blocks, a.containers,
                       a.specials, a.names, a.head)  # fmt: skip
    if status == scan.TOO_MANY:
        raise PageRejected("too_large", f"more than {MAX_NODES:,} nodes")
    if status == scan.TOO_DEEP:
        raise PageRejected("too_large", f"nested deeper than {MAX_DEPTH:,}")
    return a


def _slimmed(source: bytes) -> bytes:
    """A page without what nothing here reads (see ``slim``)."""
    from webinstruct_assets.stages.pages.slim import slim

    _scratch.fit(2 * len(source) + 64, 0)
    size = slim(np.frombuffer(source, np.uint8), _scratch.out)
    return source if size < 0 else _scratch.out[:size].tobytes()


def read(source: bytes, clock: Clock) -> Reading:
    """Reads UTF-8 HTML. Raises PageRejected (``too_large``, ``too_slow``, ``empty_page``)."""
    # Mutation events would only mirror options of select elements; scripting: noscript is text, as browsers have it.
    html = LexborHTMLParser(_slimmed(source), options=LexborDocumentOptions.WO_EVENTS, scripting=True).html
    if html is None:
        raise PageRejected("empty_page", "no element in it")
    clock.check()
    raw = html.encode("utf-8", "replace")
    arrays = _scan(raw)
    clock.check()
    size, n_blocks, n_containers, n_specials = (int(arrays.state[place]) for place in COUNTS)
    title0, title1, language0, language1, pruned = arrays.head[:5].tolist()
    builder = _Builder(
        raw, source, arrays.out[:size].tobytes().decode("utf-8", "replace"), arrays.specials[:n_specials].tolist()
    )
    rows, containers, names = (
        arrays.blocks[:n_blocks].tolist(),
        arrays.containers[:n_containers],
        arrays.names[:n_containers],
    )
    holding = np.flatnonzero(containers[:, 2] < containers[:, 3])[1:] if rows else np.empty(0, np.int64)
    held = list(zip(holding.tolist(), names[holding].tolist(), containers[holding].tolist(), strict=True))
    builder.add_blocks(rows, clock)  # may read fragments, which use the arrays again
    builder.add_containers(held)
    title = PRIVATE.sub("\ufffd", " ".join(unescape(raw[title0:title1].decode("utf-8", "replace")).split()))
    return Reading(
        Layout(builder.blocks, builder.containers, builder.json_ld),
        finished(delimited(title)),
        raw[language0:language1].decode("utf-8", "replace"),
        pruned,
        builder.accepted,
    )


class _Builder:
    """Makes blocks and containers of the arrays."""

    def __init__(self, raw: bytes, page: bytes, text: str, specials: list[list[int]]):
        from webinstruct_assets.stages.pages import scan

        self.raw, self._page = raw, page  # what was scanned; what came in, scripts included
        self.text = text
        self.blocks: list[Block] = []
        self.containers: list[Container] = []
        self.json_ld: list[str] = []
        self.accepted = False
        self._asciimath: bool | None = None
        self._openers: list[tuple[int, int, int]] = []  # (block before which it stands, source span)
        self._formulas: list[list[int]] = []
        for special in specials:
            kind, start, end, number = special
            if kind == scan.JSON_LD:
                text = self._source(start, end)
                if "Question" in text or "FAQPage" in text or "QAPage" in text:
                    self.json_ld.append(text)
            elif kind == scan.OPENER:
                self._openers.append((number, start, end))
            else:
                self._formulas.append(special)
        self._formulas.reverse()

    def _source(self, start: int, end: int) -> str:
        return self.raw[start:end].decode("utf-8", "replace")

    # -- blocks ------------------------------------------------------------------------------------------------

    def add_blocks(self, rows: list[list[int]], clock: Clock) -> None:
        """All blocks, their containers still as numbers of the scan."""
        whole, add = self.text, self.blocks.append
        for start, end, kind, level, container, link_chars, links, flags, row, _, depth, order, number, bold in rows:
            text = whole[start:end]
            math = 0
            if flags or kind == 4:
                clock.check()
                text, math = self._finish(text, flags, kind == 4)
            if not text:  # what stood here shows nothing: a formula that is shown elsewhere, an image
                add(Block(KINDS[kind], "", container, dropped="empty"))
                continue
            marker = label = ""
            if level:
                marker = "#" * level + " "
            if depth:
                if order:
                    label = chr(order + number - 1) if order > 1 and 1 <= number <= 26 else str(number)
                if kind == 2:
                    marker = "  " * (min(depth, 8) - 1) + (f"{label}. " if label else "- ")
            add(
                Block(
                    KINDS[kind],
                    text,
                    container,
                    level,
                    marker,
                    label,
                    row,
                    link_chars,
                    links,
                    math,
                    bold & 0xFFFF,
                    bold >= 0x10000,
                )
            )

    def _finish(self, text: str, flags: int, code: bool) -> tuple[str, int]:
        """A block's text with its marks resolved, and how many formulas it holds."""
        if flags & 16:
            text = self._with_formulas(text, code)
        if code:
            text = re.sub(r"[ \t]+(?=\n|$)", "", text.replace("\r\n", "\n").replace("\r", "\n")).strip("\n")
            return finished(NOT_MARKS.sub("", text)), 0
        if flags & 32 and "`" in text and self._loads_asciimath():
            text = BACKTICKS.sub(_asciimath, text)
        text = scripted(delimited(text))
        math = text.count(INLINE_OPEN) + text.count(DISPLAY_OPEN)
        if flags & 4:
            text = EMPTY_CODE.sub("", text).strip()
        return finished(text).replace(BREAK, "\n"), math

    def _loads_asciimath(self) -> bool:
        """Whether the page loads a renderer that takes text between back-ticks for AsciiMath."""
        if self._asciimath is None:
            page = self._page.lower()
            self._asciimath = any(name in page for name in ASCIIMATH_LOADED)
        return self._asciimath

    def _with_formulas(self, text: str, code: bool) -> str:
        pieces = text.split(SPECIAL)
        out = [pieces[0]]
        inside = pieces[0].count(CODE_OPEN) - pieces[0].count(CODE_CLOSE)
        for piece in pieces[1:]:
            tex, display = self._formula(self._formulas.pop())
            if not tex or code or inside:
                out.append(tex)
            elif display:
                out.append(f"{DISPLAY_OPEN}{tex}{DISPLAY_CLOSE}")
            else:
                out.append(f"{INLINE_OPEN}{tex}{INLINE_CLOSE}")
            out.append(piece)
            inside += piece.count(CODE_OPEN) - piece.count(CODE_CLOSE)
        return "".join(out) if code else " ".join("".join(out).split())

    def _formula(self, special: list[int]) -> formulas.Formula:
        kind, start, end, display = special
        if kind == 0:
            return formulas.NONE
        source = self._source(start, end)
        match kind:
            case 1:
                tex, own = formulas.from_mathml(source)
                return tex, display != 2 and (own or display == 1)
            case 2:
                return formulas.from_script(source)
            case 3:
                return formulas.from_rendered(source)
            case 4:
                return formulas.preview(source), False
            case _:
                return formulas.from_image(source)

    # -- containers ----------------------------------------------------------------------------------------------

    def add_containers(self, rows: list[tuple[int, int, list[int]]]) -> None:
        """The containers that hold blocks; elements that say nothing are left out, and their blocks move up."""
        from webinstruct_assets.stages.pages.scan import CONTAINER_TAGS, NAMES

        raw, blocks, containers = self.raw, self.blocks, self.containers
        numbers: dict[int, int] = {0: 0}
        containers.append(Container(-1, "body", 0, last=len(blocks)))
        for index, name, row in rows:
            outer, tag_number, first, last, class0, class1, id0, id1, role0, role1, hidden, markup, start, end = row
            parent = numbers[outer]
            tag = NAMES[tag_number]
            role = ""
            if class1 or id1:
                known = _NAMED.get(name)
                if known is None:
                    known = _named(name, tag, raw[class0:class1], raw[id0:id1])
                reason, flags, named = known
            else:
                reason, flags, named = NOTHING
            if role1:
                reason = reason or DROPPED_ROLES.get(raw[role0:role1].decode("utf-8", "replace"), "")
            if markup:
                role = _role(formulas.attributes(self._source(start, end)))
                if role in INNER_PROPERTIES and not self._inside_question(parent):
                    role = ""
            if hidden and not self._may_be_opened(parent, first, flags):
                reason = "hidden"
            if tag == "aside":
                reason = reason or "aside"
            elif tag == "header" and parent == 0:
                reason = reason or "frame"
            if "accepted" in flags:
                self.accepted = True
            if role and reason != "hidden":
                reason = ""
            if not (named or role) and tag not in CONTAINER_TAGS:
                numbers[index] = parent
                continue
            numbers[index] = len(containers)
            containers.append(Container(parent, tag, first, flags, role, last, reason, names=named))
        for block in blocks:
            block.container = numbers[block.container]

    def _inside_question(self, index: int) -> bool:
        while index >= 0:
            if self.containers[index].role in IN_QUESTION:
                return True
            index = self.containers[index].parent
        return False

    def _may_be_opened(self, parent: int, first: int, flags: frozenset[str]) -> bool:
        """Whether hidden content belongs to the page's content: an answer, or a panel the reader opens."""
        if "answer" in flags or "openable" in flags:
            return True
        index = parent
        while index >= 0:
            container = self.containers[index]
            if container.tag == "details" or container.role or not container.flags.isdisjoint(("answer", "openable")):
                return True
            index = container.parent
        before = [block.text for block in self.blocks[max(first - 2, 0) : first]]
        before += [
            TAG.sub(" ", self._source(start, end))
            for number, start, end in self._openers
            if first - 1 <= number <= first
        ]
        return any(len(text) < 200 and REVEAL.search(text.strip()) for text in before)


def _asciimath(found: re.Match[str]) -> str:
    return INLINE_OPEN + clean_tex(asciimath.to_tex(found[1])) + INLINE_CLOSE if found[1] else found[0]


_NAMED: dict[int, tuple[str, frozenset[str], str]] = {}  # by the scan's hash: classes come back on every page of a site
MAX_NAMED = 100_000


def _named(key: int, tag: str, classes: bytes, identity: bytes) -> tuple[str, frozenset[str], str]:
    if len(_NAMED) >= MAX_NAMED:
        _NAMED.clear()
    text = f"{classes.decode('utf-8', 'replace')} {identity.decode('utf-8', 'replace')}"
    found = (*element_names.names(tag, text), text)
    _NAMED[key] = found
    return found


def _role(attributes: dict[str, str]) -> str:
    """The part an element plays in schema.org markup (microdata or RDFa), "" for none."""
    prop = (attributes.get("itemprop") or attributes.get("property") or "").split()
    name = re.split(r"[:/]", prop[0])[-1] if prop else ""
    if name in ("acceptedAnswer", "suggestedAnswer"):
        return name
    kind = attributes.get("itemtype") or attributes.get("typeof") or ""
    if kind and (found := SCHEMA.search(kind.strip())):
        return found[1] or found[2]
    return name if name in PROPERTIES or name in INNER_PROPERTIES else ""
