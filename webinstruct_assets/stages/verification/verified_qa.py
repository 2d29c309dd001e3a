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
from webinstruct_assets.core.stage import AskedUnit, Job, Reject, Stage, Unit
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
    model = job.ws.config.verification.model
    if model is None:
        job.metrics["note"] = "verification is off; name a model under `verification:` in the environment"
        return
    (manifest,) = job.manifests("webinstruct")
    job.progress.start(manifest.rows, "pairs")
    with job.ws.llm(model, job.log) as client:
        chunks = (chunk for part in job.parts("webinstruct") for chunk in part.iter_slices(PAIRS_PER_UNIT))
        job.ask(client, (partial(_Solving, job, chunk.to_dicts()) for chunk in chunks))
    counts = job.counts
    job.metrics |= {
        "pairs": manifest.rows,
        "verified": int(counts.get("verified", 0)),
        "tokens_in": int(counts.get("tokens_in", 0)),
        "tokens_out": int(counts.get("tokens_out", 0)),
        "model": job.settings["model"],
        "by_difficulty": {name: int(counts.get(name, 0)) for name in ("easy", "medium", "hard")},
    }


class _Solving(AskedUnit):
    """Some pairs whose questions are being solved: all attempts at one, then all at the next."""

    def __init__(self, job: Job, pairs: Sequence[Mapping[str, Any]]):
        self._job, self._pairs = job, pairs
        self._comparable = [pair for pair in pairs if pair["answer_type"] != "prose"]
        self.requests = [request for pair in self._comparable for request in solve_requests(pair, job.settings)]
        self._waiting = [job.settings["attempts"]] * len(self._comparable)
        job.progress.advance(len(pairs) - len(self._comparable))

    def heard(self, index: int, attempt: int, reply: LlmReply) -> None:
        pair = index // self._job.settings["attempts"]
        self._waiting[pair] -= 1
        self._job.progress.advance(int(not self._waiting[pair]))

    def made_of(self, replies: Sequence[LlmReply]) -> Unit:
        settings = self._job.settings
        rows: list[dict[str, Any]] = []
        rejects = [
            Reject(row_id(PREFIX, pair["id"]), pair["id"], "no_final_answer", pair["answer"][:200])
            for pair in self._pairs
            if pair["answer_type"] == "prose"
        ]
        attempts = settings["attempts"]
        for number, pair in enumerate(self._comparable):
            identity, given = row_id(PREFIX, pair["id"]), replies[number * attempts : (number + 1) * attempts]
            outcome = judge(pair, given, drop_extremes=settings["drop_extremes"])
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
                    "model": settings["model"],
                }
            )
        counts = {
            "verified": len(rows),
            "tokens_in": sum(reply.tokens_in for reply in replies),
            "tokens_out": sum(reply.tokens_out for reply in replies),
            **{name: sum(row["difficulty"] == name for row in rows) for name in ("easy", "medium", "hard")},
        }
        return Unit(rows=rows, rejects=rejects, rows_in=len(self._pairs), counts=counts)


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

    Attempts that end alike are one camp; the given answer is confirmed when its camp is larger than every other. An
    attempt that was cut off has no end: what stands last in it is no answer.
    """
    if all(reply.error is not None for reply in replies):
        return f"llm_error: {replies[0].error}"
    answered = [reply.text for reply in replies if reply.error is None and reply.finish_reason != "length"]
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
    may_be_empty=lambda ws, key: True,  # off, or the model finds no answer again: the rejects say so
)
