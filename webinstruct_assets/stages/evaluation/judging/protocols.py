"""What each protocol asks its judge about a conversation, and what it reads in the replies.

In: an item, the model's answers and a task file (``tasks/mt_bench.yaml`` …). Out: ``Judged``. Every judge answers
greedily; what it was asked and what it said stands in the rows.

* ``mt_bench``: each turn is rated from 1 to 10, on its own (the second with the first in sight). Questions of maths, coding
  and reasoning with reference answers are rated beside those.
* ``alpaca_eval``: one of two unordered answers is named; its log probability weighs the preference where the endpoint gives
  it, else the named one is preferred wholly. Which answer stands first follows from the item's id.
* ``arena_hard``: two games with the answers swapped, five verdicts, of which the two strong ones count three times.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from webinstruct_assets.core.config import Section, load_yaml
from webinstruct_assets.core.llm.client import LlmReply, LlmRequest
from webinstruct_assets.core.progress import Progress

if TYPE_CHECKING:
    from webinstruct_assets.core.llm.client import LlmClient

TASKS = Path(__file__).parents[1] / "tasks"
NO_VERDICT, JUDGE_ERROR = "no_verdict", "judge_error"
BEST_RATING = 10
# FastChat judges these beside a reference answer (llm_judge/common.py, NEED_REF_CATS).
WITH_REFERENCE = ("math", "reasoning", "coding")
RATING = (re.compile(r"\[\[(\d+\.?\d*)\]\]"), re.compile(r"\[(\d+\.?\d*)\]"))
FIRST, SECOND = "m", "M"  # what AlpacaEval's prompt calls the two answers
VERDICT = re.compile(r"\[\[([AB<>=]+)\]\]")
SWAPPED = str.maketrans("AB", "BA")
# What a verdict is worth to assistant A, and how many battles it is (arena-hard-auto, get_battles_from_judgment).
GAMES = {"A>>B": (1.0, 3), "A>B": (1.0, 1), "A=B": (0.5, 1), "B>A": (0.0, 1), "B>>A": (0.0, 3)}


class Prompt(Section):
    """A system and a user message with {placeholders}."""

    system: str
    user: str


class JudgeTask(Section):
    """A task file: the judge's prompts and decoding, and the model's temperature by subject (0 elsewhere)."""

    max_tokens: int
    top_logprobs: int = 0
    temperatures: dict[str, float] = Field(default_factory=dict)
    prompts: dict[str, Prompt]
    again: str | None = None


def judge_task(name: str) -> JudgeTask:
    """The task file of a protocol."""
    return load_yaml(TASKS / f"{name}.yaml", JudgeTask)


@dataclass(frozen=True)
class Judgement:
    """One question to the judge, its whole answer, and the verdict that was read in it (None: none, or no answer)."""

    request: LlmRequest
    reply: LlmReply
    verdict: str | None = None


@dataclass(frozen=True)
class Judged:
    """What a protocol makes of its judgements of an item.

    ``score``: share of the best that there is, from 0 to 1 (a rating over 10; the preference over the baseline), None
    without any verdict. ``weight``: what the item weighs in the benchmark's score. ``failure``: why a verdict is missing.
    """

    score: float | None
    weight: float
    judgements: tuple[Judgement, ...]
    failure: str | None

    @property
    def verdict(self) -> str | None:
        """The verdicts as they are read, None if there is none at all."""
        found = [judgement.verdict for judgement in self.judgements]
        return ", ".join(verdict or "none" for verdict in found) if any(found) else None

    def as_json(self) -> str:
        """The judgements as the column ``judgements`` holds them."""
        return json.dumps(
            [
                {
                    "prompt": judgement.request.messages, "reply": judgement.reply.text, "error": judgement.reply.error,
                    "logprobs": judgement.reply.logprobs, "verdict": judgement.verdict,
                    "tokens_in": judgement.reply.tokens_in, "tokens_out": judgement.reply.tokens_out,
                }
                for judgement in self.judgements
            ],
            ensure_ascii=False,
        )  # fmt: skip


@dataclass(frozen=True)
class Protocol:
    """``ask``: the questions about an item. ``read``: the verdict in a reply, for the n-th question. ``score``: (score, weight)."""

    ask: Callable[[JudgeTask, Mapping[str, Any], Sequence[str]], list[LlmRequest]]
    read: Callable[[Mapping[str, Any], int, LlmReply], str | None]
    score: Callable[[Sequence[str]], tuple[float, float]]


def judge(
    name: str, items: Sequence[Mapping[str, Any]], answers: Sequence[Sequence[str]], client: "LlmClient", progress: Progress
) -> list[Judged]:  # fmt: skip
    """The verdicts on every item's answers, in order.

    A reply without a verdict is asked for a second time where the protocol has it so (Arena-Hard), and a judge that refuses
    log probabilities is asked without them.
    """
    task, protocol = judge_task(name), PROTOCOLS[name]
    questions = [protocol.ask(task, item, said) for item, said in zip(items, answers, strict=True)]
    flat = [request for requests in questions for request in requests]
    progress.start(len(flat), "questions to the judge")
    replies = client.complete(flat, on_reply=lambda index, reply: progress.advance())
    again = {
        n: more for n, (request, reply) in enumerate(zip(flat, replies, strict=True)) if (more := _again(task, request, reply))
    }  # fmt: skip
    for n, reply in zip(again, client.complete(list(again.values())), strict=True):
        replies[n] = reply if replies[n].error else _joined(replies[n], reply)
    asked = iter(zip(flat, replies, strict=True))
    judged = []
    for item, requests in zip(items, questions, strict=True):
        found = [Judgement(*next(asked)) for _ in requests]
        judged.append(_judged(protocol, item, found))
    return judged


def _joined(first: LlmReply, second: LlmReply) -> LlmReply:
    return replace(
        second,
        text=f"{first.text}\n{second.text}",
        tokens_in=first.tokens_in + second.tokens_in,
        tokens_out=first.tokens_out + second.tokens_out,
    )


def _judged(protocol: Protocol, item: Mapping[str, Any], found: list[Judgement]) -> Judged:
    read = tuple(
        replace(judgement, verdict=None if judgement.reply.error else protocol.read(item, n, judgement.reply))
        for n, judgement in enumerate(found)
    )
    verdicts = [judgement.verdict for judgement in read if judgement.verdict is not None]
    failure = None
    if len(verdicts) < len(read):
        failure = JUDGE_ERROR if any(judgement.reply.error for judgement in read) else NO_VERDICT
    score, weight = protocol.score(verdicts) if verdicts else (None, 0.0)
    return Judged(score, weight, read, failure)


def _again(task: JudgeTask, request: LlmRequest, reply: LlmReply) -> LlmRequest | None:
    if reply.error:
        return replace(request, top_logprobs=0) if request.top_logprobs else None
    if task.again is None or VERDICT.search(reply.text):
        return None
    said = ({"role": "assistant", "content": reply.text}, {"role": "user", "content": task.again})
    return replace(request, messages=(*(request.messages or ()), *said))


def _request(task: JudgeTask, prompt: str, item: Mapping[str, Any], **values: str) -> LlmRequest:
    """Placeholders are filled in one pass, so that nothing in a model's text is taken for one."""

    def filled(text: str) -> str:
        return re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], found[0]), text)

    parts = task.prompts[prompt]
    return LlmRequest(
        messages=({"role": "system", "content": parts.system}, {"role": "user", "content": filled(parts.user)}),
        max_tokens=task.max_tokens,
        top_logprobs=task.top_logprobs,
        tag=item["item_id"],
    )


