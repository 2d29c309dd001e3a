"""Asking again for what failed: a larger limit for an answer that was cut, another seed for one that is none."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from webinstruct_assets.core.llm.client import LlmReply, LlmRequest

if TYPE_CHECKING:
    from webinstruct_assets.core.llm.client import LlmClient

RETRY_TEMPERATURE = 0.3  # where the request's is 0: the same request would get the same answer

Verdict = Literal["", "truncated", "failed"]


def complete_with_retries(
    client: "LlmClient",
    requests: Sequence[LlmRequest],
    judge: Callable[[int, LlmReply], Verdict],
    *,
    retries: int,
    longest: Callable[[int], int],
    on_reply: Callable[[int, LlmReply], None] | None = None,
) -> list[list[LlmReply]]:
    """All replies to each request in the order they came; the last is the one that counts.

    ``judge(index, reply)`` says whether the reply to ``requests[index]`` can be used (""), was cut off or failed
    otherwise (error, refusal, not what was asked for). A cut one is asked for again with twice the ``max_tokens``, up
    to ``longest(index)``, where it has room to grow; a failed one with another seed. Each request is asked for at most
    ``1 + retries`` times; ``on_reply`` hears of its first reply. All tries enter the ledger under keys of their own, so
    a later run takes the same way without asking. Raises like LlmClient.complete.
    """
    replies: list[list[LlmReply]] = [[] for _ in requests]
    todo = dict(enumerate(requests))
    for attempt in range(retries + 1):
        if not todo:
            break
        indexes = list(todo)

        def heard(place: int, reply: LlmReply, indexes: list[int] = indexes, first: bool = attempt == 0) -> None:
            if first and on_reply:
                on_reply(indexes[place], reply)

        again: dict[int, LlmRequest] = {}
        for index, reply in zip(indexes, client.complete(list(todo.values()), on_reply=heard), strict=True):
            replies[index].append(reply)
            verdict = judge(index, reply)
            if verdict and (request := _changed(todo[index], verdict, longest(index))):
                again[index] = request
        todo = again
    return replies


def _changed(request: LlmRequest, verdict: Verdict, longest: int) -> LlmRequest | None:
    """The next try; None where it would be the same again."""
    if verdict == "truncated":
        grown = min(2 * request.max_tokens, longest)
        return replace(request, max_tokens=grown) if grown > request.max_tokens else None
    return replace(request, seed=(request.seed or 0) + 1, temperature=request.temperature or RETRY_TEMPERATURE)
