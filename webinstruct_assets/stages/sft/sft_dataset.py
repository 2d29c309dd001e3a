"""Asset ``sft_dataset``: the chat-formatted training set of one recipe.

Partitioned by recipe; reads ``webinstruct`` of the snapshots that the recipe pins. Every row of those
snapshots either becomes a conversation or stands in the rejects with its reason. A zero-step recipe has none.

Duplicates across the recipe's snapshots leave here, and the oldest snapshot key of a cluster wins: its rows stay (of
exactly equal ones the lowest id), those of newer snapshots go. Within a snapshot near-duplicates were removed before
refinement (``deduplicated_qa``), and what two refiners made of one pair is meant to stay twice (paper §2.3).
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from webinstruct_assets.core.config import DuplicatesConfig, RecipeConfig, settings_of
from webinstruct_assets.core.errors import ConfigError
from webinstruct_assets.core.ids import row_id
from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.lake import REJECT_SCHEMA
from webinstruct_assets.core.stage import Job, Stage, Unit
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.duplicates.deduplicated_qa import SOURCES
from webinstruct_assets.stages.duplicates.exact import pair_digest
from webinstruct_assets.stages.duplicates.near import Block, clusters
from webinstruct_assets.stages.sft.recipes import recipe_config

# id: sf-…      parent_id: wi-… of the row it was taken from      snapshot, refiner, subject, source_type: its labels
# messages: the conversation, one user and one assistant turn
SCHEMA: dict[str, Any] = {
    "id": pl.String(),
    "parent_id": pl.String(),
    "snapshot": pl.String(),
    "refiner": pl.String(),
    "subject": pl.String(),
    "source_type": pl.String(),
    "messages": pl.List(pl.Struct({"role": pl.String(), "content": pl.String()})),
}

ROWS_PER_BLOCK = 16384


def inputs(ws: Workspace, key: PartitionKey) -> Sequence[Ref]:
    """``webinstruct`` of the recipe's snapshots; nothing for a zero-step recipe."""
    recipe = recipe_config(ws, key["recipe"])
    if recipe.steps == 0:
        return []
    if not recipe.snapshots:
        raise ConfigError(
            f"config/recipes/{key['recipe']}.yaml: field 'snapshots' is empty",
            "list the snapshots to train on, or set `steps: 0`",
        )
    return [Ref("webinstruct", PartitionKey.of({"snapshot": snapshot})) for snapshot in sorted(set(recipe.snapshots))]


def settings(ws: Workspace, key: PartitionKey) -> dict[str, Any]:
    """What is taken: the recipe's data fields only, so that a change of learning rate leaves the data alone."""
    recipe = recipe_config(ws, key["recipe"])
    if recipe.steps == 0:
        return {"steps": 0}
    sampled = {"seed": recipe.seed} if recipe.filters.max_rows else {}
    several = {"duplicates": settings_of(ws.config.duplicates)} if len(set(recipe.snapshots)) > 1 else {}
    return {"refiners": sorted(recipe.refiners), "filters": settings_of(recipe.filters), **sampled, **several}


def run(job: Job) -> None:
    """Selects, de-duplicates and formats in one pass (de-duplication needs all rows at once)."""
    recipe = recipe_config(job.ws, job.key["recipe"])
    scratch = job.folder / "scratch/near"
    job.unit("00000", lambda: build(_rows(job), recipe, job.key["recipe"], job.ws.config.duplicates, scratch))
    job.metrics["snapshots"] = sorted(set(recipe.snapshots)) if recipe.steps != 0 else []


def _rows(job: Job) -> pl.DataFrame:
    """All rows of all inputs, each with its snapshot."""
    frames = [
        job.ws.lake.read(manifest).with_columns(pl.lit(manifest.keys["snapshot"]).alias("snapshot"))
        for manifest in job.manifests("webinstruct")
        if manifest.rows
    ]
    return pl.concat(frames) if frames else pl.DataFrame()


