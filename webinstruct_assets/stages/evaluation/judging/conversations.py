"""Conversations with the evaluated model: the user's turns in order, each answered in the context of those before.

In: items with ``turns`` and an LLM client. Out: one ``Conversation`` per item. Turns go to the chat endpoint, so the
server puts them into the model's own chat template.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from webinstruct_assets.core.llm.client import LlmRequest

if TYPE_CHECKING:
    from webinstruct_assets.core.llm.client import LlmClient

Message = dict[str, str]


@dataclass(frozen=True)
class Conversation:
    """``prompt``: the messages of the last request; ``answers``: one per turn, "" from where the model gave none.

    ``error``: why it gave none. Tokens are sums over the turns.
    """

    prompt: tuple[Message, ...] = ()
    answers: tuple[str, ...] = ()
    finish_reason: str | None = None
    error: str | None = None
    tokens_in: int = 0
    tokens_out: int = 0


def converse(
    items: Sequence[Mapping[str, Any]], temperatures: Mapping[str, float], max_tokens: int, client: "LlmClient",
    on_reply: Callable[[], None],
) -> list[Conversation]:  # fmt: skip
    """All conversations, turn by turn, greedy but for subjects that ``temperatures`` names.

    ``on_reply`` hears every answered turn.
    """
    talks = [Conversation() for _ in items]
    for turn in range(max(len(item["turns"]) for item in items)):
        open_ones = [n for n, item in enumerate(items) if turn < len(item["turns"])]
        asked = [n for n in open_ones if talks[n].error is None]
        for n in asked:
            said = [{"role": "assistant", "content": talks[n].answers[-1]}] if turn else []
            user = {"role": "user", "content": items[n]["turns"][turn]}
            talks[n] = replace(talks[n], prompt=(*talks[n].prompt, *said, user))
        requests = [
            LlmRequest(
                messages=talks[n].prompt,
                max_tokens=max_tokens,
                temperature=temperatures.get(items[n]["subject"], 0.0),
                tag=items[n]["item_id"],
            )
            for n in asked
        ]
        replies = dict(zip(asked, client.complete(requests, on_reply=lambda index, reply: on_reply()), strict=True))
        for n in open_ones:
            reply = replies.get(n)
            talks[n] = replace(talks[n], answers=(*talks[n].answers, reply.text if reply else ""))
            if reply:
                talks[n] = replace(
                    talks[n],
                    finish_reason=reply.finish_reason,
                    error=reply.error,
                    tokens_in=talks[n].tokens_in + reply.tokens_in,
                    tokens_out=talks[n].tokens_out + reply.tokens_out,
                )
    return talks
