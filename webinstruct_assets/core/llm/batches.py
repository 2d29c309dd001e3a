"""Batches of requests, one per unit of work: the server always has the next ones while replies are at work on here.

What came back unusable is asked again, with a budget: replies that were cut off get more room, others another draw.
Failures of the transport are the client's to retry; here it is what a reply says that was not good enough. Every try is a
request of its own key, so a re-run finds all of them in the ledger and pays for none twice.
"""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from webinstruct_assets.core.llm.client import LlmReply, LlmRequest

if TYPE_CHECKING:
    from webinstruct_assets.core.llm.client import LlmClient

TEMPERATURE = 0.3  # of another draw where the first was greedy
# Requests that wait or are asked, per one that may be asked at a time: what is left to ask while a unit is at work on here.
AHEAD = 4
Wanted = Literal["more_tokens", "another", ""]


class Batch:
    """Requests that are answered together. ``retries``: how often each may be asked again."""

    requests: Sequence[LlmRequest]
    retries: int = 0

    def wanted(self, index: int, reply: LlmReply) -> Wanted:
        """What another try should have ("" for a reply that will do).

        ``more_tokens`` doubles the limit, at most to ``room(index)``; ``another`` draws with another seed.
        """
        return ""

    def room(self, index: int) -> int:
        """The most tokens that the reply to a request may be given."""
        return self.requests[index].max_tokens

    def heard(self, index: int, attempt: int, reply: LlmReply) -> None:
        """Hears every reply as it arrives, those that are asked again too."""


B = TypeVar("B", bound=Batch)


@dataclass(eq=False)
class _Waiting(Generic[B]):
    batch: B
    replies: dict[int, LlmReply] = field(default_factory=dict)


def answered(client: "LlmClient", batches: Iterable[B]) -> Generator[tuple[B, list[LlmReply]]]:
    """Each batch with the last reply to each of its requests, as soon as it has them all.

    Batches are taken from ``batches`` as they are needed: before the requests in flight run out, and while the caller is at
    work on an answered one. Within a batch the longest replies are asked for first, so that none straggles at the end.
    """
    source = iter(batches)
    with client.in_flight() as flight:
        while True:
            while flight.open < AHEAD * client.concurrency and (batch := next(source, None)) is not None:
                if not batch.requests:
                    yield batch, []
                    continue
                waiting = _Waiting(batch)
                asked = [((waiting, index, 0, request), request) for index, request in enumerate(batch.requests)]
                flight.send(sorted(asked, key=lambda one: -one[1].max_tokens))
            if not flight.open:
                return
            (waiting, index, attempt, request), reply = flight.receive()
            waiting.batch.heard(index, attempt, reply)
            again = _again(waiting.batch, index, attempt, request, reply)
            if again:
                flight.send([((waiting, index, attempt + 1, again), again)])
                continue
            waiting.replies[index] = reply
            if len(waiting.replies) == len(waiting.batch.requests):
                yield waiting.batch, [waiting.replies[index] for index in range(len(waiting.replies))]


def _again(batch: Batch, index: int, attempt: int, last: LlmRequest, reply: LlmReply) -> LlmRequest | None:
    """The request to try next; None where the reply will do or the budget is spent."""
    wanted = batch.wanted(index, reply) if attempt < batch.retries else ""
    if wanted == "more_tokens":
        longer = min(last.max_tokens * 2, batch.room(index))
        return replace(last, max_tokens=longer) if longer > last.max_tokens else None
    if wanted == "another":
        first = batch.requests[index]
        return replace(last, temperature=first.temperature or TEMPERATURE, seed=(first.seed or 0) + attempt + 1)
    return None
