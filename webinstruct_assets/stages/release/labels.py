"""One label from the LLM: requests for what the rules leave undecided, and reading the replies.

In: a prompt file of this folder and a text. Out: a request under a schema that allows the labels only, and the label.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from webinstruct_assets.core.config import Section, load_yaml
from webinstruct_assets.core.foreign_json import read_json
from webinstruct_assets.core.llm.client import LlmReply, LlmRequest

PROMPTS = Path(__file__).parent / "prompts"
TEXT_CHARS = 600  # the beginning of a pair says what it is about; the rest would only cost prefill


class LabelExample(Section):
    """A text with its label, shown as a finished turn."""

    user: str
    label: str


class LabelPrompt(Section):
    """A prompt file."""

    system: str
    examples: list[LabelExample]


def load_label_prompt(name: str) -> LabelPrompt:
    """The prompt file ``name``."""
    return load_yaml(PROMPTS / name, LabelPrompt)


def label_request(prompt: LabelPrompt, labels: Sequence[str], text: str, tag: str) -> LlmRequest:
    """Asks which of ``labels`` fits ``text``."""
    messages = [{"role": "system", "content": prompt.system.strip()}]
    for example in prompt.examples:
        messages.append({"role": "user", "content": example.user})
        messages.append({"role": "assistant", "content": json.dumps({"label": example.label})})
    messages.append({"role": "user", "content": text[:TEXT_CHARS]})
    schema = {
        "type": "object",
        "properties": {"label": {"enum": list(labels)}},
        "required": ["label"],
        "additionalProperties": False,
    }
    return LlmRequest(messages=tuple(messages), max_tokens=24, json_schema=schema, tag=tag)


def read_label(reply: LlmReply, labels: Sequence[str]) -> str | None:
    """The label of a reply; None for a failed request or anything that is not one of ``labels``."""
    try:
        label = read_json(reply.text)["label"] if reply.error is None else None
    except (ValueError, KeyError, TypeError):
        return None
    return label if label in labels else None
