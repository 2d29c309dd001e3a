"""Asking again what came back unusable, with a budget: replies that were cut off get more room, others another draw.

Failures of the transport are the client's to retry; here it is what a reply says that was not good enough. Every try is a
request of its own key, so a re-run finds all of them in the ledger and pays for none twice.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from webinstruct_assets.core.llm.client import LlmReply, LlmRequest

if TYPE_CHECKING:
    from webinstruct_assets.core.llm.client import LlmClient

TEMPERATURE = 0.3  # of another draw where the first was greedy
Wanted = Literal["more_tokens", "another", ""]


def complete_with_retries(
    client: "LlmClient",
    requests: Sequence[LlmRequest],
    wanted: Callable[[int, LlmReply], Wanted],
    *,
    retries: int,
    room: Callable[[int], int],
    on_reply: Callable[[int, int, LlmReply], None],
) -> list[LlmReply]:
    """The last reply to each request, asked at most ``1 + retries`` times.

    ``wanted(index, reply)`` says what another try should have ("" for a reply that will do): ``more_tokens`` doubles the
    limit, at most to ``room(index)``; ``another`` draws with another seed. ``on_reply(index, attempt, reply)`` hears all.
    """
    replies: dict[int, LlmReply] = {}
    asked = dict(enumerate(requests))
    for attempt in range(retries + 1):
        if attempt:
            asked = {
                index: again
                for index, request in asked.items()
                if (again := _again(requests[index], request, wanted(index, replies[index]), attempt, room(index)))
            }
        if not asked:
            break
        order = list(asked)

        def heard(place: int, reply: LlmReply, order: list[int] = order, attempt: int = attempt) -> None:
            on_reply(order[place], attempt, reply)

        answers = client.complete([asked[index] for index in order], on_reply=heard)
        replies.update(zip(order, answers, strict=True))
    return [replies[index] for index in range(len(requests))]


def _again(first: LlmRequest, last: LlmRequest, wanted: Wanted, attempt: int, room: int) -> LlmRequest | None:
    if wanted == "more_tokens":
        longer = min(last.max_tokens * 2, room)
        return replace(last, max_tokens=longer) if longer > last.max_tokens else None
    if wanted == "another":
        return replace(last, temperature=first.temperature or TEMPERATURE, seed=(first.seed or 0) + attempt)
    return None
