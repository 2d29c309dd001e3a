"""Asset ``benchmark_scores``: how one recipe's checkpoint does on one benchmark, item by item.

Partitioned by benchmark and recipe; reads ``benchmark_items``, ``trained_checkpoint`` and the scores of the
recipe's base model (its zero-step recipe), which was evaluated by the same harness and stands beside it.
Few-shot chain of thought, greedy, with the paper's shots (§4.1). Two graders judge every completion: the corrected one,
whose verdict counts, and the paper's (``graders``). Items whose wording was found in what this very checkpoint's data
was made from are flagged, and every score stands a second time without them.
"""

from collections.abc import Sequence
from typing import Any

import polars as pl

from webinstruct_assets.core.errors import QualityGate
from webinstruct_assets.core.ids import digest_file, row_id
from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.stage import Job, Stage, Unit
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.benchmarks.benchmark_items import benchmark_config
from webinstruct_assets.stages.benchmarks.items import Item
from webinstruct_assets.stages.benchmarks.sources import require_file
from webinstruct_assets.stages.evaluation.contamination import contaminated_items, data_behind
from webinstruct_assets.stages.evaluation.demonstrations import (
    check_not_tested,
    check_subjects,
    demonstrations,
    document,
    shown_document,
)
from webinstruct_assets.stages.evaluation.harness import Answer, evaluate
from webinstruct_assets.stages.evaluation.sandbox.run import sandbox_mode
from webinstruct_assets.stages.evaluation.statistics import statistics
from webinstruct_assets.stages.sft.recipes import base_recipe, is_base, recipe_config, root_recipe

# id: bs-…      parent_id: bi-… of the item      item_id: the item's own id      subject: its label, "" if none
# prompt, completion: exactly what was sent and what came back      answer: gold
# extracted, correct: the corrected grader's answer (null if none; a program for a programming problem) and verdict
# paper_extracted, paper_correct: the paper-compatible grader's (which may be right about no answer: its fallback "A")
# failure: why no right answer was read (no_answer, or how a program ended), null otherwise
# base_correct, base_paper_correct: the verdicts on the base model, null for the base itself
# contaminated: the item's wording was found in what this checkpoint's data was made from
# finish_reason: stop, length, or error (no reply; counts as wrong)      tokens_in, tokens_out: as the server counted
SCHEMA: dict[str, Any] = {
    "id": pl.String(),
    "parent_id": pl.String(),
    "item_id": pl.String(),
    "subject": pl.String(),
    "prompt": pl.String(),
    "completion": pl.String(),
    "answer": pl.String(),
    "extracted": pl.String(),
    "correct": pl.Boolean(),
    "paper_extracted": pl.String(),
    "paper_correct": pl.Boolean(),
    "failure": pl.String(),
    "base_correct": pl.Boolean(),
    "base_paper_correct": pl.Boolean(),
    "contaminated": pl.Boolean(),
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
    """The protocol (task, demonstrations by digest, shots, graders, lengths, limit) and the data whose hits are flagged."""
    name = key["benchmark"]
    config = benchmark_config(ws, name)
    fewshot = None
    if config.shots and config.fewshot:
        fewshot = digest_file(require_file(name, ws.path(config.fewshot), "fewshot file"))
    model = ws.model_spec(root_recipe(ws, key["recipe"]).base_model)
    return {
        "task": config.task, "fewshot_sha256": fewshot, "fewshot_by_subject": config.fewshot_by_subject,
        "shots": config.shots, "grader": config.grader, "paper_rules": config.paper_rules, "limit": config.limit,
        "max_output_tokens": config.max_output_tokens, "max_model_len": model.max_model_len,
        "decontaminated_qa": {item.partition: item.data_version for item in data_behind(ws.lake, key["recipe"])},
    }  # fmt: skip


def run(job: Job) -> None:
    """Evaluates in one unit; a kill costs little, since answered requests come back from the ledger."""
    (items,) = job.manifests("benchmark_items")
    if job.settings["grader"] == "code":
        job.metrics["sandbox"] = sandbox_mode()  # before any reply is paid for: it may refuse this machine
    job.unit("00000", lambda: _evaluate(job))
    job.metrics.update(
        **statistics(pl.read_parquet(job.folder / "part-00000.parquet")),
        items_in_benchmark=items.rows,
        shots=job.settings["shots"],
    )
    for base in job.manifests("benchmark_scores"):
        job.metrics["base_recipe"] = base.keys["recipe"]


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
    shown: list[Item] = []
    if config.fewshot:
        path = job.ws.path(config.fewshot)
        shown = demonstrations(name, config, path)
        check_not_tested(path, shown, every_item["question"].to_list())
        if config.fewshot_by_subject:
            check_subjects(path, shown, every_item["subject"].to_list())
    documents = [document(Item(**{field: item[field] for field in Item.__dataclass_fields__})) for item in items]

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
    base = _base_verdicts(job)
    flagged = contaminated_items(job.ws.lake, data_behind(job.ws.lake, recipe), name)
    rows = [
        _row(item, recipe, answer, base.get(item["item_id"], (None, None)), item["item_id"] in flagged)
        for item, answer in zip(items, answers, strict=True)
    ]
    return Unit(rows=rows, rows_in=len(items))


def _base_verdicts(job: Job) -> dict[str, tuple[bool | None, bool | None]]:
    """The base model's verdicts by item id: the corrected grader's and the paper's."""
    if not job.manifests("benchmark_scores"):
        return {}
    frame = job.read("benchmark_scores").select("item_id", "correct", "paper_correct")
    return {item_id: (correct, as_paper) for item_id, correct, as_paper in frame.iter_rows()}


def _row(
    item: dict[str, Any], recipe: str, answer: Answer, base: tuple[bool | None, bool | None], contaminated: bool
) -> dict[str, Any]:
    reply, verdict, as_paper = answer.reply, answer.verdicts.corrected, answer.verdicts.paper
    return {
        "id": row_id("bs", item["id"], recipe), "parent_id": item["id"], "item_id": item["item_id"],
        "subject": item["subject"], "prompt": answer.prompt, "completion": reply.text, "answer": item["answer"],
        "extracted": verdict.extracted, "correct": verdict.correct,
        "paper_extracted": as_paper.extracted, "paper_correct": as_paper.correct,
        "failure": verdict.failure, "base_correct": base[0], "base_paper_correct": base[1], "contaminated": contaminated,
        "finish_reason": "error" if reply.error is not None else reply.finish_reason,
        "tokens_in": reply.tokens_in, "tokens_out": reply.tokens_out,
    }  # fmt: skip


BENCHMARK_SCORES = Stage(
    asset="benchmark_scores",
    dimensions=("benchmark", "recipe"),
    prefix="bs",
    schema=SCHEMA,
    run=run,
    inputs=inputs,
    settings=settings,
    sources=(
        "stages/evaluation/**/*.py",
        "stages/evaluation/tasks/*.yaml",
        "stages/benchmarks/*.py",
        "stages/sft/recipes.py",
        "stages/release/ancestry.py",
    ),
)
