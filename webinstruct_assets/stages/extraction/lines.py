"""A page as numbered lines, and from line numbers back to character spans.

Page text comes in; the lines, the cuts that fit a model's context, and verbatim spans of line ranges go out.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from webinstruct_assets.stages.pages.document import Span, trim
from webinstruct_assets.stages.pages.questions import ANSWER_MARK, QUESTION_MARK, question_like

QUESTION_BORDER = 2
LEAD_LINES = 2  # before a question: where its stem is
# Of a longer line the model sees its beginning and end: it only has to recognise it. In bytes of UTF-8, for no
# tokenizer takes more tokens than that, and a Japanese sign says more than a Latin letter.
SHOWN_BYTES = 200
MARKER = re.compile(r"(?:#{1,6} |\s*(?:[-*]|[0-9]{1,4}\.|[A-Za-z]\.) )")


@dataclass(frozen=True)
class Cut:
    """Lines ``first``..``last`` (both inclusive, from 1) of a page, that fit into one request."""

    first: int
    last: int


def line_spans(text: str) -> list[Span]:
    """The span of each line of ``text``."""
    spans, start = [], 0
    for line in text.split("\n"):
        spans.append(Span(start, start + len(line)))
        start += len(line) + 1
    return spans


def shown(line: str) -> str:
    """A line as the model sees it."""
    encoded = line.encode("utf-8", "replace")
    if len(encoded) <= SHOWN_BYTES:
        return line
    head = SHOWN_BYTES * 2 // 3
    # A character cut in two is left out.
    beginning, end = encoded[:head], encoded[-(SHOWN_BYTES - head) :]
    return f"{beginning.decode(errors='ignore')} … {end.decode(errors='ignore')}"


def numbered(text: str, spans: Sequence[Span], cut: Cut) -> str:
    """The lines of a cut, each behind its number; numbers start at 1 in every cut, for they are what a reply pays for."""
    return "\n".join(
        f"{number} {shown(text[span.start : span.end])}"
        for number, span in enumerate(spans[cut.first - 1 : cut.last], 1)
    )


def cuts(text: str, spans: Sequence[Span], costs: Sequence[int], budget: int, asking: Sequence[int]) -> list[Cut]:
    """The parts of the page around the lines ``asking``, of at most ``budget`` tokens each; ``costs`` are the lines'.

    A page that fits is one part. Otherwise a part begins shortly before the first line not yet covered and ends
    before a heading or a question where possible; what lies between parts is not shown, for reading a prompt is
    what a request costs. Where a part had to end elsewhere, the next one overlaps it from its last question on, whose
    answer may have been cut. Code is cut inside only where it alone is longer than the budget; a line that alone is
    longer is a part of its own.
    """
    lines = [text[span.start : span.end] for span in spans]
    if asking and sum(costs) <= budget:
        return [Cut(1, len(lines))]
    borders = _borders(lines)
    pieces: list[Cut] = []
    pending = sorted(number - 1 for number in asking)
    while pending:
        after = pieces[-1].last if pieces else 0
        first = max(min(after, pending[0]), pending[0] - LEAD_LINES)
        while first < pending[0] and sum(costs[first : pending[0] + 1]) > budget / 2:
            first += 1
        last, used = first, costs[first]
        while last + 1 < len(lines) and (used + costs[last + 1] <= budget or last < pending[0]):
            last += 1
            used += costs[last]
        if last + 1 < len(lines):
            earliest = max(pending[0], first + (last - first) // 2)
            last = max(range(earliest, last + 1), key=lambda place: (borders[place + 1], place))
        pieces.append(Cut(first + 1, last + 1))
        inside = [place for place in pending if place <= last]
        severed = last + 1 < len(lines) and borders[last + 1] < QUESTION_BORDER and len(inside) > 1
        pending = pending[len(inside) - severed :]
    return pieces


def _borders(lines: Sequence[str]) -> list[int]:
    """How good a place it is to cut before each line: 3 heading, 2 question, 1 any other line, 0 inside code."""
    scores, fenced = [], False
    for line in lines:
        if fenced:
            scores.append(0)
        elif line.startswith("#"):
            scores.append(3)
        elif question_like(line):
            scores.append(2)
        else:
            scores.append(1)
        if line.startswith("```"):
            fenced = not fenced
    return scores


def spans_of(text: str, spans: Sequence[Span], ranges: Iterable[tuple[int, int]], *, answer: bool) -> tuple[Span, ...]:
    """Verbatim spans of line ranges, without the Markdown marker and the "Question 3:"/"Answer:" label before the first."""
    found: list[Span] = []
    for first, last in sorted(ranges):
        span = Span(spans[first - 1].start, spans[last - 1].end)
        if not found and not text.startswith("```", span.start):
            end = spans[first - 1].end
            marker = MARKER.match(text, span.start, end)
            start = marker.end() if marker else span.start
            label = (ANSWER_MARK if answer else QUESTION_MARK).match(text, start, end)
            span = Span(label.end() if label else start, span.end)
        span = trim(text, span)
        if span.end <= span.start:
            continue
        if found and span.start <= found[-1].end + 1:
            found[-1] = Span(found[-1].start, max(found[-1].end, span.end))
        else:
            found.append(span)
    return tuple(found)
