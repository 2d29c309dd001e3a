"""From a WET file's URLs to the exact bytes of their WARC records, through the columnar index.

In: the (WARC file, URL) pairs that are wanted, and one file of the index. Out: offset and length of each record,
with what Common Crawl found out about it. Only the index is read here, no WARC file; DuckDB reads it in place
through the crawl's own transport, and of it only the footer and the column chunks that the query needs.

Source: https://github.com/commoncrawl/cc-index-table (schema), subset ``warc`` (successful captures).
"""

from typing import Any

import polars as pl

from webinstruct_assets.core.errors import BadInput, WebInstructError
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


def lookup(source: CrawlSource, path: str, wanted: pl.DataFrame) -> pl.DataFrame:
    """Rows of the index file ``path`` for the wanted captures, sorted by WARC file and offset, each once.

    ``wanted``: warc_filename, url, and optionally fetch_time (``YYYY-MM-DDTHH:MM:SSZ``, as WarcRecord.date)
    to tell two captures of one URL in one file apart. Columns out (``FOUND_SCHEMA``): warc_filename — path
    below the root; url; warc_record_offset, warc_record_length — bytes; content_digest — base-32 SHA-1 of the
    payload; fetch_time — as in ``wanted``; content_mime_detected; content_charset; content_languages —
    ISO 639-3, comma-separated; url_host_registered_domain.

    Raises BadInput for a file that is no index file or lacks a column, and the source's own errors.
    """
    import duckdb

    names = [name for name in FOUND_SCHEMA if name != "fetch_time"]
    files = _file_system(source)
    with duckdb.connect() as connection:
        connection.register_filesystem(files)
        connection.register("wanted", wanted.select("warc_filename", "url").unique().to_arrow())
        # A UTC time stamp, with or without time zone; seconds since 1970 are the same for both.
        query = f"""
            SELECT {", ".join(f"i.{name}" for name in names)}, epoch_ms(i.fetch_time) AS fetch_time
            FROM read_parquet('crawl://{path.replace("'", "''")}', hive_partitioning = false) AS i
            JOIN wanted USING (warc_filename, url)
        """
        try:
            connection.execute("SET parquet_metadata_cache = true")  # binding and running read the footer each
            rows = pl.DataFrame(connection.sql(query).to_arrow_table())
        except duckdb.Error as error:
            if files.error:
                raise files.error from error
            problem = f"{source.root}/{path}: not a file of the columnar index ({str(error).splitlines()[0]})"
            raise BadInput(problem, "fetch it again") from error
    time = pl.from_epoch("fetch_time", time_unit="ms").dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    found = rows.with_columns(time).select(list(FOUND_SCHEMA)).cast(FOUND_SCHEMA)  # type: ignore[arg-type]
    if "fetch_time" in wanted.columns:
        found = found.join(wanted.unique(), on=["warc_filename", "url", "fetch_time"], how="semi")
    return found.unique().sort("warc_filename", "warc_record_offset", "url")


def _file_system(source: CrawlSource) -> Any:
    """The source as a file system that DuckDB can use (``crawl://<path>``); ``error`` is the source's last error.

    DuckDB gives the text of an exception only, and a server that is away must not look like a damaged file.
    """
    from fsspec import AbstractFileSystem
    from fsspec.spec import AbstractBufferedFile

    class File(AbstractBufferedFile):
        def _fetch_range(self, start: int, end: int) -> bytes:
            return bytes(self.fs.ask(lambda: source.read_range(self.path, start, end - start)))

    class Files(AbstractFileSystem):
        protocol = "crawl"
        cachable = False
        error: WebInstructError | None = None

        def ask(self, call: Any) -> Any:
            try:
                return call()
            except WebInstructError as error:
                self.error = error
                raise OSError(error.problem) from error

        def info(self, path: str, **_: Any) -> dict[str, Any]:
            name = self._strip_protocol(path)
            return {"name": name, "size": self.ask(lambda: source.size(name)), "type": "file"}

        def exists(self, path: str, **_: Any) -> bool:
            return True  # asked before every read; what is missing shows when it is opened

        def glob(self, path: str, **_: Any) -> list[str]:
            return [self._strip_protocol(path)]

        def modified(self, path: str) -> Any:
            from datetime import UTC, datetime

            return datetime.fromtimestamp(0, UTC)  # files of a snapshot do not change

        def _open(self, path: str, mode: str = "rb", **_: Any) -> File:
            return File(self, path, mode, cache_type="none", size=self.info(path)["size"])

    return Files()
