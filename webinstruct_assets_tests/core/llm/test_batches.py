"""Asking again: more room, another draw, a budget; and no server where the ledger knows every answer."""

from dataclasses import replace
from pathlib import Path

import pytest

from webinstruct_assets.core.llm.batches import TEMPERATURE, Batch, Wanted, answered
from webinstruct_assets.core.llm.client import LlmClient, LlmReply, LlmRequest
from webinstruct_assets.core.llm.ledger import Ledger

FIRST = LlmRequest(prompt="Say something.", max_tokens=10)
LONGER = replace(FIRST, max_tokens=20)
OTHER = replace(FIRST, temperature=TEMPERATURE, seed=1)


def client(tmp_path: Path, answers: dict[LlmRequest, tuple[str, str]]) -> LlmClient:
    """A client whose answers are all recorded: starting a server would be an error."""
    ledger = Ledger(tmp_path / "ledger.sqlite")
    for request, (text, finish) in answers.items():
        reply = {"text": text, "finish_reason": finish, "tokens_in": 3, "tokens_out": 5}
        ledger.put(request.key("m"), "m", reply)

    def start() -> tuple[str, str]:
        raise AssertionError("a server was started")

    return LlmClient(start, "m", ledger)


class First(Batch):
    """FIRST, asked again for what was cut off or odd."""

    def __init__(self, retries: int, most: int):
        self.requests, self.retries, self.most = [FIRST], retries, most
        self.attempts: list[int] = []

    def wanted(self, index: int, reply: LlmReply) -> Wanted:
        return "more_tokens" if reply.finish_reason == "length" else "another" if reply.text == "odd" else ""

    def room(self, index: int) -> int:
        return self.most

    def heard(self, index: int, attempt: int, reply: LlmReply) -> None:
        self.attempts.append(attempt)


def ask(asking: LlmClient, retries: int, room: int = 100) -> tuple[LlmReply, list[int]]:
    ((batch, (reply,)),) = answered(asking, [First(retries, room)])
    return reply, batch.attempts


def test_a_good_reply_is_asked_for_once_and_starts_no_server(tmp_path: Path) -> None:
    assert ask(client(tmp_path, {FIRST: ("fine", "stop")}), 2)[1] == [0]


def test_more_room_for_what_was_cut_off(tmp_path: Path) -> None:
    recorded = {FIRST: ("half", "length"), LONGER: ("whole", "stop")}
    reply, attempts = ask(client(tmp_path, recorded), 2)
    assert (reply.text, attempts) == ("whole", [0, 1])
    assert ask(client(tmp_path, recorded), 0)[0].text == "half"  # no budget
    assert ask(client(tmp_path, recorded), 2, room=10)[1] == [0]  # no room: the same request would end the same


def test_another_draw_for_what_is_odd(tmp_path: Path) -> None:
    second = replace(OTHER, seed=2)
    recorded = {FIRST: ("odd", "stop"), OTHER: ("odd", "stop"), second: ("good", "stop")}
    reply, attempts = ask(client(tmp_path, recorded), 2)
    assert (reply.text, attempts) == ("good", [0, 1, 2])
    assert ask(client(tmp_path, recorded), 1)[0].text == "odd"  # the budget is spent


def test_an_open_question_starts_the_server(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="a server was started"):
        client(tmp_path, {}).complete([FIRST])
