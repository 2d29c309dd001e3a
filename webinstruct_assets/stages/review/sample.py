"""Which pairs are reviewed: a seeded random sample, spread over strata in proportion where that is asked for."""

import math

import polars as pl

from webinstruct_assets.core.ids import row_id


def draw(pairs: pl.DataFrame, size: int, seed: int, stratify_by: str | None) -> pl.DataFrame:
    """At most ``size`` rows of ``pairs`` (columns ``id`` and ``stratify_by``), in the order in which they are shown.

    The order is that of a digest over seed and id, so a sample of 100 begins with the sample of 50, and a pair that is
    added or dropped upstream moves no other. Strata get their share of ``size`` by largest remainder, and one pair at
    least while there is room.
    """
    order = pl.Series("order", [row_id("draw", seed, identity) for identity in pairs["id"]], dtype=pl.String)
    shuffled = pairs.with_columns(order).sort("order", "id").drop("order")
    if stratify_by is None or shuffled.height <= size:
        return shuffled.head(size)
    strata = dict(shuffled.group_by(stratify_by).len().sort(stratify_by).iter_rows())
    quota = _quota(strata, size)
    rank = pl.int_range(pl.len()).over(stratify_by)
    limit = pl.col(stratify_by).replace_strict(quota, return_dtype=pl.Int64)
    return shuffled.filter(rank < limit)


def _quota(strata: dict[str, int], size: int) -> dict[str, int]:
    total = sum(strata.values())
    exact = {name: size * count / total for name, count in strata.items()}
    quota = {name: min(count, max(1, math.floor(exact[name]))) for name, count in strata.items()}
    while sum(quota.values()) < size:
        name = min(strata, key=lambda name: (quota[name] >= strata[name], quota[name] - exact[name], name))
        quota[name] += 1
    while sum(quota.values()) > size:
        name = max(strata, key=lambda name: (quota[name] > 1, quota[name] - exact[name], name))
        quota[name] -= 1
    return quota
