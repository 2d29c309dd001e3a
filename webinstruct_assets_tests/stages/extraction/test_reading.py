"""Replies of the model, as recorded: what is used, and the reason why the rest is not."""

import json

import pytest
from jsonschema import validate

from webinstruct_assets.core.llm.tokens import chat_tokens
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.extraction.lines import Cut, line_spans
from webinstruct_assets.stages.extraction.prompt import load_prompt, messages_for
from webinstruct_assets.stages.extraction.reading import read_reply
from webinstruct_assets.stages.pages.document import joined

TEXT = "# Sheet\nFind the sum of 3 and 4.\nIt is 7.\nWhat is 5 times 6?\nThirty.\nThe weather was fine.\nAnswer:"
SPANS = line_spans(TEXT)
CUT = Cut(1, 7)


def pair(question: str, answer: str, kind: str = "solution") -> str:
    return f'{{"question":"{question}","answer":"{answer}","kind":"{kind}"}}'


def test_valid_pairs_are_verbatim() -> None:
    reply = f'{{"pairs":[{pair("2", "3")},{pair("4", "5-6", "final_answer")}]}}'
    reading = read_reply("point", TEXT, SPANS, CUT, reply)
    assert (reading.problem, reading.not_asking) == ("", 0)
    assert [(joined(TEXT, p.question_spans), joined(TEXT, p.answer_spans), p.kind) for p in reading.pairs] == [
        ("Find the sum of 3 and 4.", "It is 7.", "solution"),
        ("What is 5 times 6?", "Thirty.\nThe weather was fine.", "final_answer"),
    ]


@pytest.mark.parametrize(
    ("question", "answer", "why"),
    [
        ("2", "3-30", "outside"), ("0-2", "3", "outside"), ("3-2", "5", "outside"),
        ("2-3", "3", "overlap"), ("4", "3", "before"),
        ("2", "7", "label"),
    ],
)  # fmt: skip
def test_invalid_ranges(question: str, answer: str, why: str) -> None:
    reading = read_reply("point", TEXT, SPANS, CUT, f'{{"pairs":[{pair(question, answer)}]}}')
    assert (reading.pairs, reading.problem) == ([], "llm_invalid_range")
    assert why in reading.detail


def test_ranges_outside_the_cut_are_invalid() -> None:
    reading = read_reply("point", TEXT, SPANS, Cut(4, 7), f'{{"pairs":[{pair("1", "5")}]}}')
    assert reading.problem == "llm_invalid_range"
    reading = read_reply("point", TEXT, SPANS, Cut(4, 7), f'{{"pairs":[{pair("1", "2")}]}}')
    assert [(found.question, found.answer) for found in reading.pairs] == [("What is 5 times 6?", "Thirty.")]


def test_valid_pairs_survive_an_invalid_one() -> None:
    reading = read_reply("point", TEXT, SPANS, CUT, f'{{"pairs":[{pair("2", "3")},{pair("4", "3")}]}}')
    assert len(reading.pairs) == 1 and reading.problem == "llm_invalid_range"


def test_questions_that_do_not_ask_are_left_out() -> None:
    reading = read_reply("point", TEXT, SPANS, CUT, f'{{"pairs":[{pair("3", "6")}]}}')
    assert (reading.pairs, reading.problem, reading.not_asking) == ([], "", 1)


@pytest.mark.parametrize(
    ("reply", "finish", "error", "problem"),
    [
        ('{"pairs":[]}', "stop", None, ""), ('{"pairs":[{"question":"2', "length", None, "llm_truncated"),
        ("", None, "HTTP 500", "llm_error"), ("", "stop", None, "llm_refused"), ("no", "content_filter", None, "llm_refused"), ("no JSON", "stop", None, "llm_error"), ("[]", "stop", None, "llm_error"),
        ('{"pairs":[{"question":"2-x","answer":"3"}]}', "stop", None, "llm_error"),
    ],
)  # fmt: skip
def test_void_truncated_and_failed_replies(reply: str, finish: str | None, error: str | None, problem: str) -> None:
    reading = read_reply("point", TEXT, SPANS, CUT, reply, finish_reason=finish, error=error)
    assert (reading.pairs, reading.problem) == ([], problem)


def test_ranges_skip_lines_and_share_a_stem() -> None:
    text = "A cart has 2 kg.\nAdvertisement\nFind its weight.\n19.6 N\nWhat force gives it 3 m/s²?\n6 N"
    reply = f'{{"pairs":[{pair("1,3", "4")},{pair("1,5", "6")}]}}'
    reading = read_reply("point", text, line_spans(text), Cut(1, 6), reply)
    assert [(found.question, found.answer) for found in reading.pairs] == [
        ("A cart has 2 kg.\nFind its weight.", "19.6 N"),
        ("A cart has 2 kg.\nWhat force gives it 3 m/s²?", "6 N"),
    ]


def test_retyped_pairs_are_looked_up_on_the_page() -> None:
    invented = pair("What is 5 times 6?", "Thirty, of course.")
    reply = f'{{"pairs":[{pair("Find the sum of 3 and 4", "It is 7")},{invented},{pair("Nothing", "at all")}]}}'
    reading = read_reply("rewrite", TEXT, SPANS, CUT, reply)
    assert [(found.answer, joined(TEXT, found.answer_spans)) for found in reading.pairs] == [
        ("It is 7", "It is 7."),
        ("Thirty, of course.", ""),  # flagged by having no spans
    ]
    assert reading.not_asking == 1


@pytest.mark.parametrize("mode", ["point", "rewrite"])
def test_prompt_examples_obey_their_own_rules(workspace: Workspace, mode: str) -> None:
    prompt = load_prompt(mode)
    users = [message["content"] for message in prompt.messages if message["role"] == "user"]
    replies = [message["content"] for message in prompt.messages if message["role"] == "assistant"]
    for page, reply in zip(users, replies, strict=True):
        lines = page.split("\n")
        text = "\n".join(line.split(" ", 1)[1] for line in lines) if mode == "point" else page
        spans = line_spans(text)
        assert messages_for(prompt, text, spans, Cut(1, len(spans)))[-1]["content"] == page
        reading = read_reply(mode, text, spans, Cut(1, len(spans)), reply)
        assert reading.problem == "" and all(found.answer_spans for found in reading.pairs)
        validate(json.loads(reply), prompt.schema)
    assert chat_tokens(workspace.token_counts("smollm2-135m", print), prompt.messages) < 900
