"""Recalled pages as training documents: the paper's comparison of raw pages with pairs (Table 6, setting a).

In: ``pages`` of the recipe's snapshots and the items of all enabled benchmarks. Out: per page a row, or a reject:
``contaminated`` (the rule of ``decontaminated_qa``, over every page and not only those with pairs),
``duplicate_exact`` (the same text as the page that the detail names, of the same or an older snapshot),
``over_max_rows`` (a seeded sample). A page's conversation is one turn of the assistant's, which the trainer takes as
a document.
"""

from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from webinstruct_assets.core.config import RecipeConfig
from webinstruct_assets.core.ids import row_id
from webinstruct_assets.core.lake import REJECT_SCHEMA, write_table
from webinstruct_assets.core.stage import Job, Unit
from webinstruct_assets.stages.decontamination.decontaminated_qa import (
    HITS_SCHEMA,
    Lookups,
    describe,
    find_common,
    items_of,
    look_up,
    page_chunks,
)
from webinstruct_assets.stages.duplicates.exact import pair_digest
from webinstruct_assets.stages.sft.attribution import dropped_by_benchmark

VERDICTS = {"id": pl.String(), "digest": pl.String(), "reason": pl.String(), "detail": pl.String()}


def take_pages(job: Job, recipe: RecipeConfig) -> None:
    """Judges all pages, some at a time, then writes them in units of the same."""
    chunks = [
        (pages.keys["snapshot"], chunk) for pages in job.manifests("pages") for chunk in page_chunks(job.ws.lake, pages)
    ]
    scratch = job.folder / "scratch"
    scratch.mkdir(exist_ok=True)
    lookups = Lookups.of(items_of(job), job.settings["decontamination"])
    find_common(job, job.settings["decontamination"], lookups.index, [chunk for _, chunk in chunks], scratch)
    judged_files, hit_files = [], []
    total = sum(pages.rows for pages in job.manifests("pages"))
    job.progress.start(total, "pages looked up")
    for number, (_, chunk) in enumerate(chunks):
        judged_files.append(scratch / f"judged-{number:05}.parquet")
        hit_files.append(scratch / f"hits-{number:05}.parquet")
        if not judged_files[-1].exists():
            judged, hits = _judge(chunk, lookups)
            write_table(hit_files[-1], hits)
            write_table(judged_files[-1], judged)
            job.progress.advance(judged.height)
        else:
            job.progress.found(pl.scan_parquet(judged_files[-1]).select(pl.len()).collect().item())
    hits = pl.concat([pl.DataFrame(schema=HITS_SCHEMA), *(pl.read_parquet(file) for file in hit_files)])
    write_table(job.folder / "hits.parquet", hits)
    judged = pl.concat([pl.DataFrame(schema=VERDICTS), *(pl.read_parquet(file) for file in judged_files)])
    job.metrics["by_benchmark"] = dropped_by_benchmark(hits, "page_id")
    verdicts = _verdicts(judged, recipe)
    job.progress.start(total, "pages")
    for number, (snapshot, chunk) in enumerate(chunks):
        job.unit(f"{number:05}", partial(_unit, job, snapshot, chunk, verdicts))


def _judge(chunk: list[Path], lookups: Lookups) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What can be said of a page alone: its text's digest, and whether it holds a benchmark's wording."""
    pages = pl.read_parquet(chunk, columns=["id", "url", "text"], hive_partitioning=False)
    places = [
        {"id": "", "parent_id": identity, "url": url, "question": "", "answer": ""}
        for identity, url in pages.select("id", "url").iter_rows()
    ]
    hits = look_up(places, dict(pages.select("id", "text").iter_rows()), lookups)
    evidence = {hit["page_id"]: describe(hit) for hit in reversed(hits) if not hit["common"]}
    rows = [
        {
            "id": identity,
            "digest": pair_digest("", text),
            "reason": "contaminated" if identity in evidence else None,
            "detail": evidence.get(identity, ""),
        }
        for identity, text in pages.select("id", "text").iter_rows()
    ]
    return pl.DataFrame(rows, schema=VERDICTS), pl.DataFrame(hits, schema=HITS_SCHEMA)


def _verdicts(judged: pl.DataFrame, recipe: RecipeConfig) -> pl.DataFrame:
    """Page -> reason (null: it is taken) and detail, from all of them together."""
    clean = judged.filter(pl.col("reason").is_null()).with_columns(pl.col("id").first().over("digest").alias("kept"))
    kept = clean.filter(pl.col("id") == pl.col("kept"))["id"].to_list()
    limit = len(kept) if recipe.filters.max_rows is None else recipe.filters.max_rows
    drawn = sorted(kept, key=lambda identity: row_id("sf", recipe.seed, identity))[:limit]
    found = clean.select(
        "id",
        pl.when(pl.col("id") != pl.col("kept"))
        .then(pl.lit("duplicate_exact"))
        .when(~pl.col("id").is_in(drawn))
        .then(pl.lit("over_max_rows"))
        .alias("reason"),
        pl.when(pl.col("id") != pl.col("kept")).then("kept").otherwise(pl.lit("")).alias("detail"),
    )
    return pl.concat([judged.filter(pl.col("reason").is_not_null()).select("id", "reason", "detail"), found])


def _unit(job: Job, snapshot: str, chunk: list[Path], verdicts: pl.DataFrame) -> Unit:
    recipe = job.key["recipe"]
    pages = pl.read_parquet(chunk, columns=["id", "text"], hive_partitioning=False).join(
        verdicts, on="id", how="left", maintain_order="left"
    )
    named = pages.select(
        pl.Series("id", [row_id("sf", parent, recipe) for parent in pages["id"]], dtype=pl.String()),
        pl.col("id").alias("parent_id"),
        "text",
        "reason",
        "detail",
    )
    rows: list[dict[str, Any]] = [
        {
            "id": row["id"], "parent_id": row["parent_id"], "snapshot": snapshot, "refiner": "", "subject": "",
            "source_type": "", "messages": [{"role": "assistant", "content": row["text"]}],
        }
        for row in named.filter(pl.col("reason").is_null()).iter_rows(named=True)
    ]  # fmt: skip
    rejects = named.filter(pl.col("reason").is_not_null()).select(*REJECT_SCHEMA)
    job.progress.advance(pages.height)
    return Unit(rows=rows, rows_in=pages.height, rejects=rejects)
