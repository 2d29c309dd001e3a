"""Asset ``benchmark_scores``: how one recipe's checkpoint does on one benchmark, item by item.

Partitioned by benchmark and recipe; reads ``benchmark_items``, ``trained_checkpoint`` and the scores of the
recipe's base model (its zero-step recipe), which was evaluated by the same harness and stands beside it.
Few-shot chain of thought, greedy, with the paper's shots (§4.1).
"""

from collections.abc import Sequence
from typing import Any

import polars as pl

from webinstruct_assets.core.errors import QualityGate
from webinstruct_assets.core.ids import digest_file, row_id
from webinstruct_assets.core.intervals import wilson
from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.stage import Job, Stage, Unit
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.benchmarks.benchmark_items import benchmark_config
from webinstruct_assets.stages.benchmarks.sources import require_file
from webinstruct_assets.stages.evaluation.demonstrations import (
    check_not_tested,
    demonstrations,
    document,
    shown_document,
)
from webinstruct_assets.stages.evaluation.harness import Answer, evaluate
from webinstruct_assets.stages.sft.recipes import base_recipe, is_base, recipe_config, root_recipe

# id: bs-…      parent_id: bi-… of the item      item_id: the item's own id
# prompt, completion: exactly what was sent and what came back      extracted: the answer found in it, null if none
# answer: gold      correct: the grader's verdict      base_correct: the base model's, null for the base itself
# finish_reason: stop, length, or error (no reply; counts as wrong)      tokens_in, tokens_out: as the server counted
SCHEMA: dict[str, Any] = {
    "id": pl.String(),
    "parent_id": pl.String(),
    "item_id": pl.String(),
    "prompt": pl.String(),
    "completion": pl.String(),
    "extracted": pl.String(),
    "answer": pl.String(),
    "correct": pl.Boolean(),
    "base_correct": pl.Boolean(),
    "finish_reason": pl.String(),
    "tokens_in": pl.Int32(),
    "tokens_out": pl.Int32(),
}

# More requests than this without a reply and the score says something about the server, not the model.
MAX_ERRORS = 0.05


def inputs(ws: Workspace, key: PartitionKey) -> Sequence[Ref]:
    """The items, the checkpoint, and the base model's scores for any other recipe."""
    refs = [
        Ref("benchmark_items", PartitionKey.of({"benchmark": key["benchmark"]})),
        Ref("trained_checkpoint", PartitionKey.of({"recipe": key["recipe"]})),
    ]
    base = base_recipe(ws, key["recipe"])
    if base:
        refs.append(Ref("benchmark_scores", PartitionKey.of({"benchmark": key["benchmark"], "recipe": base})))
    return refs


def settings(ws: Workspace, key: PartitionKey) -> dict[str, Any]:
    """The protocol: demonstrations by digest, shots, grader, lengths, the items' limit."""
    name = key["benchmark"]
    config = benchmark_config(ws, name)
    fewshot = digest_file(require_file(name, ws.path(config.fewshot), "fewshot file")) if config.shots else None
    model = ws.model_spec(root_recipe(ws, key["recipe"]).base_model)
    return {
        "fewshot_sha256": fewshot, "shots": config.shots, "grader": config.grader, "limit": config.limit,
        "max_output_tokens": config.max_output_tokens, "max_model_len": model.max_model_len,
    }  # fmt: skip


def run(job: Job) -> None:
    """Evaluates in one unit; a kill costs little, since answered requests come back from the ledger."""
    (items,) = job.manifests("benchmark_items")
    job.unit("00000", lambda: _evaluate(job))
    total, correct = int(job.count("items")), int(job.count("correct"))
    low, high = wilson(correct, total)
    job.metrics.update(
        accuracy=round(correct / total, 6), ci_low=round(low, 6), ci_high=round(high, 6), items=total,
        items_in_benchmark=items.rows, unparsed=int(job.count("unparsed")), errors=int(job.count("errors")),
        cut_off=int(job.count("cut_off")), shots=job.settings["shots"],
        tokens_in=int(job.count("tokens_in")), tokens_out=int(job.count("tokens_out")),
    )  # fmt: skip
    for base in job.manifests("benchmark_scores"):
        accuracy = base.metrics["accuracy"]
        job.metrics.update(
            base_recipe=base.keys["recipe"], base_accuracy=accuracy, delta=round(job.metrics["accuracy"] - accuracy, 6)
        )


