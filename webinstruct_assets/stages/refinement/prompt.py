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
from webinstruct_assets.core.llm.tokens import TokenCounts, chat_tokens

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
GROWTH_TOKENS = 20  # room for a short pair to grow
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


class Requests:
    """Requests of one refiner, sized by its model's own tokenizer (``count``) within ``max_model_len`` tokens."""

    def __init__(self, prompt: RefinePrompt, refiner: RefinerConfig, count: TokenCounts, max_model_len: int):
        self.prompt, self.refiner, self._count, self.max_model_len = prompt, refiner, count, max_model_len
        shared = [{"role": "system", "content": prompt.system.strip()}]
        for example in prompt.examples:
            pair = _json(example.question, example.answer)
            shared.append({"role": "user", "content": _filled(prompt.user, pair=pair)})
            shared.append({"role": "assistant", "content": _json(example.refined_question, example.refined_answer)})
        self._shared = shared
        self._shared_tokens = chat_tokens(count, [*shared, {"content": ""}])

    def build(self, pair: Mapping[str, Any], context: str) -> LlmRequest | str:
        """The request for one pair; or, for a pair that cannot fit, in words why not (asking would be wasted).

        Its ``max_tokens`` are what the pair's length calls for, within the refiner's limit.
        """
        limit = self.refiner.max_output_tokens
        (pair_tokens,) = self._count([_json(pair["question"], pair["answer"])])
        if pair_tokens > limit:
            return f"the pair alone takes {pair_tokens} tokens, the refiner's max_output_tokens is {limit}"
        extra = GROWTH_TOKENS + CORRECTION_TOKENS * self.prompt.corrections
        tokens = min(limit, math.ceil(self.prompt.expansion * pair_tokens) + extra)
        request = self._request(pair, context, tokens)
        if context and self.room(request) < tokens:
            request = self._request(pair, "", tokens)
        if (room := self.room(request)) < tokens:
            size = self.max_model_len - room + tokens
            return f"prompt and reply take {size} tokens, the model's max_model_len is {self.max_model_len}"
        return request

    def room(self, request: LlmRequest) -> int:
        """Tokens that the model's context leaves for the reply to a request of ``build``."""
        assert request.messages is not None
        return self.max_model_len - self._shared_tokens - sum(self._count([request.messages[-1]["content"]]))

    def longest(self, request: LlmRequest) -> int:
        """The most tokens that a reply which was cut off may be given: the refiner's limit, or what the context leaves."""
        return min(self.refiner.max_output_tokens, self.room(request))

    def _request(self, pair: Mapping[str, Any], context: str, max_tokens: int) -> LlmRequest:
        user = _filled(self.prompt.user, pair=_json(pair["question"], pair["answer"]))
        if context:
            user = _filled(self.prompt.context, context=context) + "\n\n" + user
        return LlmRequest(
            messages=(*self._shared, {"role": "user", "content": user}),
            max_tokens=max_tokens,
            temperature=self.refiner.temperature,
            top_p=self.refiner.top_p,
            seed=self.refiner.seed,
            json_schema=CORRECTING_SCHEMA if self.prompt.corrections else REPLY_SCHEMA,
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
