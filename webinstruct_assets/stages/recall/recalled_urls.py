"""Asset ``recalled_urls``: the last recall's pages of selected domains, with where their HTML lies.

In: recall and domains of the last round, the snapshot's columnar index. Out: one row per page, joined with
the index on WARC file (the WET file's twin) and URL, then capture time. Rejects: ``domain_not_selected``,
``not_in_index``.

Every index file is a unit that is read once; what it holds of the wanted pages is ``found-<unit>.parquet`` beside the
parts (columns: ``stages.crawl.index``). A file whose server does not answer fails its unit, the others are committed,
and the next run reads only the missing ones. The unit ``pages`` joins them all.

Columns: ``id``, ``parent_id`` (row of the last round's recall), ``url``, ``domain``, ``score``, ``warc_filename``
(relative to the bucket root), ``warc_record_offset`` and ``warc_record_length`` (bytes), ``content_digest``
(SHA-1, base 32), ``fetch_time`` (ISO 8601, UTC).
"""

from functools import partial
from pathlib import Path

import polars as pl

from webinstruct_assets.core.ids import row_id
from webinstruct_assets.core.keys import Ref
from webinstruct_assets.core.lake import REJECT_SCHEMA
from webinstruct_assets.core.stage import Job, Stage, Unit
from webinstruct_assets.stages.crawl.index import FOUND_SCHEMA, lookup
from webinstruct_assets.stages.crawl.source import CrawlSource
from webinstruct_assets.stages.recall.funnel import step
from webinstruct_assets.stages.recall.rounds import last_round

PREFIX = "ur"
SCHEMA: dict[str, pl.DataType] = {
    "id": pl.String(),
    "parent_id": pl.String(),
    "url": pl.String(),
    "domain": pl.String(),
    "score": pl.Float32(),
    "warc_filename": pl.String(),
    "warc_record_offset": pl.Int64(),
    "warc_record_length": pl.Int64(),
    "content_digest": pl.String(),
    "fetch_time": pl.String(),
}


PLACE = ("warc_filename", "warc_record_offset", "warc_record_length", "content_digest", "fetch_time")


def run(job: Job) -> None:
    """Looks up the pages of selected domains in every index file, then joins what was found."""
    snapshot = job.key["snapshot"]
    last = last_round(job.ws)
    selected = job.read(last.domains).filter("selected")["domain"]
    # Not the text, which is nearly all of it.
    pages = job.scan(last.recall).select("id", "url", "domain", "score", "date", "warc_path").sort("id").collect()
    chosen = pages["domain"].is_in(selected.implode())
    wanted = pages.filter(chosen).select(
        pl.col("warc_path").alias("warc_filename"), "url", pl.col("date").alias("fetch_time")
    )
    scratch = job.folder / "scratch"
    scratch.mkdir(exist_ok=True)
    wanted.unique().write_parquet(scratch / "wanted.parquet")
    source = CrawlSource.of(job.ws, snapshot)
    files = job.read("crawl_index").filter(kind="cc-index-table").sort("path")
    units = {
        f"index-{row['id']}": (f"index-{row['id']}", row["path"])
        for row in files.iter_rows(named=True)
        if "/subset=warc/" in row["path"]
    }
    job.map(partial(_look_up, source, scratch / "wanted.parquet"), units, noun="index files")
    found = pl.concat(
        [pl.DataFrame(schema=FOUND_SCHEMA)] + [pl.read_parquet(job.folder / f"found-{name}.parquet") for name in units]
    )
    job.unit("pages", partial(_join, pages, chosen, found))
    (domains,) = job.manifests(last.domains)
    located = step(0, snapshot, "URLs located", "pages", job.outcome()["rows"])
    job.metrics |= {
        "selected_domains": len(selected),
        "index_files": len(units),
        "funnel": [*domains.metrics.get("funnel", []), located],
    }


def _look_up(source: CrawlSource, wanted: Path, argument: tuple[str, str]) -> Unit:
    """One index file: what it holds of the wanted pages, as a side file."""
    name, path = argument
    found = lookup(source, path, pl.read_parquet(wanted))
    return Unit(rows=(), rows_in=0, files={f"found-{name}.parquet": found}, counts={"found": found.height})


def _join(pages: pl.DataFrame, chosen: pl.Series, found: pl.DataFrame) -> Unit:
    """Every page with its place, or among the rejects."""
    keys = ["warc_filename", "url", "fetch_time"]
    places = found.select((*PLACE, "url")).sort(*keys, "warc_record_offset").unique(keys, keep="first")
    placed = (
        pages.filter(chosen)
        .rename({"id": "parent_id", "warc_path": "warc_filename", "date": "fetch_time"})
        .join(places, on=keys, how="left")
        .sort("parent_id")
        .with_columns(pl.col("parent_id").map_elements(partial(row_id, PREFIX), pl.String).alias("id"))
    )
    lost = pl.col("warc_record_offset").is_null()
    dropped = pages.filter(~chosen).select(
        pl.col("id").map_elements(partial(row_id, PREFIX), pl.String).alias("id"),
        pl.col("id").alias("parent_id"),
        pl.lit("domain_not_selected").alias("reason"),
        pl.col("url").alias("detail"),
    )
    missing = placed.filter(lost).select(
        "id", "parent_id", pl.lit("not_in_index").alias("reason"), pl.col("url").alias("detail")
    )
    rejects = pl.concat([dropped, missing]).cast(pl.Schema(REJECT_SCHEMA))
    return Unit(rows=placed.filter(~lost).select(list(SCHEMA)), rejects=rejects, rows_in=pages.height)


RECALLED_URLS = Stage(
    asset="recalled_urls",
    dimensions=("snapshot",),
    prefix=PREFIX,
    schema=SCHEMA,
    run=run,
    inputs=lambda ws, key: [
        Ref("crawl_index", key),
        Ref(last_round(ws).recall, key),
        Ref(last_round(ws).domains, key),
    ],
    settings=lambda ws, key: {},
    sources=(
        "stages/recall/recalled_urls.py",
        "stages/recall/rounds.py",
        "stages/recall/funnel.py",
        "stages/crawl/index.py",
        "stages/crawl/source.py",
        "stages/crawl/transport.py",
    ),
)