def limited(items: pl.DataFrame, limit: int | None) -> pl.DataFrame:
    """At most ``limit`` items in the source's order: those with the lowest ids, which are digests, so any subject's."""
    if limit is None or items.height <= limit:
        return items
    return items.filter(pl.col("id").is_in(items["id"].sort()[:limit].to_list()))


def _evaluate(job: Job) -> Unit:
    name, recipe = job.key["benchmark"], job.key["recipe"]
    config = benchmark_config(job.ws, name)
    every_item = job.read("benchmark_items")
    items = limited(every_item, config.limit).to_dicts()
    path = job.ws.path(config.fewshot)
    shown = demonstrations(name, config, path)
    check_not_tested(path, shown, every_item["question"].to_list())
    documents = [
        document(item["question"], item["choices"], item["answer"], item["item_id"], item["answer"]) for item in items
    ]

    (checkpoint,) = job.manifests("trained_checkpoint")
    identity = f"trained_checkpoint/{recipe}@{checkpoint.data_version}"
    like = root_recipe(job.ws, recipe).base_model
    # A zero-step recipe is the configured model itself, which may be on an endpoint or on a server that is up.
    model = job.input_file("trained_checkpoint", "model")
    served = (
        job.ws.llm(like, job.log)
        if is_base(recipe_config(job.ws, recipe))
        else job.ws.serve(model, recipe, identity, job.log, like=like)
    )
    with served as client:
        job.progress.start(len(items), "items")
        answers = evaluate(
            name, config, documents, [shown_document(item) for item in shown], client, job.progress.advance
        )

    errors = [answer.reply.error for answer in answers if answer.reply.error is not None]
    if len(errors) > MAX_ERRORS * len(answers):
        raise QualityGate(
            f"{recipe!r} on {name!r}: {len(errors)} of {len(answers)} items got no reply, e.g.: {errors[0]}",
            "raise max_model_len of the base model in the environment if prompts are too long; look at the server's log",
        )
    base_correct = _base_verdicts(job)
    rows = [
        _row(item, recipe, answer, base_correct.get(item["item_id"]))
        for item, answer in zip(items, answers, strict=True)
    ]
    return Unit(rows=rows, rows_in=len(items), counts=_counts(answers))


def _base_verdicts(job: Job) -> dict[str, bool]:
    if not job.manifests("benchmark_scores"):
        return {}
    frame = job.read("benchmark_scores")
    return dict(zip(frame["item_id"], frame["correct"], strict=True))


def _row(item: dict[str, Any], recipe: str, answer: Answer, base_correct: bool | None) -> dict[str, Any]:
    reply, verdict = answer.reply, answer.verdict
    return {
        "id": row_id("bs", item["id"], recipe), "parent_id": item["id"], "item_id": item["item_id"],
        "prompt": answer.prompt, "completion": reply.text, "extracted": verdict.extracted, "answer": item["answer"],
        "correct": verdict.correct, "base_correct": base_correct,
        "finish_reason": "error" if reply.error is not None else reply.finish_reason,
        "tokens_in": reply.tokens_in, "tokens_out": reply.tokens_out,
    }  # fmt: skip


def _counts(answers: Sequence[Answer]) -> dict[str, float]:
    return {
        "items": len(answers),
        "correct": sum(answer.verdict.correct for answer in answers),
        "unparsed": sum(answer.verdict.extracted is None for answer in answers),
        "errors": sum(answer.reply.error is not None for answer in answers),
        "cut_off": sum(answer.reply.finish_reason == "length" for answer in answers),
        "tokens_in": sum(answer.reply.tokens_in for answer in answers),
        "tokens_out": sum(answer.reply.tokens_out for answer in answers),
    }


BENCHMARK_SCORES = Stage(
    asset="benchmark_scores",
    dimensions=("benchmark", "recipe"),
    prefix="bs",
    schema=SCHEMA,
    run=run,
    inputs=inputs,
    settings=settings,
    sources=("stages/evaluation/*.py", "stages/evaluation/tasks/*.yaml"),
)
