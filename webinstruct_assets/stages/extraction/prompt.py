"""The prompt files of a mode, and what is sent for a part of a page.

System text, few-shot examples and reply schema lie in ``prompts/MODE``; all requests of a mode share them as their
prefix, so a server with a prefix cache reads them once. Their digest is part of every row's provenance.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from webinstruct_assets.core.ids import digest_json
from webinstruct_assets.core.llm.tokens import TokenCounts
from webinstruct_assets.stages.extraction.lines import Cut, numbered, shown
from webinstruct_assets.stages.pages.document import Span

PROMPTS = Path(__file__).parent / "prompts"
NUMBER_TOKENS = 4  # a line's number, digit by digit


@dataclass(frozen=True)
class Prompt:
    """System text, few-shot messages and reply schema of ``mode``; ``hash`` identifies all three."""

    mode: str
    messages: tuple[dict[str, str], ...]
    schema: dict[str, Any]
    hash: str


@cache
def load_prompt(mode: str) -> Prompt:
    """The prompt of ``point`` or ``rewrite``."""
    folder = PROMPTS / mode
    system = (folder / "system.txt").read_text(encoding="utf-8").strip()
    examples = yaml.safe_load((folder / "examples.yaml").read_text(encoding="utf-8"))
    schema = json.loads((folder / "schema.json").read_text(encoding="utf-8"))
    messages = [{"role": "system", "content": system}]
    for example in examples:
        messages.append({"role": "user", "content": example["page"].rstrip()})
        messages.append({"role": "assistant", "content": example["reply"]})
    return Prompt(mode, tuple(messages), schema, digest_json([mode, messages, schema])[:16])


def line_costs(prompt: Prompt, text: str, spans: Sequence[Span], count: TokenCounts) -> list[int]:
    """Tokens that each line takes in a request, counted as it is sent."""
    lines = [text[span.start : span.end] for span in spans]
    if prompt.mode == "point":
        return [tokens + NUMBER_TOKENS for tokens in count([f" {shown(line)}\n" for line in lines])]
    return count([f"{line}\n" for line in lines])


def messages_for(prompt: Prompt, text: str, spans: Sequence[Span], cut: Cut) -> tuple[dict[str, str], ...]:
    """The chat messages of one cut: the shared prefix, then its lines, numbered where the reply points at them."""
    if prompt.mode == "point":
        content = numbered(text, spans, cut)
    else:
        content = text[spans[cut.first - 1].start : spans[cut.last - 1].end]
    return (*prompt.messages, {"role": "user", "content": content})
