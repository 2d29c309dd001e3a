"""Asset ``recalled_urls``: the last recall's pages of selected domains, with where their HTML lies.

In: recall and domains of the last round, the snapshot's columnar index. Out: one row per page, joined with
the index on WARC file (the WET file's twin) and URL, then capture time. Rejects: ``domain_not_selected``,
``not_in_index``.

Columns: ``id``, ``parent_id`` (row of the last round's recall), ``url``, ``domain``, ``score``, ``warc_filename``
(relative to the bucket root), ``warc_record_offset`` and ``warc_record_length`` (bytes), ``content_digest``
(SHA-1, base 32), ``fetch_time`` (ISO 8601, UTC).
"""

import polars as pl

from webinstruct_assets.core.ids import row_id
from webinstruct_assets.core.keys import Ref
from webinstruct_assets.core.stage import Job, Reject, Stage, Unit
from webinstruct_assets.stages.crawl.index import lookup
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


def run(job: Job) -> None:
    """Keeps selected domains, then joins the index."""
    last = last_round(job.ws)
    pages = job.read(last.recall).sort("id")
    selected = job.read(last.domains).filter("selected")["domain"]
    snapshot = job.key["snapshot"]

    def compute() -> Unit:
        kept = pages.filter(pl.col("domain").is_in(selected.implode()))
        dropped = pages.filter(~pl.col("domain").is_in(selected.implode()))
        rejects = [
            Reject(row_id(PREFIX, row["id"]), row["id"], "domain_not_selected", row["url"])
            for row in dropped.iter_rows(named=True)
        ]
        wanted = kept.select(pl.col("warc_path").alias("warc_filename"), "url", pl.col("date").alias("fetch_time"))
        found = lookup(CrawlSource(job.ws.crawl_root(snapshot)), snapshot, wanted)
        places = {(row["warc_filename"], row["url"], row["fetch_time"]): row for row in found.iter_rows(named=True)}
        rows = []
        for page in kept.iter_rows(named=True):
            place = places.get((page["warc_path"], page["url"], page["date"]))
            if place is None:
                rejects.append(Reject(row_id(PREFIX, page["id"]), page["id"], "not_in_index", page["url"]))
                continue
            rows.append(
                {
                    "id": row_id(PREFIX, page["id"]),
                    "parent_id": page["id"],
                    **{name: page[name] for name in ("url", "domain", "score")},
                    **{
                        name: place[name]
                        for name in (
                            "warc_filename",
                            "warc_record_offset",
                            "warc_record_length",
                            "content_digest",
                            "fetch_time",
                        )
                    },
                }
            )
        return Unit(rows=rows, rejects=rejects, rows_in=pages.height)

    job.unit("pages", compute)
    (domains,) = job.manifests(last.domains)
    located = step(0, snapshot, "URLs located", "pages", job.outcome()["rows"])
    job.metrics |= {"selected_domains": len(selected), "funnel": [*domains.metrics.get("funnel", []), located]}


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
    sources=("stages/recall/recalled_urls.py", "stages/recall/funnel.py", "stages/crawl/index.py"),
)