# -- MT-Bench ---------------------------------------------------------------------------------------------


def has_reference(item: Mapping[str, Any]) -> bool:
    """Whether an item of MT-Bench is judged beside reference answers: its category asks for them and all are there."""
    return item["subject"] in WITH_REFERENCE and len(item["references"] or ()) == len(item["turns"])


def _ask_rating(task: JudgeTask, item: Mapping[str, Any], answers: Sequence[str]) -> list[LlmRequest]:
    values = {f"question_{n}": turn for n, turn in enumerate(item["turns"], 1)}
    values |= {f"answer_{n}": answer for n, answer in enumerate(answers, 1)}
    kind = ""
    if has_reference(item):
        kind = "_with_reference"
        values |= {f"reference_{n}": reference for n, reference in enumerate(item["references"], 1)}
    prompts = ("first_turn", "second_turn")[: len(answers)]
    return [_request(task, f"{prompt}{kind}", item, **values) for prompt in prompts]


def _read_rating(item: Mapping[str, Any], number: int, reply: LlmReply) -> str | None:
    found = next((match for pattern in RATING if (match := pattern.search(reply.text))), None)
    return found[1] if found and 1 <= float(found[1]) <= BEST_RATING else None


def _score_ratings(verdicts: Sequence[str]) -> tuple[float, float]:
    return sum(map(float, verdicts)) / len(verdicts) / BEST_RATING, 1.0


