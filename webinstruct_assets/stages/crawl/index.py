"""From a WET file's URLs to the exact bytes of their WARC records, through the columnar index.

In: a snapshot and the (WARC file, URL) pairs that are wanted. Out: offset and length of each record, with
what Common Crawl found out about it. Only the index is read here, no WARC file.

Source: https://github.com/commoncrawl/cc-index-table (schema), subset ``warc`` (successful captures).
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from webinstruct_assets.core.errors import BadInput
from webinstruct_assets.stages.crawl.source import CrawlSource

FOUND_SCHEMA: dict[str, pl.DataType] = {
    "warc_filename": pl.String(),
    "url": pl.String(),
    "warc_record_offset": pl.Int64(),
    "warc_record_length": pl.Int64(),
    "content_digest": pl.String(),
    "fetch_time": pl.String(),
    "content_mime_detected": pl.String(),
    "content_charset": pl.String(),
    "content_languages": pl.String(),
    "url_host_registered_domain": pl.String(),
}


def lookup(source: CrawlSource, snapshot: str, wanted: pl.DataFrame) -> pl.DataFrame:
    """Index rows of the wanted captures, sorted by file and offset; what the index does not hold is left out.

    ``wanted``: warc_filename, url, and optionally fetch_time (``YYYY-MM-DDTHH:MM:SSZ``, as WarcRecord.date)
    to tell two captures of one URL in one file apart. Columns out (``FOUND_SCHEMA``): warc_filename — path
    below the root; url; warc_record_offset, warc_record_length — bytes; content_digest — base-32 SHA-1 of the
    payload; fetch_time — as in ``wanted``; content_mime_detected; content_charset; content_languages —
    ISO 639-3, comma-separated; url_host_registered_domain.

    Over HTTP each index file is downloaded to a temporary folder and deleted after use.
    Raises MissingInput for an unknown snapshot and BadInput for an index file without the needed columns.
    """
    keys: list[str] = [name for name in ("warc_filename", "url", "fetch_time") if name in wanted.columns]
    asked = wanted.select(keys).unique()
    paths = [path for path in source.file_list(snapshot, "cc-index-table") if "/subset=warc/" in path]
    found = [pl.DataFrame(schema=FOUND_SCHEMA)]
    for path in paths if asked.height else []:
        with _on_disk(source, path) as file:
            found.append(_join(file, path, asked, keys))
    return pl.concat(found).unique().sort("warc_filename", "warc_record_offset")


def _join(file: Path, path: str, asked: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    index = pl.scan_parquet(file, hive_partitioning=False)
    try:
        # Filtering by file first lets Parquet statistics skip most of a real index.
        rows = (
            index.select(list(FOUND_SCHEMA))
            .filter(pl.col("warc_filename").is_in(asked["warc_filename"].unique().to_list()))
            .collect()
        )
    except (pl.exceptions.ColumnNotFoundError, pl.exceptions.ComputeError) as error:
        raise BadInput(f"{path}: not a file of the columnar index ({error})", "fetch it again") from error
    if rows.schema["fetch_time"] != pl.String():  # a UTC time stamp, without time zone in old files
        rows = rows.with_columns(pl.col("fetch_time").dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
    return rows.cast(FOUND_SCHEMA).join(asked, on=keys, how="semi")  # type: ignore[arg-type]


@contextmanager
def _on_disk(source: CrawlSource, path: str) -> Iterator[Path]:
    if source.is_local:
        yield source.local(path)
        return
    with tempfile.TemporaryDirectory(prefix="cc-index-") as folder:
        file = Path(folder) / "part.parquet"
        with source.open(path) as stream, file.open("wb") as out:
            shutil.copyfileobj(stream, out, 1 << 20)
        yield file
