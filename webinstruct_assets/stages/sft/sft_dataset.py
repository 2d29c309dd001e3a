"""Asset ``sft_dataset``: the chat-formatted training set of one recipe.

Partitioned by recipe; reads what the recipe takes: of the snapshots that it pins, ``webinstruct`` (refined pairs),
``deduplicated_qa`` (extracted pairs) or ``pages`` (``documents.py``), and ``public_sets``. Every row of those either
becomes a conversation or stands in the rejects with its reason. A zero-step recipe has none.

Duplicates across the recipe's sources leave here, and the oldest snapshot key of a cluster wins, before any public set:
its rows stay (of exactly equal ones the lowest id), those of the others go. Within a snapshot near-duplicates were
removed before refinement (``deduplicated_qa``), and what two refiners made of one pair is meant to stay twice (§2.3).
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
from webinstruct_assets.core.progress import Progress
from webinstruct_assets.core.stage import Job, Stage, Unit
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.decontamination.decontaminated_qa import benchmarks_of
from webinstruct_assets.stages.duplicates.exact import pair_digest
from webinstruct_assets.stages.duplicates.near import Block, clusters
from webinstruct_assets.stages.sft.documents import take_pages
from webinstruct_assets.stages.sft.public_sets import MESSAGES, sides
from webinstruct_assets.stages.sft.recipes import recipe_config

# id: sf-…      parent_id: of the row it was taken from (wi-…, dd-…, pg-… or ps-…)
# snapshot, refiner, subject, source_type: its labels, "" where it has none
# messages: the conversation; of a pair one user and one assistant turn, of a page one of the assistant's
SCHEMA: dict[str, Any] = {
    "id": pl.String(),
    "parent_id": pl.String(),
    "snapshot": pl.String(),
    "refiner": pl.String(),
    "subject": pl.String(),
    "source_type": pl.String(),
    "messages": MESSAGES,
}
ASSET_OF = {"refined": "webinstruct", "extracted": "deduplicated_qa", "pages": "pages"}
# What is chosen from. group: number of the source, in order of preference      messages: null for a pair
ROWS: dict[str, Any] = {
    "id": pl.String(),
    "group": pl.Int32(),
    **{name: pl.String() for name in ("snapshot", "refiner", "subject", "source_type", "question", "answer")},
    "answer_words": pl.Int64(),
    "messages": MESSAGES,
}
ROWS_PER_BLOCK = 16384


def inputs(ws: Workspace, key: PartitionKey) -> Sequence[Ref]:
    """The recipe's sources; nothing for a zero-step recipe."""
    recipe = recipe_config(ws, key["recipe"])
    if recipe.steps == 0:
        return []
    if not (recipe.snapshots or recipe.datasets):
        raise ConfigError(
            f"config/recipes/{key['recipe']}.yaml: field 'snapshots' is empty, and 'datasets' too",
            "list the snapshots or the public sets to train on, or set `steps: 0`",
        )
    taken = [Ref(ASSET_OF[recipe.rows], PartitionKey.of({"snapshot": snapshot})) for snapshot in recipe.sources]
    public = [Ref("public_sets", PartitionKey.of({"dataset": name})) for name in sorted(set(recipe.datasets))]
    return [*taken, *public, *(benchmarks_of(ws) if recipe.rows == "pages" else [])]


def settings(ws: Workspace, key: PartitionKey) -> dict[str, Any]:
    """What is taken: the recipe's data fields only, so that a change of learning rate leaves the data alone."""
    recipe = recipe_config(ws, key["recipe"])
    if recipe.steps == 0:
        return {"steps": 0}
    sampled = {"seed": recipe.seed} if recipe.filters.max_rows else {}
    several = (
        {"duplicates": settings_of(ws.config.duplicates)} if len(recipe.sources) + len(recipe.datasets) > 1 else {}
    )
    looked_up = {"decontamination": settings_of(ws.config.decontamination)} if recipe.rows == "pages" else {}
    refiners = {"refiners": sorted(recipe.refiners)} if recipe.snapshots and recipe.rows == "refined" else {}
    return {"filters": settings_of(recipe.filters), **refiners, **sampled, **several, **looked_up}


def run(job: Job) -> None:
    """Selects, de-duplicates and formats in one pass (de-duplication needs all rows at once); pages some at a time."""
    recipe = recipe_config(job.ws, job.key["recipe"])
    if recipe.rows == "pages" and recipe.steps != 0:
        take_pages(job, recipe)
    else:
        scratch = job.folder / "scratch/near"
        job.unit(
            "00000",
            lambda: build(_rows(job), recipe, job.key["recipe"], job.ws.config.duplicates, scratch, job.progress),
        )
    trained_on = recipe.steps != 0
    job.metrics["snapshots"] = recipe.sources if trained_on else []
    job.metrics["datasets"] = sorted(set(recipe.datasets)) if trained_on else []


def _rows(job: Job) -> pl.DataFrame:
    """All rows of all inputs, those of snapshots by age first."""
    frames = [pl.DataFrame(schema=ROWS)]
    for group, manifest in enumerate(job.inputs.values()):
        if not manifest.rows:
            continue
        rows = job.ws.lake.read(manifest)
        frames.append(
            of_conversations(rows, group)
            if manifest.asset == "public_sets"
            else of_pairs(rows, manifest.keys["snapshot"], group)
        )
    return pl.concat(frames)