# -- AlpacaEval -------------------------------------------------------------------------------------------


def model_is_first(item: Mapping[str, Any]) -> bool:
    """Whether the model's answer stands first (and is called "m"): for every other item, by its id."""
    return hashlib.sha256(str(item["item_id"]).encode()).digest()[0] % 2 == 0


def _ask_preference(task: JudgeTask, item: Mapping[str, Any], answers: Sequence[str]) -> list[LlmRequest]:
    pair = [item["references"][0], answers[0]]
    if model_is_first(item):
        pair.reverse()
    return [_request(task, "pair", item, instruction=item["turns"][0], output_1=pair[0], output_2=pair[1])]


def _read_preference(item: Mapping[str, Any], number: int, reply: LlmReply) -> str | None:
    """The probability that the model's answer is the better one, as alpaca_eval's ``logprob_parser`` has it."""
    given = {name: math.exp(p) for name, p in (reply.logprobs or {}).items() if name in (FIRST, SECOND)}
    if given:
        second = given.get(SECOND, 0.0) / sum(given.values())
    elif reply.text.strip() in (FIRST, SECOND):
        second = float(reply.text.strip() == SECOND)
    else:
        return None
    return f"{1 - second if model_is_first(item) else second:.6f}"


def _score_preference(verdicts: Sequence[str]) -> tuple[float, float]:
    return float(verdicts[0]), 1.0


# -- Arena-Hard -------------------------------------------------------------------------------------------


def _ask_games(task: JudgeTask, item: Mapping[str, Any], answers: Sequence[str]) -> list[LlmRequest]:
    baseline, answer = item["references"][0], answers[0]
    return [
        _request(task, "pair", item, question=item["turns"][0], answer_a=first, answer_b=second)
        for first, second in ((baseline, answer), (answer, baseline))
    ]


def _read_game(item: Mapping[str, Any], number: int, reply: LlmReply) -> str | None:
    """The verdict as one on the model (A) and the baseline (B); the first game has them the other way round."""
    found = set(VERDICT.findall(reply.text))
    if len(found) != 1 or (verdict := found.pop()) not in GAMES:
        return None
    return verdict if number == 1 or verdict == "A=B" else verdict.translate(SWAPPED)


def _score_games(verdicts: Sequence[str]) -> tuple[float, float]:
    games = [GAMES[verdict] for verdict in verdicts]
    weight = sum(battles for _, battles in games)
    return sum(worth * battles for worth, battles in games) / weight, float(weight)


PROTOCOLS = {
    "mt_bench": Protocol(_ask_rating, _read_rating, _score_ratings),
    "alpaca_eval": Protocol(_ask_preference, _read_preference, _score_preference),
    "arena_hard": Protocol(_ask_games, _read_game, _score_games),
}
