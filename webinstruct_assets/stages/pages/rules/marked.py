"""Questions and answers that carry their labels in the text: "Q: … A: …", "Question 3 … Solution …"."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from webinstruct_assets.stages.pages.document import Layout, Page, Pair, Span, make_pair, trim
from webinstruct_assets.stages.pages.questions import ANSWER_INSIDE, ANSWER_MARK, OPENER, QUESTION_MARK, question_like
from webinstruct_assets.stages.pages.rules.spans import merged


@dataclass
class _Piece:
    """A stretch of a block between line breaks."""

    block: int
    span: Span
    text: str


@dataclass
class _Open:
    """A question being read, then its answer."""

    word: str
    number: str
    block: int
    level: int
    question: list[Span] = field(default_factory=list)
    answer: list[Span] = field(default_factory=list)
    answering: bool = False
    answer_block: int = -1
    answer_level: int = 0
    scope: int = -1


def _pieces(page: Page, layout: Layout) -> Iterator[_Piece]:
    for index, block in enumerate(layout.blocks):
        if block.start < 0:
            continue
        if block.kind == "code" or "\n" not in page.text[block.start : block.end]:
            yield _Piece(index, block.span, page.text[block.start : block.end])
            continue
        start = block.start
        for line in page.text[block.start : block.end].split("\n"):
            yield _Piece(index, Span(start, start + len(line)), line)
            start += len(line) + 1


def marked_text(page: Page, layout: Layout) -> list[Pair]:
    """Questions and answers that carry their labels in the text."""
    pairs: list[Pair] = []
    current: _Open | None = None
    pieces = list(_pieces(page, layout))
    total = len(layout.kept(0, len(layout.blocks)))

    def close() -> None:
        nonlocal current
        if current and current.question and current.answer:
            pairs.append(
                make_pair(
                    page.text,
                    "marked",
                    merged(page.text, current.question),
                    merged(page.text, current.answer),
                )
            )
        current = None

    for piece in pieces:
        block = layout.blocks[piece.block]
        text, span = piece.text, piece.span
        mark = QUESTION_MARK.match(text) if block.kind != "code" else None
        if mark and (mark["q"] or mark["number"] or (mark["end"] and mark["end"][0] in ".:" and len(mark[0]) < 40)):
            close()
            current = _Open((mark["word"] or "q").lower(), (mark["number"] or mark["qn"] or "").strip(), piece.block,
                            block.level if block.kind == "heading" else 0)  # fmt: skip
            current.scope = _scope(layout, block.container, total)
            rest = trim(page.text, Span(span.start + mark.end(), span.end))
            if rest.end <= rest.start:
                continue
            if block.kind == "heading" and not question_like(page.text[rest.start : rest.end]):
                continue  # "Exercise 2: limits" names the exercise
            _read(page.text, current, rest, piece.block)
            continue
        if current is None:
            continue
        answer = ANSWER_MARK.match(text) if block.kind != "code" else None
        if not answer and current.word == "q" and not current.answering:
            answer = A_DOT.match(text)
        if answer and not KEY_ONLY.fullmatch(text.strip()):
            if answer.groupdict().get("number") and current.number and answer["number"] != current.number.lstrip("#№ "):
                close()
                continue
            if current.answering and block.kind != "heading" and current.answer:
                _extend(layout, current, piece, close)
                continue
            current.answering = True
            current.answer_block, current.answer_level = (
                piece.block,
                block.level if block.kind == "heading" else 0,
            )
            rest = trim(page.text, Span(span.start + answer.end(), span.end))
            if rest.end > rest.start and not OPENER.fullmatch(page.text[rest.start : rest.end]):
                current.answer.append(rest)
            continue
        if block.kind == "heading" and not (
            current.answering and current.answer_level and block.level > current.answer_level
        ):
            if current.level and not current.question and block.level > current.level:
                current.question.append(span)
                continue
            close()
            continue
        if current.answering:
            _extend(layout, current, piece, close)
        elif piece.block - current.block > 12 or (
            current.scope >= 0 and current.scope not in layout.ancestors(block.container)
        ):
            close()
        else:
            _read(page.text, current, span, piece.block)
    close()
    return pairs


A_DOT = re.compile(r"A\s*[.)]\s+(?P<number>)")
KEY_ONLY = re.compile(r"(?:answers|solutions)\b.{0,40}", re.IGNORECASE)
CONTINUES = re.compile(
    r"(?-i:[a-z=+$−-])|\\|(?:so|hence|thus|therefore|then|since|because|this gives|that gives|now|finally|we)\b",
    re.IGNORECASE,
)


def _scope(layout: Layout, container: int, total: int) -> int:
    """The element around a question that belongs to it alone; -1 on flat pages."""
    found = -1
    for up in layout.ancestors(container):
        element = layout.containers[up]
        size = len(layout.kept(element.first, element.last))
        if up == 0 or element.tag in ("main", "article", "body") or size > max(8, 0.4 * total):
            break
        if size > 1 and element.tag in ("div", "section", "li", "fieldset", "blockquote", "td", "dd"):
            found = up
            break
    return found


def _read(text: str, current: _Open, span: Span, block: int) -> None:
    """Adds text to the question, or from an "Answer:" inside it on to the answer."""
    inside = ANSWER_INSIDE.search(text, span.start, span.end)
    if not inside:
        current.question.append(span)
        return
    question = trim(text, Span(span.start, inside.start()))
    if question.end > question.start:
        current.question.append(question)
    answer = trim(text, Span(inside.end(), span.end))
    opened_by = re.search(r"[(\[]", inside[0])
    if opened_by and text[answer.end - 1] in ")]":
        answer = trim(text, Span(answer.start, answer.end - 1))
    current.answering, current.answer_block = True, block
    if answer.end > answer.start:
        current.answer.append(answer)


def _extend(layout: Layout, current: _Open, piece: _Piece, close: Callable[[], None]) -> None:
    """Adds a block to the answer, or ends it."""
    block = layout.blocks[piece.block]
    if current.scope >= 0 and current.scope in layout.ancestors(layout.blocks[current.answer_block].container):
        if current.scope not in layout.ancestors(block.container):
            close()
            return
    elif (
        current.word == "example"
        and current.answer
        and not current.answer_level
        and piece.block != current.answer_block
    ):
        # Flat textbook prose goes on after an example; only what plainly continues it belongs to it.
        if block.kind not in ("code", "item") and not CONTINUES.match(piece.text):
            close()
            return
    elif current.answer and not current.answer_level and piece.block != current.answer_block and current.word == "q":
        same = layout.blocks[current.answer_block].container
        alone = same not in layout.ancestors(block.container) or layout.containers[same].tag in ("body", "main")
        if alone and block.kind not in ("code", "item"):
            close()
            return
    current.answer.append(piece.span)
