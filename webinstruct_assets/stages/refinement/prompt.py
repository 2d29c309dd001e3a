"""Refinement prompts: one file per prompt, rendered into a request per pair.

In: a pair, and the lines of the page around it where the refiner wants them. Out: chat messages and limits. All
requests of a prompt share their beginning, so a server's prefix cache serves it.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from webinstruct_assets.core.config import RefinerConfig, Section, load_yaml
from webinstruct_assets.core.ids import digest_json
from webinstruct_assets.core.llm.client import LlmRequest

PROMPTS = Path(__file__).parent / "prompts"
_TEXT = {"type": "string"}
REPLY_SCHEMA = {
    "type": "object",
    "properties": {"question": _TEXT, "answer": _TEXT},
    "required": ["question", "answer"],
    "additionalProperties": False,
}
# Last, so that the reason is about an answer already written; optional, so that saying nothing is the easy way.
CORRECTING_SCHEMA = {**REPLY_SCHEMA, "properties": {"question": _TEXT, "answer": _TEXT, "correction": _TEXT}}
CORRECTION_TOKENS = 60
# Formulas have few characters per token; 3 is on the safe side for every tokenizer in the configuration.
CHARS_PER_TOKEN = 3
REPLY_FRAME_TOKENS = 30  # the JSON around the two texts, and room for a short pair to grow
CONTEXT_CHARS = 1200
CONTEXT_MARGIN = 200


class Example(Section):
    """A pair and its refined form, shown to the model as a finished turn."""

    question: str
    answer: str
    refined_question: str
    refined_answer: str


class RefinePrompt(Section):
    """A prompt file. ``user`` and ``context`` are templates; ``expansion``: reply length over pair length, at most.

    ``corrections``: the reply may have a ``correction``, the reason for giving another final answer than the page.
    """

    expansion: float = Field(ge=1)
    corrections: bool = False
    system: str
    examples: list[Example]
    context: str
    user: str

    def hash(self) -> str:
        """Digest of all that is sent besides the pair."""
        return digest_json(self.model_dump())[:16]


def load_prompt(name: str) -> RefinePrompt:
    """The prompt file ``name``. Raises ConfigError when it is missing or has a wrong field."""
    return load_yaml(PROMPTS / name, RefinePrompt)


def page_context(text: str, spans: list[dict[str, int]]) -> str:
    """The stretch of page text around a pair's spans, cut to whole lines and ``CONTEXT_CHARS``; "" without spans."""
    if not spans:
        return ""
    start = max(0, min(span["start"] for span in spans) - CONTEXT_MARGIN)
    end = min(len(text), max(span["end"] for span in spans) + CONTEXT_MARGIN, start + CONTEXT_CHARS)
    start = text.rfind("\n", 0, start) + 1 if start - text.rfind("\n", 0, start) < CONTEXT_MARGIN else start
    return text[start:end].strip()


def reply_tokens(prompt: RefinePrompt, refiner: RefinerConfig, pair: Mapping[str, Any]) -> int:
    """``max_tokens`` of the pair's request: what its length calls for, within the refiner's limit."""
    frame = REPLY_FRAME_TOKENS + CORRECTION_TOKENS * prompt.corrections
    return min(refiner.max_output_tokens, math.ceil(prompt.expansion * _pair_tokens(pair)) + frame)


def _pair_tokens(pair: Mapping[str, Any]) -> int:
    return math.ceil((len(pair["question"]) + len(pair["answer"])) / CHARS_PER_TOKEN)


def build_request(
    prompt: RefinePrompt, refiner: RefinerConfig, pair: Mapping[str, Any], context: str, max_model_len: int
) -> LlmRequest | str:
    """The request for one pair; or, for a pair that cannot fit, in words why not (asking would be wasted)."""
    if (needed := _pair_tokens(pair) + REPLY_FRAME_TOKENS) > refiner.max_output_tokens:
        return f"the pair alone takes about {needed} tokens, the refiner's max_output_tokens is {refiner.max_output_tokens}"
    tokens = reply_tokens(prompt, refiner, pair)
    request = _request(prompt, refiner, pair, context, tokens)
    size = _request_tokens(request) + tokens
    if size > max_model_len and context:
        request = _request(prompt, refiner, pair, "", tokens)
        size = _request_tokens(request) + tokens
    if size > max_model_len:
        return f"prompt and reply take about {size} tokens, the model's max_model_len is {max_model_len}"
    return request


def _request(
    prompt: RefinePrompt, refiner: RefinerConfig, pair: Mapping[str, Any], context: str, max_tokens: int
) -> LlmRequest:
    messages = [{"role": "system", "content": prompt.system.strip()}]
    for example in prompt.examples:
        messages.append({"role": "user", "content": _filled(prompt.user, pair=_json(example.question, example.answer))})
        messages.append({"role": "assistant", "content": _json(example.refined_question, example.refined_answer)})
    user = _filled(prompt.user, pair=_json(pair["question"], pair["answer"]))
    if context:
        user = _filled(prompt.context, context=context) + "\n\n" + user
    messages.append({"role": "user", "content": user})
    return LlmRequest(
        messages=tuple(messages),
        max_tokens=max_tokens,
        temperature=refiner.temperature,
        top_p=refiner.top_p,
        seed=refiner.seed,
        json_schema=CORRECTING_SCHEMA if prompt.corrections else REPLY_SCHEMA,
        tag=pair["id"],
    )


def _json(question: str, answer: str) -> str:
    """A pair as it is shown and as it is wanted back: a small model copies best what has the same form already."""
    return json.dumps({"question": question, "answer": answer}, ensure_ascii=False)


def _filled(template: str, **values: str) -> str:
    """``template`` with ``{name}`` replaced; not str.format, since texts and TeX are full of braces."""
    head, *rest = template.strip().split("{")
    text = head
    for piece in rest:
        name, brace, tail = piece.partition("}")
        text += values[name] + tail if brace and name in values else "{" + piece
    return text


def _request_tokens(request: LlmRequest) -> int:
    assert request.messages is not None
    return math.ceil(sum(len(message["content"]) + 12 for message in request.messages) / CHARS_PER_TOKEN)
