"""What the LLM is asked, and what of its reply can be used.

A page's cut goes in as numbered lines; the reply is JSON with line ranges (schema in ``prompts``), so pairs are
verbatim by construction and cost a few dozen output tokens. Replies are checked without trusting the model:
ranges inside the cut, question before answer, no overlap, a question that asks. Method: the paper's extraction
(§2.2) with pointing in place of retyping.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from webinstruct_assets.core.ids import digest_json
from webinstruct_assets.stages.extraction.lines import Cut, estimate_tokens, numbered, spans_of
from webinstruct_assets.stages.pages.document import Span, joined
from webinstruct_assets.stages.pages.questions import question_like

PROMPTS = Path(__file__).parent / "prompts"
TEMPLATE_TOKENS = 64  # chat template's own tokens, on top of the estimate


@dataclass(frozen=True)
class Prompt:
    """System text, few-shot messages and reply schema; ``hash`` identifies all three."""

    messages: tuple[dict[str, str], ...]
    schema: dict[str, Any]
    hash: str

    @property
    def tokens(self) -> int:
        """What the part that all requests share takes of the context, estimated."""
        return estimate_tokens("".join(message["content"] for message in self.messages)) + TEMPLATE_TOKENS


@cache
def load_prompt() -> Prompt:
    """The prompt files."""
    system = (PROMPTS / "system.txt").read_text(encoding="utf-8").strip()
    examples = yaml.safe_load((PROMPTS / "examples.yaml").read_text(encoding="utf-8"))
    schema = json.loads((PROMPTS / "schema.json").read_text(encoding="utf-8"))
    messages = [{"role": "system", "content": system}]
    for example in examples:
        messages.append({"role": "user", "content": example["page"].rstrip()})
        messages.append({"role": "assistant", "content": example["reply"]})
    return Prompt(tuple(messages), schema, digest_json([messages, schema])[:16])


def messages_for(prompt: Prompt, text: str, spans: Sequence[Span], cut: Cut) -> tuple[dict[str, str], ...]:
    """The chat messages of one cut: the shared prefix, then its lines."""
    return (*prompt.messages, {"role": "user", "content": numbered(text, spans, cut)})


@dataclass(frozen=True)
class Pointed:
    """A pair that the model pointed at."""

    kind: str
    question_spans: tuple[Span, ...]
    answer_spans: tuple[Span, ...]


@dataclass
class Reading:
    """What one reply gave. ``problem``: a reject reason, "" when the reply could be read as a whole."""

    pairs: list[Pointed] = field(default_factory=list)
    problem: str = ""
    detail: str = ""
    not_asking: int = 0


def read_reply(
    text: str,
    spans: Sequence[Span],
    cut: Cut,
    reply: str,
    *,
    finish_reason: str | None = "stop",
    error: str | None = None,
) -> Reading:
    """The usable pairs of a reply. Problems: ``llm_error``, ``llm_truncated``, ``llm_invalid_range``.

    A reply with one invalid pair keeps its valid ones; the problem is reported beside them.
    """
    if error:
        return Reading(problem="llm_error", detail=error[:200])
    if finish_reason == "length":
        return Reading(problem="llm_truncated", detail=f"{len(reply)} characters: {reply[:80]}")
    try:
        entries = json.loads(reply)["pairs"]
        parsed = [
            (_ranges(entry["question"]), _ranges(entry["answer"]), str(entry.get("kind", "unknown")))
            for entry in entries
        ]
    except (ValueError, KeyError, TypeError) as problem:
        return Reading(problem="llm_error", detail=f"not the JSON asked for ({problem!r}): {reply[:120]}")
    reading = Reading()
    used: list[Span] = []
    for question, answer, kind in parsed:
        wrong = _wrong(question, answer, cut)
        if wrong:
            reading.problem, reading.detail = "llm_invalid_range", f"{wrong}: {question} -> {answer}"
            continue
        question_spans = spans_of(text, spans, question, answer=False)
        answer_spans = spans_of(text, spans, answer, answer=True)
        if not question_spans or not answer_spans:
            reading.problem, reading.detail = "llm_invalid_range", f"only a label there: {question} -> {answer}"
            continue
        if not any(question_like(line) for line in joined(text, question_spans).split("\n")):
            reading.not_asking += 1
            continue
        if any(span.start < other.end and other.start < span.end for span in answer_spans for other in used):
            reading.problem, reading.detail = "llm_invalid_range", f"the answer of another pair: {answer}"
            continue
        used.extend(answer_spans)
        reading.pairs.append(Pointed(kind, question_spans, answer_spans))
    return reading


def _ranges(value: Any) -> list[tuple[int, int]]:
    return [(int(first), int(last)) for first, last in value]


def _wrong(question: list[tuple[int, int]], answer: list[tuple[int, int]], cut: Cut) -> str:
    """Why a pair's ranges cannot be right, "" when they can."""
    ranges = [*question, *answer]
    if not question or not answer:
        return "no range"
    if any(first > last or first < cut.first or last > cut.last for first, last in ranges):
        return f"outside lines {cut.first} to {cut.last}"
    if any(q[0] <= a[1] and a[0] <= q[1] for q in question for a in answer):
        return "question and answer overlap"
    if min(first for first, _ in answer) < min(first for first, _ in question):
        return "answer before question"
    return ""
