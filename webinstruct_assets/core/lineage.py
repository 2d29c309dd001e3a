"""From rows to what they descend from: joins along ``parent_id`` through the partitions that a job reads."""

from collections.abc import Mapping

import polars as pl

from webinstruct_assets.core.errors import BadInput
from webinstruct_assets.core.stage import Job

Chain = Mapping[str, Mapping[str, str]]


def with_ancestors(job: Job, rows: pl.DataFrame, chain: Chain) -> pl.DataFrame:
    """``rows`` (``id``, ``parent_id`` and any others) with columns of the rows that they descend from.

    ``chain``: the assets above, nearest first, each with what is taken from it: column -> its name in the result. Raises
    BadInput for a row whose ancestor is not there.
    """
    frame = rows.with_columns(pl.col("parent_id").alias("_here"))
    for asset, taken in chain.items():
        columns = [pl.col("id").alias("_here"), pl.col("parent_id").alias("_above")]
        columns += [pl.col(column).alias(name) for column, name in taken.items()]
        wanted = frame["_here"].unique().implode()
        above = job.scan(asset).filter(pl.col("id").is_in(wanted)).select(columns).collect()
        frame = frame.join(above, on="_here", how="left", validate="m:1", maintain_order="left")
        if (lost := frame.filter(pl.col("_above").is_null())).height:
            raise BadInput(
                f"{job.stage.asset} {job.key}: {lost['id'][0]} descends from {lost['_here'][0]}, which {asset} does not have",
                "materialize what lies between them again, then this",
            )
        frame = frame.drop("_here").rename({"_above": "_here"})
    return frame.drop("_here")
