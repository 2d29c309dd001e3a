"""What the rules do with spans: join them, take labels off, find the text that a list of questions shares."""

import re
from collections.abc import Sequence

from webinstruct_assets.stages.pages.document import Layout, Span, trim
from webinstruct_assets.stages.pages.questions import ANSWER_MARK, LABEL, OPENER, QUESTION_MARK, asks

LABEL_CELL = re.compile(r"\(?(?:\d{1,3}|[a-h]|[ivx]{1,4})[.)]?\)?")


def overlap(spans: Sequence[Span], others: Sequence[Span]) -> bool:
    """Whether any of ``spans`` shares a character with any of ``others``."""
    return any(span.start < other.end and other.start < span.end for span in spans for other in others)


def merged(text: str, spans: list[Span]) -> tuple[Span, ...]:
    """Spans with neighbouring ones joined: only white space and list markers may stand between."""
    joined_up: list[Span] = []
    for span in spans:
        if joined_up and re.fullmatch(
            r"\s*(?:\n\s*(?:[-*]|\d+\.|#{1,6})\s+|\n| \| )?", text[joined_up[-1].end : span.start]
        ):
            joined_up[-1] = Span(joined_up[-1].start, span.end)
        else:
            joined_up.append(span)
    return tuple(joined_up)


def without_label(text: str, layout: Layout, body: list[int]) -> tuple[Span, ...]:
    """Spans of an answer without a leading "Answer:" or "Solution" of its own."""
    while body:
        span = layout.blocks[body[0]].span
        found = ANSWER_MARK.match(text, span.start, span.end)
        if not found and OPENER.fullmatch(text, span.start, span.end) and span.end - span.start < 40:
            body = body[1:]
            continue
        if not found:
            break
        if found.end() >= span.end:
            body = body[1:]
            continue
        spans = layout.spans(body)
        return (Span(found.end(), spans[0].end), *spans[1:])
    return layout.spans(body)


def without_question_label(text: str, layout: Layout, body: list[int]) -> tuple[Span, ...]:
    """Spans of a question without "Question 3." or "2)" before it."""
    spans = list(layout.spans(body))
    if not spans:
        return ()
    first = spans[0]
    for _ in range(2):
        found = QUESTION_MARK.match(text, first.start, first.end) or LABEL.match(text, first.start, first.end)
        if not found or not found[0]:
            break
        first = trim(text, Span(found.end(), first.end))
    spans[0] = first
    return tuple(span for span in spans if span.end > span.start)


def stem_of(layout: Layout, question: int) -> tuple[Span, ...]:
    """The text that a lettered list or table of questions shares: the paragraph right before it, or its "given" element."""
    containers, blocks = layout.containers, layout.blocks
    owner = next(
        (up for up in layout.ancestors(blocks[question].container) if containers[up].tag in ("ol", "ul", "table")), -1
    )
    if owner < 0:
        return ()
    before = layout.kept(0, containers[owner].first)
    if (
        not before
        or blocks[before[-1]].kind != "paragraph"
        or blocks[before[-1]].row >= 0
        or asks(blocks[before[-1]].text)
    ):
        return ()
    stem = before[-1]
    named = any("stem" in containers[up].flags for up in layout.ancestors(blocks[stem].container))
    lettered = LETTERED.fullmatch(blocks[question].label) is not None or any(
        LETTERED.fullmatch(blocks[cell].text.strip(" ()."))
        for cell in layout.kept(containers[owner].first, question)[-2:]
    )
    return layout.spans([stem]) if named or (lettered and len(blocks[stem].text) >= 40) else ()


LETTERED = re.compile(r"[a-h]|[ivx]{1,4}")


def numbers(text: str, layout: Layout, indexes: list[int]) -> int:
    """How many blocks carry a number of their own."""
    found = set()
    for index in indexes:
        block = layout.blocks[index]
        label = LABEL.match(text, block.start, block.end)
        if block.label or (label and label["label"].isdigit()):
            found.add(block.label or label["label"] if label else block.label)
    return len(found)
