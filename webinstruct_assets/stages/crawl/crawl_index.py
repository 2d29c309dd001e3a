"""Asset ``crawl_index``: the files of a snapshot. The root of all lineage.

In: a bucket laid out as Common Crawl's. Out: one row per WARC, WET and columnar-index file that this
environment reads (``crawl.max_wet_files`` samples whole WARC/WET pairs, seeded).

Columns: ``id``, ``parent_id`` ("": nothing is above), ``kind`` (warc | wet | cc-index-table), ``path``
(relative to the bucket root), ``bytes`` (null for remote files, whose sizes would cost a request each).
"""

import random
from pathlib import Path
from typing import Any

import polars as pl

from webinstruct_assets.core.ids import digest_file, digest_json, row_id
from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.stage import Job, Stage, Unit
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.crawl.source import CrawlSource

KINDS = ("warc", "wet", "cc-index-table")


def snapshot_digest(ws: Workspace, snapshot: str) -> str:
    """What tells one state of a snapshot from another.

    Local: file lists, file sizes and the index (which holds every record's digest). Remote snapshots never
    change once published, so their key and source say it all.
    """
    root = ws.crawl_root(snapshot)
    if not snapshot.startswith("local-"):
        return digest_json([root, snapshot])
    source = CrawlSource(root, ws.config.crawl)
    listing: list[Any] = []
    for kind in KINDS:
        for path in source.file_list(snapshot, kind):
            local = Path(root) / path
            listing.append([path, local.stat().st_size, digest_file(local) if kind == "cc-index-table" else ""])
    return digest_json(listing)


def settings(ws: Workspace, key: PartitionKey) -> dict[str, Any]:
    """Sampling and the snapshot's digest."""
    crawl = ws.config.crawl
    return {
        "max_wet_files": crawl.max_wet_files,
        "sample_seed": crawl.sample_seed,
        "snapshot_digest": snapshot_digest(ws, key["snapshot"]),
    }


def run(job: Job) -> None:
    """Lists, samples, measures."""
    snapshot = job.key["snapshot"]
    source = CrawlSource.of(job.ws, snapshot)

    def compute() -> Unit:
        lists = {kind: source.file_list(snapshot, kind) for kind in KINDS}
        pairs = sorted(zip(lists["warc"], lists["wet"], strict=True))
        limit = job.settings["max_wet_files"]
        if limit and limit < len(pairs):
            pairs = sorted(random.Random(job.settings["sample_seed"]).sample(pairs, limit))
        chosen = [("warc", warc) for warc, _ in pairs] + [("wet", wet) for _, wet in pairs]
        chosen += [("cc-index-table", path) for path in sorted(lists["cc-index-table"])]
        local = snapshot.startswith("local-")
        rows = [
            {
                "id": row_id("ci", snapshot, path),
                "parent_id": "",
                "kind": kind,
                "path": path,
                "bytes": source.size(path) if local else None,
            }
            for kind, path in chosen
        ]
        return Unit(rows=rows, rows_in=len(rows))

    job.unit("files", compute)
    job.metrics["snapshot_digest"] = job.settings["snapshot_digest"]
    job.metrics["source"] = "local" if snapshot.startswith("local-") else job.ws.config.crawl.source


CRAWL_INDEX = Stage(
    asset="crawl_index",
    dimensions=("snapshot",),
    prefix="ci",
    schema={
        "id": pl.String(),
        "parent_id": pl.String(),
        "kind": pl.String(),
        "path": pl.String(),
        "bytes": pl.Int64(),
    },
    run=run,
    inputs=lambda ws, key: [],
    settings=settings,
    sources=("stages/crawl/crawl_index.py", "stages/crawl/source.py", "stages/crawl/transport.py"),
)
