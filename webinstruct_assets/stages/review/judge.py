"""An LLM's guess at a pair's category, shown to reviewers beside the pair and never counted as theirs."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from webinstruct_assets.core.config import Section, load_yaml
from webinstruct_assets.core.foreign_json import read_json
from webinstruct_assets.core.ids import digest_json
from webinstruct_assets.core.llm.client import LlmReply, LlmRequest
from webinstruct_assets.stages.review.reviews import CATEGORIES

PROMPT = Path(__file__).parent / "prompts/judge.yaml"
MAX_TOKENS = 160
TEXT_CHARS = 3000  # of each of the four texts; a judge of long pairs sees their beginning
REPLY_SCHEMA = {
    "type": "object",
    "properties": {"category": {"enum": list(CATEGORIES)}, "reason": {"type": "string", "maxLength": 300}},
    "required": ["category", "reason"],
    "additionalProperties": False,
}


class JudgePrompt(Section):
    """The prompt file."""

    system: str
    user: str


def prompt_hash() -> str:
    """Digest of the prompt, for a partition's identity."""
    return digest_json(load_yaml(PROMPT, JudgePrompt).model_dump())[:16]


def judge_request(pair: Mapping[str, Any]) -> LlmRequest:
    """The question about one refined pair (columns of ``refined_qa``)."""
    prompt = load_yaml(PROMPT, JudgePrompt)

    def shown(prefix: str) -> str:
        texts = {name: pair[f"{prefix}{name}"][:TEXT_CHARS] for name in ("question", "answer")}
        return json.dumps(texts, ensure_ascii=False)

    user = prompt.user.replace("{original}", shown("original_"), 1).replace("{refined}", shown(""), 1)
    messages = ({"role": "system", "content": prompt.system.strip()}, {"role": "user", "content": user.strip()})
    return LlmRequest(messages=messages, max_tokens=MAX_TOKENS, json_schema=REPLY_SCHEMA, tag=pair["id"])


def read_judgement(reply: LlmReply) -> tuple[str, str]:
    """(category, reason); ("", why not) where the reply is no judgement."""
    if reply.error is not None:
        return "", f"not judged: {reply.error}"
    try:
        read = read_json(reply.text)
        category, reason = str(read["category"]), str(read["reason"])
    except (ValueError, KeyError, TypeError):
        return "", f"not judged: {reply.text[:200]!r}"
    return (category, reason) if category in CATEGORIES else ("", f"not judged: {category!r}")
