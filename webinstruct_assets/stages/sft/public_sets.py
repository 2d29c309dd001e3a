"""Asset ``public_sets``: the conversations of one public instruction set (paper §2.5), without benchmark items.

Partitioned by dataset; reads its file or hub dataset, and ``benchmark_items`` of every benchmark that the environment
enables. All that a row's turns say is looked up as pairs of the crawl are (§2.2; the paper took TheoremQA out of a part
of OpenHermes by hand), but for one thing: no wording counts as too common to be evidence, since these sets hold one
problem in hundreds of variants. Rejects: those of ``public_rows.BadRow``, and ``contaminated``.
``hits.parquet`` beside the parts is that of ``decontaminated_qa``.
"""

from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from webinstruct_assets.core.config import DatasetConfig, settings_of
from webinstruct_assets.core.ids import digest_file, row_id
from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.lake import write_table
from webinstruct_assets.core.stage import Job, Reject, Stage, Unit
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.decontamination.decontaminated_qa import (
    HITS_SCHEMA,
    Lookups,
    benchmarks_of,
    describe,
    items_of,
    look_up,
)
from webinstruct_assets.stages.sft.attribution import dropped_by_benchmark
from webinstruct_assets.stages.sft.public_rows import BadRow, Message, dataset_config, messages_of, records, source_file

MESSAGES = pl.List(pl.Struct({"role": pl.String(), "content": pl.String()}))
# id: ps-…      parent_id: "" (nothing of the lake is above)      revision: commit of a hub dataset, or digest of a file
# row: its number in the source, from 0      messages: its turns
SCHEMA: dict[str, pl.DataType] = {
    "id": pl.String(),
    "parent_id": pl.String(),
    "revision": pl.String(),
    "row": pl.Int64(),
    "messages": MESSAGES,
}
ROWS_PER_UNIT = 8192


def inputs(ws: Workspace, key: PartitionKey) -> Sequence[Ref]:
    """Every enabled benchmark."""
    return benchmarks_of(ws)


def settings(ws: Workspace, key: PartitionKey) -> dict[str, Any]:
    """The pinned source, how its fields are read, and the rule of the look-up."""
    config = dataset_config(ws, key["dataset"])
    path = source_file(ws, key["dataset"], config)
    source = {"file": f"sha256:{digest_file(path)}"} if path else {"hub": config.source, "split": config.split}
    rule = settings_of(ws.config.decontamination)
    return {
        **source,
        "revision": config.revision,
        "fields": settings_of(config)["pair" if config.pair else "conversation"],
        "rule": {name: rule[name] for name in ("n", "min_words", "normalisation", "paraphrase_ratio")},
    }


def run(job: Job) -> None:
    """Reads the source once, some thousand rows per unit."""
    name = job.key["dataset"]
    config = dataset_config(job.ws, name)
    lookups = Lookups.of(items_of(job), job.settings["rule"])
    (job.folder / "scratch").mkdir(exist_ok=True)
    rows = records(job.ws, name, job.log)
    files: list[Path] = []
    job.progress.start(None, "rows")
    while chunk := list(islice(rows, ROWS_PER_UNIT)):
        number = len(files)
        files.append(job.folder / f"scratch/hits-{number:05}.parquet")
        job.unit(f"{number:05}", partial(_unit, job, config, lookups, number * ROWS_PER_UNIT, chunk, files[-1]))
    hits = pl.read_parquet(files) if files else pl.DataFrame(schema=HITS_SCHEMA)
    write_table(job.folder / "hits.parquet", hits)
    job.metrics |= {"turns": int(job.count("turns")), "by_benchmark": dropped_by_benchmark(hits, "pair_id")}


def _unit(job: Job, config: DatasetConfig, lookups: Lookups, first: int, chunk: list[Any], hit_file: Path) -> Unit:
    name, revision = job.key["dataset"], config.revision or job.settings["file"]
    rows: list[dict[str, Any]] = []
    rejects: list[Reject] = []
    for number, record in enumerate(chunk, first):
        identity = row_id("ps", name, revision, number)
        try:
            messages = messages_of(record, config)
        except BadRow as problem:
            rejects.append(Reject(identity, "", problem.reason, f"row {number}: {problem.detail}"))
            continue
        rows.append({"id": identity, "parent_id": "", "revision": revision, "row": number, "messages": messages})
    texts = []
    for row in rows:
        question, answer = sides(row["messages"])
        texts.append({"id": row["id"], "parent_id": "", "url": "", "question": question, "answer": answer})
    hits = look_up(texts, {}, lookups)
    # Before the unit's own commit: a unit that is committed has its hits on disk.
    write_table(hit_file, pl.DataFrame(hits, schema=HITS_SCHEMA))
    evidence = {hit["pair_id"]: hit for hit in reversed(hits)}
    for row in rows:
        if hit := evidence.get(row["id"]):
            rejects.append(Reject(row["id"], "", "contaminated", f"row {row['row']}: {describe(hit)}"))
    clean = [row for row in rows if row["id"] not in evidence]
    job.progress.advance(len(chunk))
    turns = sum(len(row["messages"]) for row in clean)
    return Unit(rows=clean, rows_in=len(chunk), rejects=rejects, counts={"turns": turns})


def sides(messages: Sequence[Message]) -> tuple[str, str]:
    """What is asked in a conversation, and what is answered."""
    said = {
        answering: "\n\n".join(turn["content"] for turn in messages if (turn["role"] == "assistant") is answering)
        for answering in (False, True)
    }
    return said[False], said[True]


PUBLIC_SETS = Stage(
    asset="public_sets",
    dimensions=("dataset",),
    begins_pairs=True,
    prefix="ps",
    schema=SCHEMA,
    run=run,
    inputs=inputs,
    settings=settings,
    sources=(
        "stages/sft/public_*.py",
        "stages/sft/attribution.py",
        "stages/decontamination/*.py",
        "stages/*/schema.py",
    ),
)
