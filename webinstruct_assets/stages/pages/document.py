"""What a cleaned page is: its text in lines, the layout behind them, and the pairs found by rules.

Comes out of ``html.extract_page``; rules and later stages read it. Every span is a pair of character offsets
into ``Page.text``, so whatever is taken from a page is verbatim by construction.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class PageRejected(Exception):
    """A page that cannot be cleaned: ``reason`` from the short list of the asset ``pages``, and the detail."""

    def __init__(self, reason: str, detail: str):
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class Span(NamedTuple):
    """Character offsets into ``Page.text``, end exclusive."""

    start: int
    end: int


@dataclass(slots=True)
class Block:
    """A source block (paragraph, heading, cell, …) in document order.

    ``kind``: paragraph | heading | item | cell | code. ``container``: index into ``Layout.containers``.
    ``dropped``: why its text is not on the page, "" when it is. ``start``/``end``: its own text, markers left out.
    ``bold``: how many of its first lines are bold as a whole. ``away``: a heading whose text links to another page.
    """

    kind: str
    text: str
    container: int
    level: int = 0
    marker: str = ""
    label: str = ""
    row: int = -1
    link_chars: int = 0
    links: int = 0
    math: int = 0
    bold: int = 0
    away: bool = False
    dropped: str = ""
    start: int = -1
    end: int = -1

    @property
    def span(self) -> Span:
        """Where its text is; only for blocks that are on the page."""
        return Span(self.start, self.end)


@dataclass(slots=True)
class Container:
    """An element that holds blocks ``first``..``last`` (exclusive).

    ``names``: its class and id. ``flags``: what they say it is. ``role``: its part in schema.org markup.
    """

    parent: int
    tag: str
    first: int
    flags: frozenset[str] = frozenset()
    role: str = ""
    last: int = -1
    own_drop: str = ""
    dropped: str = ""
    weight: float = 0.0
    names: str = ""


class Line(NamedTuple):
    """One line of ``Page.text``. ``body``: offset behind the Markdown marker; ``block``: its first source block."""

    start: int
    body: int
    end: int
    block: int
    kind: str


@dataclass(frozen=True, slots=True)
class Pair:
    """A question with its answer, both verbatim: the joined texts of their spans."""

    question: str
    answer: str
    rule: str
    question_spans: tuple[Span, ...]
    answer_spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Post:
    """A post of a forum thread: what it says, and what the page says about it ("" and None where it says nothing).

    ``time`` is what the page shows ("2024-05-01", "3 days ago"). ``votes``: the number shown at the post.
    """

    spans: tuple[Span, ...]
    author: str = ""
    time: str = ""
    votes: int | None = None
    accepted: bool = False


@dataclass(slots=True)
class Layout:
    """Structure that rules look at: all blocks (dropped ones too), the containers around them, and markup data."""

    blocks: list[Block]
    containers: list[Container]
    json_ld: list[str] = field(default_factory=list)
    _kept: list[int] | None = None

    def ancestors(self, container: int) -> Iterator[int]:
        """``container`` and the containers around it, innermost first."""
        while container >= 0:
            yield container
            container = self.containers[container].parent

    def kept(self, first: int, last: int) -> list[int]:
        """Blocks of a range that are on the page."""
        if self._kept is None:  # asked for once the page's text is made, then no block changes
            self._kept = [index for index, block in enumerate(self.blocks) if block.start >= 0]
        return self._kept[bisect_left(self._kept, first) : bisect_left(self._kept, last)]

    def spans(self, indexes: Iterable[int]) -> tuple[Span, ...]:
        """Spans of blocks; neighbours on the page become one span."""
        merged: list[Span] = []
        before = -2
        for index in indexes:
            block = self.blocks[index]
            neighbours = before >= 0 and not self.kept(before + 1, index)
            if merged and neighbours:
                merged[-1] = Span(merged[-1].start, block.end)
            else:
                merged.append(block.span)
            before = index
        return tuple(merged)


@dataclass(slots=True)
class Page:
    """A cleaned page.

    ``text``: Markdown-like lines joined by newlines. ``markup_pairs``: pairs that need no model.
    ``markup_rejects``: (rule, reason, detail) of markup that could not be used. ``dropped``: blocks left out by reason.
    ``posts``: the posts of a thread, in order; empty for other pages.
    """

    url: str
    title: str
    text: str
    lines: list[Line]
    language: str
    charset: str
    markup_pairs: list[Pair] = field(default_factory=list)
    markup_rejects: list[tuple[str, str, str]] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    math: int = 0
    posts: list[Post] = field(default_factory=list)

    @property
    def n_words(self) -> int:
        """Words of the text, as white space separates them."""
        return len(self.text.split())


def joined(text: str, spans: Sequence[Span]) -> str:
    """The text of ``spans``, in order, one per line."""
    return "\n".join(text[span.start : span.end] for span in spans)


def make_pair(text: str, rule: str, question: Sequence[Span], answer: Sequence[Span]) -> Pair:
    """The pair that ``rule`` found, its text taken from the page."""
    return Pair(joined(text, question), joined(text, answer), rule, tuple(question), tuple(answer))


def trim(text: str, span: Span) -> Span:
    """``span`` without white space at its ends."""
    piece = text[span.start : span.end]
    return Span(span.start + len(piece) - len(piece.lstrip()), span.end - len(piece) + len(piece.rstrip()))