def of_pairs(rows: pl.DataFrame, snapshot: str, group: int) -> pl.DataFrame:
    """Pairs of ``webinstruct`` or ``deduplicated_qa`` as ``ROWS``."""
    labels = ("refiner", "subject", "source_type")
    return rows.select(
        "id",
        pl.lit(group).alias("group"),
        pl.lit(snapshot).alias("snapshot"),
        *(pl.col(name) if name in rows.columns else pl.lit("").alias(name) for name in labels),
        "question",
        "answer",
        _words("answer") if "answer_words" not in rows.columns else "answer_words",
        pl.lit(None, MESSAGES).alias("messages"),
    ).cast(pl.Schema(ROWS))


def of_conversations(rows: pl.DataFrame, group: int) -> pl.DataFrame:
    """Rows of ``public_sets`` as ``ROWS``; what they ask and answer, in all their turns, is what is compared."""
    said = [sides(messages) for messages in rows["messages"].to_list()]
    return rows.select(
        "id",
        pl.lit(group).alias("group"),
        *(pl.lit("").alias(name) for name in ("snapshot", "refiner", "subject", "source_type")),
        pl.Series("question", [question for question, _ in said], pl.String),
        pl.Series("answer", [answer for _, answer in said], pl.String),
        "messages",
    ).with_columns(_words("answer")).select(*ROWS).cast(pl.Schema(ROWS))  # fmt: skip


def _words(column: str) -> pl.Expr:
    return pl.col(column).str.count_matches(r"\S+").alias(f"{column}_words")


def build(
    rows: pl.DataFrame,
    recipe: RecipeConfig,
    name: str,
    duplicates: DuplicatesConfig,
    scratch: Path,
    progress: Progress | None = None,
) -> Unit:
    """The recipe's conversations out of ``rows`` (``ROWS``), and why each other row was left out.

    The first reason that applies counts: other_refiner, other_subject, other_source_type (of refined pairs; the others
    have no labels), short_answer, duplicate_exact and duplicate_near (see above; the detail names the row that stays),
    over_max_rows (a seeded sample, the same on every machine, and a part of every larger one). ``scratch``: where the
    search for duplicates keeps its steps.
    """
    if rows.is_empty():
        return Unit(rows=pl.DataFrame(schema=SCHEMA), rows_in=0)
    filters, labelled = recipe.filters, pl.col("refiner") != ""
    judged = rows.sort("group", "id").with_columns(
        pl.when(labelled & _not_among("refiner", recipe.refiners))
        .then(pl.lit("other_refiner"))
        .when(labelled & _not_among("subject", filters.subjects))
        .then(pl.lit("other_subject"))
        .when(labelled & _not_among("source_type", filters.source_types))
        .then(pl.lit("other_source_type"))
        .when(pl.col("answer_words") < filters.min_answer_words)
        .then(pl.lit("short_answer"))
        .alias("reason"),
    )
    found = find_duplicates(judged.filter(pl.col("reason").is_null()), duplicates, scratch, progress)
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
        pl.coalesce("messages", pl.concat_list(turns)).alias("messages"),
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


def find_duplicates(
    rows: pl.DataFrame, settings: DuplicatesConfig, scratch: Path, progress: Progress | None
) -> pl.DataFrame:
    """Of ``rows`` in order of group and id, those that go: ``id``, ``_duplicate`` (why), ``_kept_id`` (for which)."""
    digests = [pair_digest(question, answer) for question, answer in rows.select("question", "answer").iter_rows()]
    numbered = rows.select("id", "group").with_columns(pl.Series("digest", digests, pl.String))
    if rows["group"].n_unique() > 1:
        blocks = [
            Block(first, part.height, partial(part.select, "question", "answer"))
            for first in range(0, rows.height, ROWS_PER_BLOCK)
            if (part := rows[first : first + ROWS_PER_BLOCK]) is not None
        ]
        parents, _ = clusters(blocks, settings, scratch, progress, rows["group"].rank("dense").to_numpy())
        numbered = numbered.with_columns(pl.Series("cluster", parents))
    else:
        numbered = numbered.with_columns(pl.int_range(pl.len()).alias("cluster"))
    return (
        numbered.with_columns(
            pl.col("id", "group").first().over("digest").name.prefix("same_"),
            pl.col("id", "group").first().over("cluster").name.prefix("kept_"),
        )
        .with_columns(
            # A row of the cluster's first source goes only for a row that says exactly the same.
            pl.when((pl.col("same_id") != pl.col("id")) & (pl.col("same_group") == pl.col("kept_group")))
            .then(pl.lit("duplicate_exact"))
            .when(pl.col("group") != pl.col("kept_group")).then(pl.lit("duplicate_near"))
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
    sources=("stages/sft/*.py", "stages/duplicates/*.py", "stages/decontamination/*.py", "stages/*/schema.py"),
    may_be_empty=lambda ws, key: recipe_config(ws, key["recipe"]).steps == 0,
)
