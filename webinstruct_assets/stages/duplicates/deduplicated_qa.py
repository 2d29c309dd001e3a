"""Asset ``deduplicated_qa``: one pair of every cluster of duplicates within a snapshot.

Partitioned by snapshot; reads ``decontaminated_qa``. It stands before refinement so that no refiner is paid twice for
the same pair; duplicates across snapshots leave in ``sft_dataset``, where it is known which snapshots are used. Of a
cluster stays the pair with the most words in its answer, then the lowest id. Rejects: ``duplicate_exact`` (same text
as the one that stays but for case, spacing, Unicode form and TeX delimiters) and ``duplicate_near`` (``near.py``), the
detail naming the pair that stays and the similarities. ``clusters.parquet`` beside the parts lists all members.
"""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from webinstruct_assets.core.config import DuplicatesConfig, settings_of
from webinstruct_assets.core.ids import row_id
from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.lake import write_table
from webinstruct_assets.core.stage import Job, Reject, Stage, Unit
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.duplicates.exact import pair_digest
from webinstruct_assets.stages.duplicates.near import Block, clusters
from webinstruct_assets.stages.extraction.schema import SCHEMA as PAIR_SCHEMA

if TYPE_CHECKING:
    from webinstruct_assets.stages.duplicates.shingles import Array

# The columns of decontaminated_qa, unchanged but for:      id: dd-…      parent_id: dq-…
# n_duplicates: how many other pairs of the snapshot it stands for
SCHEMA: dict[str, pl.DataType] = {**PAIR_SCHEMA, "n_duplicates": pl.Int32()}
# kept: id (dq-…) of the pair that stays, itself for that one      reason: "" for it
# question, pair: Jaccard similarity to the nearest other member (0: exact, or not compared)
CLUSTERS_SCHEMA: dict[str, pl.DataType] = {
    "id": pl.String(), "kept": pl.String(), "reason": pl.String(), "url": pl.String(), "question": pl.Float64(),
    "pair": pl.Float64(),
}  # fmt: skip
PAIRS_PER_UNIT = 16384
# The code of every stage that compares: words decide what is similar.
SOURCES = (
    "stages/duplicates/*.py",
    "stages/decontamination/words.py",
    "stages/decontamination/kernel.py",
    "stages/extraction/schema.py",
    "stages/pages/schema.py",
)


def inputs(ws: Workspace, key: PartitionKey) -> Sequence[Ref]:
    """The snapshot's clean pairs."""
    return [Ref("decontaminated_qa", key)]


def settings(ws: Workspace, key: PartitionKey) -> dict[str, Any]:
    """Shingles, bands and thresholds."""
    return settings_of(ws.config.duplicates)


def run(job: Job) -> None:
    """Clusters over all pairs, then units of them without the duplicates."""
    (manifest,) = job.manifests("decontaminated_qa")
    chunks: list[list[Path]] = []
    blocks: list[Block] = []
    total = 0
    for path, part in zip(job.ws.lake.part_paths(manifest), manifest.parts, strict=True):
        if not blocks or blocks[-1].rows >= PAIRS_PER_UNIT:
            chunks.append([])
            blocks.append(Block(total, 0, partial(_texts, chunks[-1])))
        chunks[-1].append(path)
        blocks[-1] = Block(blocks[-1].first, blocks[-1].rows + part.rows, blocks[-1].read)
        total += part.rows
    scratch, settings = job.folder / "scratch/near", DuplicatesConfig.model_validate(job.settings)
    parents, edges = clusters(blocks, settings, scratch, job.progress)
    members = _members(chunks, blocks, parents, edges)
    write_table(job.folder / "clusters.parquet", members.select(*CLUSTERS_SCHEMA))
    rejected = {row["id"]: row for row in members.filter(pl.col("reason") != "").iter_rows(named=True)}
    sizes = Counter(row["kept"] for row in rejected.values())
    job.progress.start(total, "pairs")
    for number, chunk in enumerate(chunks):
        job.unit(f"{number:05}", partial(_unit, job, chunk, rejected, sizes))
    job.metrics |= {
        "clusters": len(sizes), "largest_cluster": max(sizes.values(), default=0) + 1 if sizes else 0,
        "edges_exact": int(edges["exact"].sum()), "edges_near": int((~edges["exact"]).sum()),
    }  # fmt: skip


