"""Asset ``benchmark_scores``: how one recipe's checkpoint does on one benchmark, item by item.

Partitioned by benchmark and recipe; reads ``benchmark_items``, ``trained_checkpoint`` and the scores of the
recipe's base model (its zero-step recipe), which was evaluated by the same harness and stands beside it.
Few-shot chain of thought, greedy, with the paper's shots (caption of Table 2). Two graders judge every completion: the corrected one,
whose verdict counts, and the paper's (``graders``). Chat benchmarks are conversations, judged by another model
(``judging``). Items whose wording was found in what this very checkpoint's data was made from are flagged, and every
score stands a second time without them.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from webinstruct_assets.core.config import BenchmarkConfig
from webinstruct_assets.core.errors import QualityGate
from webinstruct_assets.core.ids import digest_file, row_id
from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.stage import Job, Stage, Unit
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages import training
from webinstruct_assets.stages.benchmarks.benchmark_items import benchmark_config
from webinstruct_assets.stages.benchmarks.items import Item
from webinstruct_assets.stages.benchmarks.sources import file_identity, local_or_fetched, require_file
from webinstruct_assets.stages.evaluation.contamination import contaminated_items, data_behind
from webinstruct_assets.stages.evaluation.demonstrations import (
    check_not_tested,
    check_subjects,
    demonstrations,
    document,
    shown_document,
    shown_from,
)
from webinstruct_assets.stages.evaluation.harness import evaluate
from webinstruct_assets.stages.evaluation.judging.conversations import Conversation, converse
from webinstruct_assets.stages.evaluation.judging.length_control import Compared, Controlled, length_controlled
from webinstruct_assets.stages.evaluation.judging.protocols import Judged, judge, judge_task
from webinstruct_assets.stages.evaluation.judging.scores import LengthControl, judged_statistics
from webinstruct_assets.stages.evaluation.sandbox.run import sandbox_mode
from webinstruct_assets.stages.evaluation.statistics import statistics
from webinstruct_assets.stages.sft.recipes import base_recipe, is_base, recipe_config, root_recipe

if TYPE_CHECKING:
    from webinstruct_assets.core.llm.client import LlmClient

# id: bs-…      parent_id: bi-… of the item      item_id: the item's own id      subject: its label, "" if none
# prompt, completion: exactly what was sent and what came back      answer: gold
# extracted, correct: the corrected grader's answer (null if none; a program for a programming problem) and verdict
# paper_extracted, paper_correct: the paper-compatible grader's (which may be right about no answer: its fallback "A")
# failure: why no right answer was read (no_answer, or how a program ended), null otherwise
# base_correct, base_paper_correct: the verdicts on the base model, null for the base itself
# contaminated: the item's wording was found in what this checkpoint's data was made from; null where that was made anew
# finish_reason: stop, length, or error (no reply; counts as wrong)      tokens_in, tokens_out: as the server counted
# score: 1 or 0 for right and wrong; of a judged item the share of the best possible verdict, null where there is none
# weight: what the item weighs in the benchmark's score (1; battles in Arena-Hard)      base_score, base_weight: the base's
# judgements: JSON list of what the judge was asked and said and which verdict was read, null for graded items
# Judged items: prompt is a JSON list of messages; extracted holds the verdicts, null without any; correct tells whether the
# model's answer is preferred over the baseline's, null without baseline or verdict; the paper's columns are the same
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
    "score": pl.Float64(),
    "weight": pl.Float64(),
    "base_score": pl.Float64(),
    "base_weight": pl.Float64(),
    "judgements": pl.String(),
}

# Base models have no template of their own; in conversations they get that of the checkpoints which are made of them.
CHAT_TEMPLATE = Path(training.__file__).with_name("chat_template.jinja")
TOO_LONG = "raise max_model_len of the base model in the environment if prompts are too long; look at the server's log"
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
    """The protocol (task, demonstrations, shots, graders, judge, lengths, limit) and the data whose hits are flagged."""
    name = key["benchmark"]
    config = benchmark_config(ws, name)
    model = ws.model_spec(root_recipe(ws, key["recipe"]).base_model)
    behind = data_behind(ws.lake, key["recipe"])
    found = {
        "task": config.task, **_shown_identity(ws, name, config), "fewshot_by_subject": config.fewshot_by_subject,
        "shots": config.shots, "grader": config.grader, "paper_rules": config.paper_rules, "limit": config.limit,
        "max_output_tokens": config.max_output_tokens, "max_model_len": model.max_model_len,
        "decontaminated_qa": {item.partition: item.data_version for item in behind.data},
        "contamination_known": behind.known,
    }  # fmt: skip
    if config.judge:
        found["judge"] = ws.model_identity(config.judge)
    if config.length_control:
        found["length_control"] = file_identity(name, config, config.length_control, ws.root)
    return found


def _shown_identity(ws: Workspace, name: str, config: BenchmarkConfig) -> dict[str, Any]:
    if config.shots and config.fewshot:
        return {"fewshot_sha256": digest_file(require_file(name, ws.path(config.fewshot), "fewshot file"))}
    if config.shots:
        return {"fewshot_split": config.fewshot_split, "fewshot_revision": config.revision or "main"}
    return {"fewshot_sha256": None}


def run(job: Job) -> None:
    """Evaluates in one unit; a kill costs little, since answered requests come back from the ledger."""
    (items,) = job.manifests("benchmark_items")
    judged = job.settings["grader"] == "judge"
    if job.settings["grader"] == "code":
        job.metrics["sandbox"] = sandbox_mode()  # before any reply is paid for: it may refuse this machine
    length_control = _length_control(job)
    job.unit("00000", lambda: _evaluate(job, _judge if judged else _grade))
    rows = pl.read_parquet(job.folder / "part-00000.parquet")
    found = judged_statistics(rows, job.settings["task"], length_control) if judged else statistics(rows)
    if judged:
        job.metrics["judge"] = job.settings["judge"]
    job.metrics.update(**found, items_in_benchmark=items.rows, shots=job.settings["shots"])
    for base in job.manifests("benchmark_scores"):
        job.metrics["base_recipe"] = base.keys["recipe"]


def limited(items: pl.DataFrame, limit: int | None) -> pl.DataFrame:
    """At most ``limit`` items in the source's order: those with the lowest ids, which are digests, so any subject's."""
    if limit is None or items.height <= limit:
        return items
    return items.filter(pl.col("id").is_in(items["id"].sort()[:limit].to_list()))


# Rows of items but for what compares them with the base model and flags them.
Answers = Callable[[Job, str, BenchmarkConfig, list[dict[str, Any]], "LlmClient"], list[dict[str, Any]]]


def _evaluate(job: Job, answers: Answers) -> Unit:
    name, recipe = job.key["benchmark"], job.key["recipe"]
    config = benchmark_config(job.ws, name)
    items = limited(job.read("benchmark_items"), config.limit).to_dicts()

    (checkpoint,) = job.manifests("trained_checkpoint")
    identity = f"trained_checkpoint/{recipe}@{checkpoint.data_version}"
    like = root_recipe(job.ws, recipe).base_model
    # A zero-step recipe is the configured model itself, which may be on an endpoint or on a server that is up.
    model = job.input_file("trained_checkpoint", "model")
    served = (
        job.ws.llm(like, job.log, CHAT_TEMPLATE if config.judge else None)
        if is_base(recipe_config(job.ws, recipe))
        else job.ws.serve(model, recipe, identity, job.log, like=like)
    )
    with served as client:
        found = answers(job, name, config, items, client)
    base = _base_verdicts(job)
    behind = data_behind(job.ws.lake, recipe)
    flagged = contaminated_items(job.ws.lake, behind.data, name)
    rows = [
        {
            "id": row_id("bs", item["id"], recipe), "parent_id": item["id"], "item_id": item["item_id"],
            "subject": item["subject"], "answer": item["answer"], **row,
            **base.get(item["item_id"], NO_BASE), "contaminated": item["item_id"] in flagged if behind.known else None,
        }
        for item, row in zip(items, found, strict=True)
    ]  # fmt: skip
    return Unit(rows=rows, rows_in=len(items))


def _check_replies(job: Job, errors: Sequence[str | None], what: str, fix: str) -> None:
    failed = [error for error in errors if error is not None]
    if len(failed) > MAX_ERRORS * len(errors):
        raise QualityGate(
            f"{job.key['recipe']!r} on {job.key['benchmark']!r}: {len(failed)} of {len(errors)} {what}, e.g.: {failed[0]}",
            fix,
        )


# The base model's columns: its verdicts by item id, the corrected grader's and the paper's, or the judge's.
BESIDE = ("correct", "paper_correct", "score", "weight")
NO_BASE = {f"base_{name}": None for name in BESIDE}


def _base_verdicts(job: Job) -> dict[str, dict[str, Any]]:
    if not job.manifests("benchmark_scores"):
        return {}
    frame = job.read("benchmark_scores").select("item_id", pl.col(*BESIDE).name.prefix("base_"))
    return {row.pop("item_id"): row for row in frame.to_dicts()}


def _grade(
    job: Job, name: str, config: BenchmarkConfig, items: list[dict[str, Any]], client: "LlmClient"
) -> list[dict[str, Any]]:
    """Completions by lm-eval, with both graders' verdicts."""
    shown = demonstrations(name, config, job.ws.root, job.log)
    if shown:
        every_item = job.read("benchmark_items")  # those beyond the limit, too
        check_not_tested(shown_from(config), shown, every_item["question"].to_list())
        if config.fewshot_by_subject:
            check_subjects(shown_from(config), shown, every_item["subject"].to_list())
    documents = [document(Item(**{field: item[field] for field in Item.__dataclass_fields__})) for item in items]
    job.progress.start(len(items), "items")
    answers = evaluate(name, config, documents, [shown_document(item) for item in shown], client, job.progress.advance)
    _check_replies(job, [answer.reply.error for answer in answers], "items got no reply", TOO_LONG)
    return [
        {
            "prompt": answer.prompt, "completion": answer.reply.text,
            "extracted": answer.verdicts.corrected.extracted, "correct": answer.verdicts.corrected.correct,
            "paper_extracted": answer.verdicts.paper.extracted, "paper_correct": answer.verdicts.paper.correct,
            "failure": answer.verdicts.corrected.failure,
            "finish_reason": "error" if answer.reply.error is not None else answer.reply.finish_reason,
            "tokens_in": answer.reply.tokens_in, "tokens_out": answer.reply.tokens_out,
            "score": float(answer.verdicts.corrected.correct), "weight": 1.0, "judgements": None,
        }
        for answer in answers
    ]  # fmt: skip


