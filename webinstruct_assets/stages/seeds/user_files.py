"""The user's own positive pages: JSONL or Parquet with ``text`` (and optionally ``url``) fields."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import polars as pl

from webinstruct_assets.core.errors import BadInput, MissingInput


def read_user_pages(path: Path) -> Iterator[tuple[int, str, str]]:
    """(record number, url, text) of each page. Raises MissingInput/BadInput naming the file and the field."""
    if not path.exists():
        raise MissingInput(f"seed file {path}: no such file", "correct `seeds.user_files`, or create the file")
    readers: dict[str, Callable[[Path], pl.DataFrame]] = {
        ".jsonl": partial(pl.read_ndjson, infer_schema_length=None),
        ".parquet": pl.read_parquet,
    }
    if path.suffix not in readers:
        raise BadInput(f"seed file {path}: unknown format {path.suffix!r}", "use .jsonl or .parquet")
    try:
        frame = readers[path.suffix](path)
    except pl.exceptions.PolarsError as error:
        raise BadInput(f"seed file {path}: {error}", "correct the file") from error
    if frame.schema.get("text") != pl.String():
        raise BadInput(
            f"seed file {path}: no string field 'text' (fields: {', '.join(frame.columns)})",
            "name the page's text `text`",
        )
    urls = frame["url"].to_list() if frame.schema.get("url") == pl.String() else [""] * frame.height
    for number, (url, text) in enumerate(zip(urls, frame["text"].to_list(), strict=True)):
        yield number, url or "", text or ""
