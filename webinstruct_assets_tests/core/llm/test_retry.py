"""Asking again, on recorded replies: which end a model's answer takes cannot be ordered from a real one."""

from collections.abc import Callable
from typing import Any

import pytest

from webinstruct_assets.core.llm.client import LlmReply, LlmRequest
from webinstruct_assets.core.llm.retry import RETRY_TEMPERATURE, Verdict, complete_with_retries

VERDICTS: dict[str, Verdict] = {"cut": "truncated", "bad": "failed", "good": ""}


class Recorded:
    """Answers each prompt with its words in turn."""

    def __init__(self) -> None:
        self.asked: list[list[LlmRequest]] = []

    def complete(self, batch: list[LlmRequest], on_reply: Callable[[int, LlmReply], None]) -> list[LlmReply]:
        self.asked.append(batch)
        replies = [LlmReply((request.prompt or "").split()[len(self.asked) - 1], "stop", 1, 1) for request in batch]
        for index in reversed(range(len(batch))):
            on_reply(index, replies[index])
        return replies


def ask(*prompts: str, retries: int = 2, longest: int = 350, temperature: float = 0.0) -> tuple[Recorded, Any, Any]:
    client, heard = Recorded(), dict[int, str]()
    tries = complete_with_retries(
        client,  # type: ignore[arg-type]
        [LlmRequest(prompt=prompt, max_tokens=100, temperature=temperature) for prompt in prompts],
        lambda index, reply: VERDICTS[reply.text],
        retries=retries,
        longest=lambda index: longest,
        on_reply=lambda index, reply: heard.__setitem__(index, reply.text),
    )
    return client, [[reply.text for reply in replies] for replies in tries], heard


def test_only_what_failed_is_asked_again_and_in_one_batch() -> None:
    client, tries, heard = ask("good", "bad good", "cut bad good", "bad bad bad good")
    assert tries == [["good"], ["bad", "good"], ["cut", "bad", "good"], ["bad", "bad", "bad"]]
    assert [len(batch) for batch in client.asked] == [4, 3, 2]
    assert heard == {0: "good", 1: "bad", 2: "cut", 3: "bad"}


def test_a_cut_answer_gets_twice_the_room_up_to_what_there_is() -> None:
    client, tries, _ = ask("cut cut cut cut", retries=5)
    assert [batch[0].max_tokens for batch in client.asked] == [100, 200, 350]
    assert tries == [["cut", "cut", "cut"]]  # a fourth would be the third
    assert {(batch[0].seed, batch[0].temperature) for batch in client.asked} == {(0, 0.0)}
    assert ask("cut good", longest=80)[1] == [["cut"]]


@pytest.mark.parametrize(("temperature", "second"), [(0.0, RETRY_TEMPERATURE), (0.9, 0.9)])
def test_a_failed_one_gets_another_seed(temperature: float, second: float) -> None:
    client, _, _ = ask("bad bad good", temperature=temperature)
    assert [(batch[0].seed, batch[0].temperature) for batch in client.asked] == [
        (0, temperature),
        (1, second),
        (2, second),
    ]
    assert {batch[0].max_tokens for batch in client.asked} == {100}


def test_without_a_budget_nothing_is_asked_again() -> None:
    assert ask("bad good", retries=0)[1] == [["bad"]]
