"""Spans of page text as tables hold them."""

from collections.abc import Iterable

import polars as pl

# Character offsets into the page's text, end exclusive.
SPANS = pl.List(pl.Struct({"start": pl.Int64(), "end": pl.Int64()}))


def span_rows(spans: Iterable[tuple[int, int]]) -> list[dict[str, int]]:
    """Spans as they are stored."""
    return [{"start": start, "end": end} for start, end in spans]
