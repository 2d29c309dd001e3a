"""Asset ``verified_qa``: pairs of the dataset whose given answer a model finds again, with how hard they are.

Off by default: without ``verification.model`` the partition is empty. In: ``webinstruct``. A model solves each question
``attempts`` times, each with its own seed, without seeing the answer. Out: pairs whose given answer is what most
attempts say. Every other pair is a reject: ``no_final_answer`` (prose has no result to compare), ``majority_differs``,
``no_majority`` (ties, or nothing readable), ``always_solved`` (where ``drop_extremes`` is on: nothing to learn from, as in
General-Reasoner; what is never solved has no majority for it anyway), ``llm_error``.

Columns: ``id``; ``parent_id`` (row of ``webinstruct``); ``url``; ``question``; ``answer``; ``final_answer``;
``answer_type``; ``subject``; ``level``; ``attempts``; ``right`` (attempts that end in the given answer); ``pass_rate``
(right / attempts); ``difficulty`` (easy from 0.75 up, medium from 0.375, hard below); ``model`` (identity).

Source: General-Reasoner (arXiv 2505.14652) on WebInstruct-verified: 8 samples a question, 0/8 and 8/8 dropped.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from webinstruct_assets.core.config import Section, load_yaml, settings_of
from webinstruct_assets.core.ids import digest_json, row_id
from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.llm.client import LlmReply, LlmRequest
from webinstruct_assets.core.stage import Job, Reject, Stage, Unit
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.refinement.answers import same_final

PREFIX = "vf"
PROMPT = Path(__file__).parent / "prompts/solve.yaml"
SCHEMA: dict[str, pl.DataType] = {
    "id": pl.String(),
    "parent_id": pl.String(),
    "url": pl.String(),
    "question": pl.String(),
    "answer": pl.String(),
    "final_answer": pl.String(),
    "answer_type": pl.String(),
    "subject": pl.String(),
    "level": pl.String(),
    "attempts": pl.Int32(),
    "right": pl.Int32(),
    "pass_rate": pl.Float64(),
    "difficulty": pl.String(),
    "model": pl.String(),
}
PAIRS_PER_UNIT = 64
EASY, MEDIUM = 0.75, 0.375


class SolvePrompt(Section):
    """The prompt file."""

    system: str
    user: str


def settings(ws: Workspace, key: PartitionKey) -> dict[str, Any]:
    """The model, how it is asked, and what counts; nothing while verification is off."""
    config = ws.config.verification
    if config.model is None:
        return {"model": None}
    prompt = digest_json(load_yaml(PROMPT, SolvePrompt).model_dump())[:16]
    return {**settings_of(config), "model": ws.model_identity(config.model), "prompt_hash": prompt}


def run(job: Job) -> None:
    """Asks and compares, a few dozen pairs per unit."""
    if job.settings["model"] is None:
        job.metrics["note"] = "verification is off; name a model under `verification:` in the environment"
        return
    pairs = job.read("webinstruct").sort("id")
    job.progress.start(pairs.height * job.settings["attempts"], "attempts")
    for number, start in enumerate(range(0, pairs.height, PAIRS_PER_UNIT)):
        chunk = pairs.slice(start, PAIRS_PER_UNIT).to_dicts()
        job.unit(f"{number:05}", partial(_unit, job, chunk))
    counts = job.counts
    job.metrics |= {
        "pairs": pairs.height,
        "verified": int(counts.get("verified", 0)),
        "tokens_in": int(counts.get("tokens_in", 0)),
        "tokens_out": int(counts.get("tokens_out", 0)),
        "model": job.settings["model"],
        "by_difficulty": {name: int(counts.get(name, 0)) for name in ("easy", "medium", "hard")},
    }


def _unit(job: Job, pairs: Sequence[Mapping[str, Any]]) -> Unit:
    comparable = [pair for pair in pairs if pair["answer_type"] != "prose"]
    job.progress.advance((len(pairs) - len(comparable)) * job.settings["attempts"])
    replies = _solved(job, comparable)
    rows: list[dict[str, Any]] = []
    rejects = [
        Reject(row_id(PREFIX, pair["id"]), pair["id"], "no_final_answer", pair["answer"][:200])
        for pair in pairs
        if pair["answer_type"] == "prose"
    ]
    for pair in comparable:
        identity, given = row_id(PREFIX, pair["id"]), replies[pair["id"]]
        outcome = judge(pair, given, drop_extremes=job.settings["drop_extremes"])
        if isinstance(outcome, str):
            reason, _, detail = outcome.partition(": ")
            rejects.append(Reject(identity, pair["id"], reason, detail))
            continue
        copied = ("url", "question", "answer", "final_answer", "answer_type", "subject", "level")
        rate = outcome / len(given)
        rows.append(
            {
                "id": identity,
                "parent_id": pair["id"],
                **{name: pair[name] for name in copied},
                "attempts": len(given),
                "right": outcome,
                "pass_rate": rate,
                "difficulty": difficulty(rate),
                "model": job.settings["model"],
            }
        )
    counts = {
        "verified": len(rows),
        "tokens_in": sum(reply.tokens_in for group in replies.values() for reply in group),
        "tokens_out": sum(reply.tokens_out for group in replies.values() for reply in group),
        **{name: sum(row["difficulty"] == name for row in rows) for name in ("easy", "medium", "hard")},
    }
    return Unit(rows=rows, rejects=rejects, rows_in=len(pairs), counts=counts)


def _solved(job: Job, pairs: Sequence[Mapping[str, Any]]) -> dict[str, list[LlmReply]]:
    """All attempts at each pair's question."""
    attempts = job.settings["attempts"]
    requests = [request for pair in pairs for request in solve_requests(pair, job.settings)]
    if not requests:
        return {}
    model = job.ws.config.verification.model
    assert model is not None
    with job.ws.llm(model, job.log) as client:
        replies = client.complete(requests, on_reply=lambda index, reply: job.progress.advance(1))
    return {pair["id"]: replies[n * attempts : (n + 1) * attempts] for n, pair in enumerate(pairs)}