def _judge(
    job: Job, name: str, config: BenchmarkConfig, items: list[dict[str, Any]], client: "LlmClient"
) -> list[dict[str, Any]]:
    """Conversations with the model, with the judge's verdicts."""
    job.progress.start(sum(len(item["turns"]) for item in items), "turns")
    temperatures = judge_task(config.task).temperatures
    talks = converse(items, temperatures, config.max_output_tokens, client, job.progress.advance)
    _check_replies(job, [talk.error for talk in talks], "conversations got no reply", TOO_LONG)
    with job.ws.llm(config.judge or "", job.log) as judging:
        judged = judge(config.task, items, [talk.answers for talk in talks], judging, job.progress)
    errors = [judgement.reply.error for found in judged for judgement in found.judgements]
    fix = "look at `models` in the environment: base_url, served_name, max_model_len; answers so far are kept"
    _check_replies(job, errors, f"questions to the judge {config.judge!r} got no reply", fix)
    if not any(found.verdict for found in judged):
        raise QualityGate(
            f"{name!r}: none of the judge's replies holds a verdict, e.g.: {judged[0].judgements[0].reply.text[:200]!r}",
            f"use a judge that keeps to the form that {config.task}.yaml asks for",
        )
    return [_judged_row(config, talk, found) for talk, found in zip(talks, judged, strict=True)]


