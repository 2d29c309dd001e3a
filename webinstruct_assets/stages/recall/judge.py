"""The LLM's label of a web domain, from its name, top paths and sample titles (paper §2.1: GPT-3.5, then GPT-4).

Domains are asked for in numbered lists, twice: in the given order, and shuffled with their titles reversed, so that a
label that hangs on place or company shows itself. Where the two differ, or one is missing, the domain is asked
for alone, and the majority of the clear votes decides.

Labels are remembered by domain, round, prompt, model and decoding, so a later snapshot only asks about new domains:
its evidence may differ, its label does not. A row says where a remembered label came from. A domain
without a label (refusals, unreadable replies, a tie) is remembered for its own snapshot only.
"""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from webinstruct_assets.core.foreign_json import read_json
from webinstruct_assets.core.ids import digest_file, digest_json
from webinstruct_assets.core.llm.client import LlmRequest

if TYPE_CHECKING:
    from webinstruct_assets.core.llm.client import LlmReply
    from webinstruct_assets.core.llm.ledger import Ledger

PROMPT = Path(__file__).parent / "prompts/domain.yaml"
CLEAR = ("educational", "non-educational")
VOTES = (*CLEAR, "unsure")
ITEM_CHARACTERS = 120  # of a title or path: both are the page's, and untrusted
REPLY_CHARACTERS = 500  # kept of a reply that gave no vote
TOKENS_PER_DOMAIN = 12

Ask = Callable[[Sequence[LlmRequest]], list["LlmReply"]]


@dataclass(frozen=True)
class Evidence:
    """What the LLM is shown of a domain."""

    domain: str
    paths: tuple[str, ...]
    titles: tuple[str, ...]


@dataclass(frozen=True)
class Judgement:
    """``label`` (educational, non-educational, "" for none), the ``votes`` it comes from in the order of asking
    ("" for a reply without one), ``reply``: what was answered instead of a vote, ``origin``: snapshot that asked.
    """

    label: str
    votes: tuple[str, ...]
    reply: str
    origin: str


def request(batch: Sequence[Evidence], examples_at_once: int) -> LlmRequest:
    """One question about a list of domains; the beginning is the same for all, so a prefix cache serves it."""
    prompt = _prompt()
    messages = [{"role": "system", "content": prompt["system"]}]
    examples = prompt["examples"]
    for start in range(0, len(examples), examples_at_once):
        shown = examples[start : start + examples_at_once]
        listed = [Evidence(item["domain"], tuple(item["paths"]), tuple(item["titles"])) for item in shown]
        messages.append({"role": "user", "content": _listing(listed)})
        answer = {str(number): item["label"] for number, item in enumerate(shown, start=1)}
        messages.append({"role": "assistant", "content": json.dumps(answer)})
    messages.append({"role": "user", "content": _listing(batch)})
    return LlmRequest(
        messages=tuple(messages),
        max_tokens=16 + TOKENS_PER_DOMAIN * len(batch),
        json_schema=_schema(len(batch)),
        tag=", ".join(item.domain for item in batch),
    )


def _listing(batch: Sequence[Evidence]) -> str:
    lines = []
    for number, item in enumerate(batch, start=1):
        lines.append(f"{number}. {item.domain}")
        if item.paths:
            lines.append("   paths: " + ", ".join(_clipped(path) for path in item.paths))
        lines += [f"   - {_clipped(title)}" for title in item.titles]
    return "\n".join(lines)


def _clipped(text: str) -> str:
    return " ".join(text.split())[:ITEM_CHARACTERS]


@cache
def _prompt() -> dict[str, Any]:
    return yaml.safe_load(PROMPT.read_text(encoding="utf-8"))


def _schema(size: int) -> dict[str, Any]:
    """Numbers as names, not domains: lists of one length share a schema, which endpoints compile once."""
    names = [str(number) for number in range(1, size + 1)]
    return {
        "type": "object",
        "properties": {name: {"enum": list(VOTES)} for name in names},
        "required": names,
        "additionalProperties": False,
    }


def votes_of(text: str, size: int) -> list[str]:
    """The vote on each of ``size`` domains in a reply, "" where it has none."""
    try:
        answer = read_json(text)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        return [""] * size
    found = [answer.get(str(number)) for number in range(1, size + 1)]
    return [vote if isinstance(vote, str) and vote in VOTES else "" for vote in found]


def label_of(votes: Sequence[str]) -> str:
    """The clear label with more votes, "" where there is none."""
    yes, no = (sum(vote == label for vote in votes) for label in CLEAR)
    return "" if yes == no else CLEAR[0] if yes > no else CLEAR[1]


def judge(domains: Sequence[Evidence], at_once: int, origin: str, ask: Ask) -> dict[str, Judgement]:
    """The LLM's judgement of each domain."""
    shuffled = [replace(item, titles=item.titles[::-1]) for item in domains]
    random.Random(0).shuffle(shuffled)
    votes: dict[str, list[str]] = {item.domain: [] for item in domains}
    unclear: dict[str, list[str]] = {item.domain: [] for item in domains}

    def put(batches: Sequence[Sequence[Evidence]]) -> None:
        replies = ask([request(batch, at_once) for batch in batches])
        for batch, reply in zip(batches, replies, strict=True):
            for item, vote in zip(batch, votes_of(reply.text, len(batch)), strict=True):
                votes[item.domain].append(vote)
                if not vote:
                    unclear[item.domain].append((reply.error or reply.text)[:REPLY_CHARACTERS])

    def batches_of(items: Sequence[Evidence]) -> list[Sequence[Evidence]]:
        return [items[start : start + at_once] for start in range(0, len(items), at_once)]

    first = batches_of(domains)
    both = first + batches_of(shuffled)
    put(both)
    alone = [item for item in domains if len(set(votes[item.domain])) > 1 or votes[item.domain][0] not in CLEAR]
    if alone:
        put([[item] for item in alone])
    return {
        domain: Judgement(label_of(cast), tuple(cast), "\n".join(unclear[domain]), origin)
        for domain, cast in votes.items()
    }


# --- what is remembered


class Memory:
    """Labels by domain in the ledger of answered requests, for one round, model and size of list."""

    def __init__(self, ledger: "Ledger", model: str, round_asset: str, at_once: int, origin: str):
        self._ledger, self._model, self._origin = ledger, model, origin
        self._question = {
            "question": f"label of a domain, {round_asset}",
            "prompt": digest_file(PROMPT),
            "model": model,
            # What else bears on an answer; evidence does not, on purpose.
            "decoding": {**asdict(request([], at_once)), "messages": None, "json_schema": _schema(at_once)},
        }

    def _key(self, domain: str, snapshot: str) -> str:
        return digest_json({**self._question, "domain": domain, "snapshot": snapshot})

    def recall(self, domains: Sequence[str]) -> dict[str, Judgement]:
        """What is known of ``domains``: labels of any snapshot, and this snapshot's failures to get one."""
        keys = {self._key(domain, snapshot): domain for domain in domains for snapshot in ("", self._origin)}
        found = self._ledger.get_many(keys)
        return {keys[key]: Judgement(**{**known, "votes": tuple(known["votes"])}) for key, known in found.items()}

    def remember(self, judgements: dict[str, Judgement]) -> None:
        """Stores labels for every snapshot, and what has none for its own."""
        for domain, judgement in judgements.items():
            key = self._key(domain, "" if judgement.label else self._origin)
            self._ledger.put(key, self._model, asdict(judgement))