def build(rows: pl.DataFrame, recipe: RecipeConfig, name: str, duplicates: DuplicatesConfig, scratch: Path) -> Unit:
    """The recipe's conversations out of ``rows`` of the dataset, and why each other row was left out.

    The first reason that applies counts: other_refiner, other_subject, other_source_type, short_answer,
    duplicate_exact and duplicate_near (see above; the detail names the row that stays), over_max_rows (a seeded
    sample, the same on every machine). ``scratch``: where the search for duplicates keeps its steps.
    """
    if rows.is_empty():
        return Unit(rows=pl.DataFrame(schema=SCHEMA), rows_in=0)
    filters = recipe.filters
    judged = rows.sort("snapshot", "id").with_columns(
        pl.when(_not_among("refiner", recipe.refiners))
        .then(pl.lit("other_refiner"))
        .when(_not_among("subject", filters.subjects))
        .then(pl.lit("other_subject"))
        .when(_not_among("source_type", filters.source_types))
        .then(pl.lit("other_source_type"))
        .when(pl.col("answer_words") < filters.min_answer_words)
        .then(pl.lit("short_answer"))
        .alias("reason"),
    )
    found = find_duplicates(judged.filter(pl.col("reason").is_null()), duplicates, scratch)
    judged = judged.join(found, on="id", how="left", maintain_order="left").with_columns(
        pl.coalesce("reason", "_duplicate").alias("reason")
    )
    if filters.max_rows is not None:
        kept = judged.filter(pl.col("reason").is_null())["id"].to_list()
        drawn = set(sorted(kept, key=lambda identity: row_id("sf", recipe.seed, identity))[: filters.max_rows])
        judged = judged.with_columns(
            pl.when(pl.col("reason").is_null() & ~pl.col("id").is_in(list(drawn)))
            .then(pl.lit("over_max_rows"))
            .otherwise("reason")
            .alias("reason")
        )
    chosen = judged.filter(pl.col("reason").is_null()).sort("id")
    turns = [
        pl.struct(pl.lit(role).alias("role"), pl.col(column).alias("content"))
        for role, column in (("user", "question"), ("assistant", "answer"))
    ]
    conversations = chosen.select(
        pl.Series("id", [row_id("sf", parent, name) for parent in chosen["id"]], dtype=pl.String()),
        pl.col("id").alias("parent_id"),
        "snapshot",
        "refiner",
        "subject",
        "source_type",
        pl.concat_list(turns).alias("messages"),
    )
    left_out = judged.filter(pl.col("reason").is_not_null())
    rejects = left_out.select(
        pl.Series("id", [row_id("sf", parent, name) for parent in left_out["id"]], dtype=pl.String()),
        pl.col("id").alias("parent_id"),
        "reason",
        pl.when(pl.col("reason").str.starts_with("duplicate_"))
        .then(pl.col("_kept_id"))
        .otherwise(pl.lit(""))
        .alias("detail"),
    )
    return Unit(
        rows=conversations.cast(pl.Schema(SCHEMA)),
        rows_in=rows.height,
        rejects=rejects.cast(pl.Schema(REJECT_SCHEMA)),
    )


def _not_among(column: str, allowed: list[str]) -> pl.Expr:
    """True where the value is not allowed; an empty list allows all."""
    return ~pl.col(column).is_in(allowed) if allowed else pl.lit(False)


def find_duplicates(rows: pl.DataFrame, settings: DuplicatesConfig, scratch: Path) -> pl.DataFrame:
    """Of ``rows`` in order of snapshot and id, those that go: ``id``, ``_duplicate`` (why), ``_kept_id`` (for which)."""
    digests = [pair_digest(question, answer) for question, answer in rows.select("question", "answer").iter_rows()]
    numbered = rows.select("id", "snapshot").with_columns(pl.Series("digest", digests, pl.String))
    if rows["snapshot"].n_unique() > 1:
        blocks = [
            Block(first, part.height, partial(part.select, "question", "answer"))
            for first in range(0, rows.height, ROWS_PER_BLOCK)
            if (part := rows[first : first + ROWS_PER_BLOCK]) is not None
        ]
        parents, _ = clusters(blocks, settings, scratch, rows["snapshot"].rank("dense").to_numpy())
        numbered = numbered.with_columns(pl.Series("cluster", parents))
    else:
        numbered = numbered.with_columns(pl.int_range(pl.len()).alias("cluster"))
    return (
        numbered.with_columns(
            pl.col("id", "snapshot").first().over("digest").name.prefix("same_"),
            pl.col("id", "snapshot").first().over("cluster").name.prefix("kept_"),
        )
        .with_columns(
            # A row of the cluster's oldest snapshot goes only for a row that says exactly the same.
            pl.when((pl.col("same_id") != pl.col("id")) & (pl.col("same_snapshot") == pl.col("kept_snapshot")))
            .then(pl.lit("duplicate_exact"))
            .when(pl.col("snapshot") != pl.col("kept_snapshot")).then(pl.lit("duplicate_near"))
            .alias("_duplicate")
        )
        .filter(pl.col("_duplicate").is_not_null())
        .select(
            "id", "_duplicate",
            pl.when(pl.col("_duplicate") == "duplicate_exact").then("same_id").otherwise("kept_id").alias("_kept_id"),
        )
    )  # fmt: skip


SFT_DATASET = Stage(
    asset="sft_dataset",
    dimensions=("recipe",),
    prefix="sf",
    schema=SCHEMA,
    run=run,
    inputs=inputs,
    settings=settings,
    sources=("stages/sft/*.py", *SOURCES),
    may_be_empty=lambda ws, key: recipe_config(ws, key["recipe"]).steps == 0,
)
