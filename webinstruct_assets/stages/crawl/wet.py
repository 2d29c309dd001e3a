"""Reading a snapshot's WET files: the text of every page, with where it stands.

Unreadable records become rejects; the rest of their file is still read.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from webinstruct_assets.core.ids import row_id
from webinstruct_assets.core.stage import Reject
from webinstruct_assets.core.warc import RecordReject, iter_records
from webinstruct_assets.stages.crawl.source import CrawlSource


@dataclass(frozen=True)
class WetFile:
    """A WET file of ``crawl_index``: its row id, its path, and its WARC twin's path."""

    id: str
    path: str
    warc_path: str

    @property
    def unit(self) -> str:
        """Name of the unit of work that this file is."""
        return self.id


@dataclass(frozen=True)
class WetPage:
    """A page's text as Common Crawl extracted it."""

    file: WetFile
    offset: int
    url: str
    date: str
    text: str


def wet_files(crawl_index: pl.DataFrame) -> list[WetFile]:
    """The snapshot's WET files in path order, each with its WARC twin."""
    by_kind = {kind: crawl_index.filter(pl.col("kind") == kind).sort("path") for kind in ("warc", "wet")}
    return [
        WetFile(row["id"], row["path"], twin)
        for row, twin in zip(by_kind["wet"].iter_rows(named=True), by_kind["warc"]["path"], strict=True)
    ]


def read_wet(source: CrawlSource, file: WetFile, prefix: str, rejects: list[Reject]) -> Iterator[WetPage]:
    """Pages of a WET file in file order; what cannot be read is appended to ``rejects`` (ids start with ``prefix``)."""

    def on_reject(reject: RecordReject) -> None:
        rejects.append(
            Reject(
                row_id(prefix, file.id, reject.offset),
                file.id,
                reject.reason,
                f"{file.path}@{reject.offset}: {reject.detail}",
            )
        )

    with source.open(file.path) as stream:
        for record in iter_records(stream, file.path, on_reject=on_reject):
            if record.type == "conversion":
                text = record.payload.decode("utf-8", errors="replace")
                yield WetPage(file, record.offset, record.url, record.date, text)
