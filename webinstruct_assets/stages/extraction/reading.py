"""What of a reply can be used: pairs that a page supports, or the reason why there are none.

Replies are checked without trusting the model. Pointed: ranges inside the cut, question before answer, no overlap, a
question that asks; the text is then the page's own. Retyped: each text is looked up on the page, and a pair that is
not there keeps its text and has no spans. Method: the paper's extraction (§2.2), with pointing in place of retyping.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from webinstruct_assets.core.foreign_json import read_json
from webinstruct_assets.stages.extraction.lines import Cut, spans_of
from webinstruct_assets.stages.pages.document import Span, joined
from webinstruct_assets.stages.pages.markup import Finder
from webinstruct_assets.stages.pages.questions import question_like

RETRIED = frozenset({"llm_error", "llm_refused", "llm_truncated"})  # another try may end otherwise


@dataclass(frozen=True)
class LlmPair:
    """A pair of a reply: its text, and where it stands; no spans where a retyped text is not on the page."""

    kind: str
    question: str
    answer: str
    question_spans: tuple[Span, ...]
    answer_spans: tuple[Span, ...]


@dataclass
class Reading:
    """What one reply gave. ``problem``: a reject reason, "" when the reply could be read as a whole."""

    pairs: list[LlmPair] = field(default_factory=list)
    problem: str = ""
    detail: str = ""
    not_asking: int = 0


def read_reply(
    mode: str,
    text: str,
    spans: Sequence[Span],
    cut: Cut,
    reply: str,
    *,
    finish_reason: str | None = "stop",
    error: str | None = None,
) -> Reading:
    """The usable pairs of a reply. Problems: ``llm_error``, ``llm_refused``, ``llm_truncated``, ``llm_invalid_range``.

    A reply with one invalid pair keeps its valid ones; the problem is reported beside them.
    """
    if error:
        return Reading(problem="llm_error", detail=error[:200])
    if finish_reason == "content_filter" or (not reply.strip() and finish_reason != "length"):
        return Reading(problem="llm_refused", detail=f"empty reply ({finish_reason})")
    if finish_reason == "length":
        return Reading(problem="llm_truncated", detail=f"{len(reply)} characters: {reply[:80]}")
    try:
        entries = read_json(reply)["pairs"]
        parsed = [
            (str(entry["question"]), str(entry["answer"]), str(entry.get("kind", "unknown"))) for entry in entries
        ]
        if mode == "point":
            pointed = [(_ranges(question, cut), _ranges(answer, cut), kind) for question, answer, kind in parsed]
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        return Reading(problem="llm_error", detail=f"not the JSON asked for ({problem!r}): {reply[:120]}")
    return _pointed(text, spans, cut, pointed) if mode == "point" else _retyped(text, parsed)


Ranges = list[tuple[int, int]]


def _pointed(text: str, spans: Sequence[Span], cut: Cut, entries: list[tuple[Ranges, Ranges, str]]) -> Reading:
    reading = Reading()
    used: list[Span] = []
    for question, answer, kind in entries:
        wrong = _wrong(question, answer, cut)
        if wrong:
            reading.problem, reading.detail = "llm_invalid_range", f"{wrong}: {question} -> {answer}"
            continue
        question_spans = spans_of(text, spans, question, answer=False)
        answer_spans = spans_of(text, spans, answer, answer=True)
        if not question_spans or not answer_spans:
            reading.problem, reading.detail = "llm_invalid_range", f"only a label there: {question} -> {answer}"
            continue
        asked = joined(text, question_spans)
        if not any(question_like(line) for line in asked.split("\n")):
            reading.not_asking += 1
            continue
        if any(span.start < other.end and other.start < span.end for span in answer_spans for other in used):
            reading.problem, reading.detail = "llm_invalid_range", f"the answer of another pair: {answer}"
            continue
        used.extend(answer_spans)
        reading.pairs.append(LlmPair(kind, asked, joined(text, answer_spans), question_spans, answer_spans))
    return reading


def _retyped(text: str, entries: list[tuple[str, str, str]]) -> Reading:
    reading = Reading()
    finder = Finder(text)
    for question, answer, kind in entries:
        if not question.strip() or not answer.strip() or not any(question_like(line) for line in question.split("\n")):
            reading.not_asking += 1
            continue
        asked, answered = _found(finder, question), _found(finder, answer)
        on_page = bool(asked and answered)
        reading.pairs.append(
            LlmPair(kind, question.strip(), answer.strip(), asked if on_page else (), answered if on_page else ())
        )
    return reading


def _found(finder: Finder, retyped: str) -> tuple[Span, ...]:
    """Where a retyped text stands: as a whole, or line by line; () unless all of it does. Signs and case do not count."""
    spans, position = [], 0
    for key in (Finder.key(line) for line in retyped.split("\n")):
        if not key:
            continue
        at = finder.find(key, position)
        at = finder.find(key) if at < 0 else at
        if at < 0:
            return ()
        spans.append(finder.span(at, at + len(key)))
        position = at + len(key)
    return tuple(spans)


def _ranges(value: str, cut: Cut) -> Ranges:
    """``"3,5-8"`` as [(3, 3), (5, 8)], counted from the page's first line instead of the cut's."""
    before = cut.first - 1
    ranges = []
    for piece in value.split(","):
        first, _, last = piece.partition("-")
        ranges.append((int(first) + before, int(last or first) + before))
    return ranges


def _wrong(question: Ranges, answer: Ranges, cut: Cut) -> str:
    """Why a pair's ranges cannot be right, "" when they can."""
    if any(first > last or first < cut.first or last > cut.last for first, last in [*question, *answer]):
        return f"outside lines {cut.first} to {cut.last}"
    if any(q[0] <= a[1] and a[0] <= q[1] for q in question for a in answer):
        return "question and answer overlap"
    if min(first for first, _ in answer) < min(first for first, _ in question):
        return "answer before question"
    return ""
