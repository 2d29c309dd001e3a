"""From refined pairs back to WARC records: the lineage columns of the dataset, by joins along ``parent_id``.

In: a job with the assets of ``CHAIN`` among its inputs. Out: one row per refined pair with ``LINEAGE`` columns.
"""

import polars as pl

from webinstruct_assets.core.errors import BadInput
from webinstruct_assets.core.stage import Job

# What a refined pair descends from, nearest first.
CHAIN = ("deduplicated_qa", "decontaminated_qa", "extracted_qa", "pages", "recalled_urls")
PLACE = ("warc_filename", "warc_record_offset", "warc_record_length", "content_digest", "fetch_time")
# pair_id: qa-… of the extracted pair      page_id: pg-…      the others: where the page's WARC record lies (recalled_urls)
LINEAGE: dict[str, pl.DataType] = {
    "pair_id": pl.String(),
    "page_id": pl.String(),
    "warc_filename": pl.String(),
    "warc_record_offset": pl.Int64(),
    "warc_record_length": pl.Int64(),
    "content_digest": pl.String(),
    "fetch_time": pl.String(),
}
_NAMED = {"extracted_qa": "pair_id", "pages": "page_id"}


def lineage(job: Job, refined: pl.DataFrame) -> pl.DataFrame:
    """``refined`` (id, parent_id) with its lineage: columns ``id`` and ``LINEAGE``."""
    frame = refined.select("id", pl.col("parent_id").alias("here"))
    for asset in CHAIN:
        columns = ("id", "parent_id") if asset != CHAIN[-1] else ("id", "parent_id", *PLACE)
        wanted = frame["here"].unique()
        rows = job.scan(asset).select(columns).filter(pl.col("id").is_in(wanted.implode())).collect()
        frame = frame.join(rows.rename({"id": "here", "parent_id": "above"}), on="here", how="left", validate="m:1")
        lost = frame.filter(pl.col("above").is_null())
        if lost.height:
            raise BadInput(
                f"{job.stage.asset} {job.key}: {lost['id'][0]} descends from {lost['here'][0]}, which {asset} does not have",
                "materialize refined_qa again, then this",
            )
        if asset in _NAMED:
            frame = frame.rename({"here": _NAMED[asset]}).rename({"above": "here"})
        else:
            frame = frame.drop("here").rename({"above": "here"})
    return frame.select("id", *(pl.col(name).cast(kind) for name, kind in LINEAGE.items()))