def _texts(paths: list[Path]) -> pl.DataFrame:
    return pl.read_parquet(paths, columns=["question", "answer"], hive_partitioning=False)


def _members(chunks: list[list[Path]], blocks: list[Block], parents: "Array", edges: pl.DataFrame) -> pl.DataFrame:
    """A row per pair that is in a cluster: which one stays, and why this one goes."""
    touched = np.unique(np.concatenate([edges["first"].to_numpy(), edges["second"].to_numpy()]))
    near = (
        pl.concat([edges.select(pl.col(side).alias("row"), "question", "pair") for side in ("first", "second")])
        .group_by("row")
        .agg(pl.col("question").max(), pl.col("pair").max())
    )
    frames = []
    for chunk, block in zip(chunks, blocks, strict=True):
        own = touched[(touched >= block.first) & (touched < block.first + block.rows)]
        if own.size:
            pairs = pl.read_parquet(chunk, columns=["id", "url", "question", "answer"], hive_partitioning=False)
            pairs = pairs[(own - block.first).tolist()]
            texts = zip(pairs["question"].to_list(), pairs["answer"].to_list(), strict=True)
            frames.append(
                pairs.select(
                    "id", "url", pl.col("answer").str.count_matches(r"\S+").alias("answer_words"),
                    pl.Series("digest", [pair_digest(question, answer) for question, answer in texts], pl.String),
                    pl.Series("row", own), pl.Series("cluster", parents[own]),
                )
            )  # fmt: skip
    if not frames:
        return pl.DataFrame(schema=CLUSTERS_SCHEMA)
    # The first of a cluster stays.
    return (
        pl.concat(frames)
        .sort("cluster", "answer_words", "id", descending=[False, True, False])
        .with_columns(
            pl.col("id").first().over("cluster").alias("kept"), pl.col("digest").first().over("cluster").alias("_kept")
        )
        .with_columns(
            pl.when(pl.col("id") == pl.col("kept")).then(pl.lit(""))
            .when(pl.col("digest") == pl.col("_kept")).then(pl.lit("duplicate_exact"))
            .otherwise(pl.lit("duplicate_near")).alias("reason")
        )
        .join(near, on="row", how="left", maintain_order="left")
    )  # fmt: skip


def _unit(job: Job, chunk: list[Path], rejected: dict[str, dict[str, Any]], sizes: Counter[str]) -> Unit:
    rows, rejects = [], []
    for pair in pl.read_parquet(chunk, hive_partitioning=False).iter_rows(named=True):
        member = rejected.get(pair["id"])
        if member is None:
            rows.append(
                {**pair, "id": row_id("dd", pair["id"]), "parent_id": pair["id"], "n_duplicates": sizes[pair["id"]]}
            )
            continue
        kept = f"{row_id('dd', member['kept'])} ({member['kept']})"
        how = "same question and answer as" if member["reason"] == "duplicate_exact" else "nearly"
        near = f": question {member['question']:.2f}, question and answer {member['pair']:.2f}"
        detail = f"{how} {kept}" + (near if member["reason"] == "duplicate_near" else "")
        rejects.append(Reject(pair["id"], pair["parent_id"], member["reason"], detail))
    job.progress.advance(len(rows) + len(rejects))
    return Unit(rows=rows, rows_in=len(rows) + len(rejects), rejects=rejects)


DEDUPLICATED_QA = Stage(
    asset="deduplicated_qa",
    dimensions=("snapshot",),
    by_profile=True,
    prefix="dd",
    schema=SCHEMA,
    run=run,
    inputs=inputs,
    settings=settings,
    sources=SOURCES,
)
