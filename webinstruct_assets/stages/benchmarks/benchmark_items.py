"""Asset ``benchmark_items``: the items of one benchmark in the schema that every later stage reads.

Partitioned by benchmark; no inputs in the graph, its source is a local file (pinned by sha256) or a hub
dataset (pinned by revision). All items are here; ``limit`` of the config only applies to evaluation, so
decontamination always sees the whole set. A record without question or answer is a reject row.
"""

from collections.abc import Sequence
from typing import Any

import polars as pl

from webinstruct_assets.core.config import BenchmarkConfig, settings_of
from webinstruct_assets.core.errors import BadInput, ConfigError
from webinstruct_assets.core.ids import digest_file, row_id
from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.stage import Job, Reject, Stage, Unit
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.benchmarks.items import BadItem, lookup, to_item
from webinstruct_assets.stages.benchmarks.sources import (
    file_identity,
    local_or_fetched,
    read_hub,
    read_records,
    require_file,
)

# id: bi-…                    parent_id: "" (items have no parent in the lake)
# item_id: the source's id, or its 1-based position     question: text, options not included
# choices: options in order, null for free answers      answer: a letter (A…) where there are choices
# solution: worked solution, null where the source has none     subject: the source's label, "" if none
# tests: of a programming problem, lines that raise where a solution is wrong, else null     entry_point: its function
# turns: of a judged conversation, what the user says, else null      references: reference answers, or the baseline's
SCHEMA: dict[str, Any] = {
    "id": pl.String(),
    "parent_id": pl.String(),
    "item_id": pl.String(),
    "question": pl.String(),
    "choices": pl.List(pl.String()),
    "answer": pl.String(),
    "solution": pl.String(),
    "subject": pl.String(),
    "tests": pl.String(),
    "entry_point": pl.String(),
    "turns": pl.List(pl.String()),
    "references": pl.List(pl.String()),
}


def benchmark_config(ws: Workspace, name: str) -> BenchmarkConfig:
    """The benchmark's file. Raises ConfigError naming the known ones."""
    try:
        return ws.files.benchmarks[name]
    except KeyError:
        raise ConfigError(
            f"no benchmark {name!r}",
            f"add config/benchmarks/{name}.yaml, or use one of: {', '.join(ws.files.benchmarks)}",
        ) from None


def inputs(ws: Workspace, key: PartitionKey) -> Sequence[Ref]:
    """None: benchmarks enter the graph here."""
    return []


def settings(ws: Workspace, key: PartitionKey) -> dict[str, Any]:
    """The pinned source and how its fields are read."""
    name = key["benchmark"]
    config = benchmark_config(ws, name)
    if config.file:
        source: dict[str, Any] = {"sha256": digest_file(require_file(name, ws.path(config.file), "file"))}
    else:
        source = {
            "hub": config.hub,
            "config": config.hub_config,
            "split": config.split,
            "file": config.hub_file,
            "revision": config.revision or "main",
        }
    found = {"source": source, "fields": settings_of(config.fields), "answer_after": config.answer_after}
    if config.judge:
        found["conversation"] = config.task
    if config.answers:
        pinned = file_identity(name, config, config.answers, ws.root)
        found["answers"] = {**pinned, "id": config.answers.id, "answer": config.answers.answer}
    return found


def run(job: Job) -> None:
    """Reads the source once and writes one part."""
    name = job.key["benchmark"]
    config = benchmark_config(job.ws, name)
    job.unit("00000", lambda: _load(job, name, config))
    job.metrics["items"] = job.count("items")
    job.metrics["with_choices"] = job.count("with_choices")


def _load(job: Job, name: str, config: BenchmarkConfig) -> Unit:
    path = require_file(name, job.ws.path(config.file), "file") if config.file else None
    records = read_records(path) if path else read_hub(name, config, job.log)
    if config.answers:
        records = _with_answers(job, name, config, records)
    where = str(path or config.hub)
    rows: dict[str, dict[str, Any]] = {}
    rejects: list[Reject] = []
    first_problem = ""
    for number, record in enumerate(records, 1):
        try:
            item = to_item(record, number, config)
        except BadItem as problem:
            first_problem = first_problem or f"record {number}: {problem}"
            rejects.append(
                Reject(
                    row_id("bi", name, "rejected", number),
                    "",
                    "missing_field",
                    f"{where}: record {number}: {problem}",
                )
            )
            continue
        identity = row_id("bi", name, item.item_id)
        if identity in rows:
            rejects.append(
                Reject(
                    row_id("bi", name, "rejected", number),
                    "",
                    "duplicate_id",
                    f"{where}: record {number}: {item.item_id!r} occurs twice",
                )
            )
            continue
        rows[identity] = {"id": identity, "parent_id": "", **vars(item)}
    if not rows:
        raise BadInput(
            f"benchmark {name!r}: {where}: no usable item among {len(records)}: {first_problem or 'the file is empty'}",
            f"correct the file, or `fields`/`answer_after` in config/benchmarks/{name}.yaml",
        )
    counts = {"items": len(rows), "with_choices": sum(row["choices"] is not None for row in rows.values())}
    return Unit(rows=list(rows.values()), rows_in=len(records), rejects=rejects, counts=counts)


def _with_answers(job: Job, name: str, config: BenchmarkConfig, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records with the answers of their own file in the field that is the answer; without one it stays missing."""
    beside = config.answers
    assert beside is not None
    path = local_or_fetched(name, config, beside, job.ws.root, "file of answers")
    answers = {str(lookup(record, beside.id)): lookup(record, beside.answer) for record in read_records(path)}
    ids = [str(lookup(record, config.fields.id or beside.id)) for record in records]
    return [
        {**record, config.fields.answer: answers.get(item_id)} for item_id, record in zip(ids, records, strict=True)
    ]


BENCHMARK_ITEMS = Stage(
    asset="benchmark_items",
    dimensions=("benchmark",),
    prefix="bi",
    schema=SCHEMA,
    run=run,
    inputs=inputs,
    settings=settings,
    sources=("stages/benchmarks/*.py",),
)