def solve_requests(pair: Mapping[str, Any], settings: Mapping[str, Any]) -> list[LlmRequest]:
    """One request per attempt; they differ in their seed only."""
    prompt = load_yaml(PROMPT, SolvePrompt)
    messages = (
        {"role": "system", "content": prompt.system.strip()},
        {"role": "user", "content": prompt.user.replace("{question}", pair["question"]).strip()},
    )
    return [
        LlmRequest(
            messages=messages,
            max_tokens=settings["max_output_tokens"],
            temperature=settings["temperature"],
            seed=settings["seed"] + attempt,
            tag=pair["id"],
        )
        for attempt in range(settings["attempts"])
    ]


def judge(pair: Mapping[str, Any], replies: Sequence[LlmReply], *, drop_extremes: bool) -> int | str:
    """How many attempts end in the given answer; or, where the pair is not verified, ``reason: detail``.

    Attempts that end alike are one camp; the given answer is confirmed when its camp is larger than every other.
    """
    answered = [reply.text for reply in replies if reply.error is None]
    if not answered:
        return f"llm_error: {replies[0].error}"
    camps: list[list[str]] = []
    right = 0
    for text in answered:
        if same_final(pair["question"], pair["answer"], text).same:
            right += 1
            continue
        final = same_final(pair["question"], text, text)
        if final.after.kind == "prose":
            continue  # says nothing that could be compared
        for camp in camps:
            if same_final(pair["question"], camp[0], text).same:
                camp.append(text)
                break
        else:
            camps.append([text])
    others = max((len(camp) for camp in camps), default=0)
    said = f"{right} of {len(replies)} attempts end in {pair['final_answer']!r}"
    if right == 0 and not others:
        return f"no_majority: {said}, and none in anything that can be compared"
    if right < others:
        return f"majority_differs: {said}, {others} in another answer"
    if right == others:
        return f"no_majority: {said}, {others} in another answer"
    if drop_extremes and right == len(replies):
        return f"always_solved: {said}"
    return right


def difficulty(pass_rate: float) -> str:
    """``easy``, ``medium`` or ``hard`` by how often the model is right."""
    return "easy" if pass_rate >= EASY else "medium" if pass_rate >= MEDIUM else "hard"


VERIFIED_QA = Stage(
    asset="verified_qa",
    dimensions=("snapshot",),
    by_profile=True,
    prefix=PREFIX,
    schema=SCHEMA,
    run=run,
    inputs=lambda ws, key: [Ref("webinstruct", key)],
    settings=settings,
    sources=(
        "stages/verification/*.py",
        "stages/verification/prompts/*",
        "stages/refinement/answers.py",
        "stages/decontamination/words.py",
    ),
    may_be_empty=lambda ws, key: ws.config.verification.model is None,
)
