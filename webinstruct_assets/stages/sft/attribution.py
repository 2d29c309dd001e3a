"""Which benchmark took rows out of a training set that was looked up itself: a public set, or pages."""

from typing import Any

import polars as pl


def dropped_by_benchmark(hits: pl.DataFrame, dropped: str) -> list[dict[str, Any]]:
    """Per benchmark: ``items_hit``, ``rows_dropped`` and the first matching text as an ``example``.

    ``dropped``: the column of ``hits`` with the row's id. A row may count for several benchmarks.
    """
    found = (
        hits.filter(~pl.col("common"))
        .group_by("benchmark", maintain_order=True)
        .agg(
            pl.col("item_id").n_unique().alias("items_hit"),
            pl.col(dropped).n_unique().alias("rows_dropped"),
            (pl.col("item_id").first() + ": " + pl.col("matched").first()).alias("example"),
        )
    )
    return found.sort("benchmark").to_dicts()
