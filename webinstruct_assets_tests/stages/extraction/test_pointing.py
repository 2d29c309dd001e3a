"""Replies of the model, as recorded: what is used, and the reason why the rest is not."""

import pytest

from webinstruct_assets.stages.extraction.lines import Cut, line_spans
from webinstruct_assets.stages.extraction.pointing import load_prompt, messages_for, read_reply
from webinstruct_assets.stages.pages.document import joined

TEXT = "# Sheet\nFind the sum of 3 and 4.\nIt is 7.\nWhat is 5 times 6?\nThirty.\nThe weather was fine.\nAnswer:"
SPANS = line_spans(TEXT)
CUT = Cut(1, 7)


def pair(question: str, answer: str, kind: str = "solution") -> str:
    return f'{{"question":{question},"answer":{answer},"kind":"{kind}"}}'


def test_valid_pairs_are_verbatim() -> None:
    reply = f'{{"pairs":[{pair("[[2,2]]", "[[3,3]]")},{pair("[[4,4]]", "[[5,6]]", "final_answer")}]}}'
    reading = read_reply(TEXT, SPANS, CUT, reply)
    assert (reading.problem, reading.not_asking) == ("", 0)
    assert [(joined(TEXT, p.question_spans), joined(TEXT, p.answer_spans), p.kind) for p in reading.pairs] == [
        ("Find the sum of 3 and 4.", "It is 7.", "solution"),
        ("What is 5 times 6?", "Thirty.\nThe weather was fine.", "final_answer"),
    ]


@pytest.mark.parametrize(
    ("question", "answer", "why"),
    [
        ("[[2,2]]", "[[3,30]]", "outside"), ("[[0,2]]", "[[3,3]]", "outside"), ("[[3,2]]", "[[5,5]]", "outside"),
        ("[[2,3]]", "[[3,3]]", "overlap"), ("[[4,4]]", "[[3,3]]", "before"), ("[]", "[[3,3]]", "no range"),
        ("[[2,2]]", "[[7,7]]", "label"),
    ],
)  # fmt: skip
def test_invalid_ranges(question: str, answer: str, why: str) -> None:
    reading = read_reply(TEXT, SPANS, CUT, f'{{"pairs":[{pair(question, answer)}]}}')
    assert (reading.pairs, reading.problem) == ([], "llm_invalid_range")
    assert why in reading.detail


def test_ranges_outside_the_cut_are_invalid() -> None:
    reading = read_reply(TEXT, SPANS, Cut(4, 7), f'{{"pairs":[{pair("[[2,2]]", "[[5,5]]")}]}}')
    assert reading.problem == "llm_invalid_range"


def test_valid_pairs_survive_an_invalid_one() -> None:
    reading = read_reply(TEXT, SPANS, CUT, f'{{"pairs":[{pair("[[2,2]]", "[[3,3]]")},{pair("[[4,4]]", "[[3,3]]")}]}}')
    assert len(reading.pairs) == 1 and reading.problem == "llm_invalid_range"


def test_questions_that_do_not_ask_are_left_out() -> None:
    reading = read_reply(TEXT, SPANS, CUT, f'{{"pairs":[{pair("[[3,3]]", "[[6,6]]")}]}}')
    assert (reading.pairs, reading.problem, reading.not_asking) == ([], "", 1)


@pytest.mark.parametrize(
    ("reply", "finish", "error", "problem"),
    [
        ('{"pairs":[]}', "stop", None, ""), ('{"pairs":[{"question":[[2', "length", None, "llm_truncated"),
        ("", None, "HTTP 500", "llm_error"), ("no JSON", "stop", None, "llm_error"), ("[]", "stop", None, "llm_error"),
        ('{"pairs":[{"question":[[2]],"answer":[[3,3]]}]}', "stop", None, "llm_error"),
    ],
)  # fmt: skip
def test_void_truncated_and_failed_replies(reply: str, finish: str | None, error: str | None, problem: str) -> None:
    reading = read_reply(TEXT, SPANS, CUT, reply, finish_reason=finish, error=error)
    assert (reading.pairs, reading.problem) == ([], problem)


def test_prompt_examples_obey_their_own_rules() -> None:
    prompt = load_prompt()
    users = [message["content"] for message in prompt.messages if message["role"] == "user"]
    replies = [message["content"] for message in prompt.messages if message["role"] == "assistant"]
    for page, reply in zip(users, replies, strict=True):
        text = "\n".join(line.split(" ", 1)[1] for line in page.split("\n"))
        spans = line_spans(text)
        assert messages_for(prompt, text, spans, Cut(1, len(spans)))[-1]["content"] == page
        assert read_reply(text, spans, Cut(1, len(spans)), reply).problem == ""
    assert prompt.tokens < 700