def _judged_row(config: BenchmarkConfig, talk: Conversation, judged: Judged) -> dict[str, Any]:
    won = None if config.task == "mt_bench" or judged.score is None else judged.score > 0.5
    return {
        "prompt": json.dumps(talk.prompt, ensure_ascii=False), "completion": talk.answers[-1],
        "extracted": judged.verdict, "correct": won, "paper_extracted": judged.verdict, "paper_correct": won,
        "failure": judged.failure, "finish_reason": "error" if talk.error is not None else talk.finish_reason,
        "tokens_in": talk.tokens_in, "tokens_out": talk.tokens_out,
        "score": judged.score, "weight": judged.weight, "judgements": judged.as_json(),
    }  # fmt: skip


def _length_control(job: Job) -> LengthControl | None:
    """AlpacaEval's regression on rows of this partition; what it needs is fetched before any reply is paid for."""
    name = job.key["benchmark"]
    config = benchmark_config(job.ws, name)
    if config.length_control is None:
        return None
    gamed = local_or_fetched(name, config, config.length_control, job.ws.root, "file of length control")
    items = job.read("benchmark_items")
    baselines = dict(zip(items["item_id"], items["references"], strict=True))

    def fit(rows: pl.DataFrame) -> Controlled | None:
        compared = []
        for row in rows.filter(pl.col("score").is_not_null()).iter_rows(named=True):
            place = int(row["item_id"]) - 1  # ids are positions in the set, see BenchmarkConfig
            lengths = len(baselines[row["item_id"]][0]), len(row["completion"])
            compared.append(Compared(place, row["score"], *lengths))
        return length_controlled(compared, gamed)

    return fit


BENCHMARK_SCORES = Stage(
    asset="benchmark_scores",
    dimensions=("benchmark", "recipe"),
    whole=True,
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
        "stages/training/__init__.py",
        "stages/training/chat_template.jinja",
    ),
)
