"""The user's own WARC files as a snapshot: from Common Crawl, wget, Browsertrix, Heritrix and their like.

In: WARC files, gzip per record, gzip over the whole file, or plain; payloads chunked or compressed as
their servers sent them. Out: a ``local-…`` snapshot in Common Crawl's layout. Its pages are the responses with status
200 and the resource records of web URLs, stored decoded under their original record ids. Everything else is
listed in ``crawl-data/<ID>/import-rejects.parquet``:

    file    the WARC file as given
    offset  of the record or its gzip member, bytes
    url     "" where unknown
    reason  type_<WARC type> (requests and the like), status, not_web_url, bad_url, empty_payload, bad_date,
            duplicate (of a record id), or a reason of core.warc
    detail  what exactly

The snapshot appears whole or not at all.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl

from webinstruct_assets.core.errors import BadInput, BadKey, MissingInput
from webinstruct_assets.core.keys import check_plain_snapshot
from webinstruct_assets.core.progress import Progress
from webinstruct_assets.core.warc import RecordReject, WarcRecord, iter_records
from webinstruct_assets.stages.crawl.capture import Capture
from webinstruct_assets.stages.crawl.writer import building, publish, record_id, write_snapshot

BYTES_PER_FILE = 1_000_000_000  # about what a WARC file of Common Crawl holds
REJECT_SCHEMA: dict[str, pl.DataType] = {
    "file": pl.String(),
    "offset": pl.Int64(),
    "url": pl.String(),
    "reason": pl.String(),
    "detail": pl.String(),
}


def import_warc(files: Sequence[Path], root: Path, snapshot: str, log: Callable[[str], None]) -> dict[str, Any]:
    """Imports ``files`` as ``snapshot`` below ``root``; returns write_snapshot's counts and ``rejected``.

    ``rejected`` maps reasons to numbers. Raises BadKey for a key that is not ``local-…``, BadInput when the
    snapshot exists or a file is empty or holds no page (nothing is imported then), MissingInput for a file
    that does not exist, Busy when the same snapshot is being built.
    """
    if not check_plain_snapshot(snapshot).startswith("local-"):
        raise BadKey(f"{snapshot!r} is a key of Common Crawl's own snapshots", "import as local-NAME")
    if not files:
        raise MissingInput("no WARC file given", "name at least one")
    for file in files:
        if not file.is_file():
            raise MissingInput(f"{file} does not exist", "check the path")
    rejects: list[RecordReject] = []
    with building(root, snapshot) as folder:
        if (root / f"crawl-data/{snapshot}").exists():
            raise BadInput(
                f"snapshot {snapshot} exists in {root}",
                f"import under another key, or delete {root}/crawl-data/{snapshot} first",
            )
        size = sum(file.stat().st_size for file in files)
        progress = Progress(f"import {snapshot}", log)
        progress.start(size, "bytes read")
        captures = _captures(files, rejects, log, progress)
        counts: dict[str, Any] = dict(
            write_snapshot(folder, snapshot, captures, files=max(1, -(-size // BYTES_PER_FILE)))
        )
        rows = [{name: getattr(item, name) for name in REJECT_SCHEMA} for item in rejects]
        frame = pl.DataFrame(rows, schema=REJECT_SCHEMA)
        frame.write_parquet(folder / f"crawl-data/{snapshot}/import-rejects.parquet")
        publish(folder, root, snapshot, f"Import of {len(files)} WARC file{'s' if len(files) > 1 else ''}")
    counts["rejected"] = dict(sorted(Counter(item.reason for item in rejects).items()))
    log(
        f"{snapshot}: {counts['captures']:,} pages imported, {counts['wet']:,} with text, "
        f"{len(rejects):,} other records"
    )
    return counts


def _captures(
    files: Sequence[Path], rejects: list[RecordReject], log: Callable[[str], None], progress: Progress
) -> Iterator[Capture]:
    seen: set[str] = set()

    def reject(item: RecordReject) -> None:
        rejects.append(item)
        progress.advance(0, {item.reason: 1})

    for file in files:
        pages, before, read = 0, len(rejects), 0
        with file.open("rb") as stream:
            for record in iter_records(stream, str(file), on_reject=reject):
                progress.advance(stream.tell() - read)
                read = stream.tell()
                reason, detail = _why_not(record)
                capture = _capture(record)
                if not reason and capture.record_id in seen:
                    reason, detail = "duplicate", capture.record_id
                if reason:
                    reject(RecordReject(str(file), record.offset, reason, detail, record.url))
                    continue
                pages += 1
                seen.add(capture.record_id)
                yield capture
        progress.advance(file.stat().st_size - read)
        found = Counter(item.reason for item in rejects[before:])
        others = ", ".join(f"{number} {reason}" for reason, number in found.most_common())
        # A file given twice is no fault: its pages are all here.
        if not pages and not found["duplicate"]:
            raise BadInput(
                f"{file}: no page in this file (found: {others or 'nothing'})",
                "give a WARC file with response records of status 200 (a WET or WAT file holds none)",
            )
        log(f"{file}: {pages:,} pages; not imported: {others or 'nothing'}")


def _why_not(record: WarcRecord) -> tuple[str, str]:
    """Reason and detail why the record is no page; "" where it is one."""
    if record.type not in ("response", "resource"):
        return f"type_{record.type}", ""
    # A response came over HTTP whatever its URI looks like (some archives name pages their own way); resource
    # records also hold a crawler's own logs.
    if record.type == "resource" and not record.url.lower().startswith(("http://", "https://")):
        return "not_web_url", record.url
    if not _splits(record.url):
        return "bad_url", record.url
    if record.type == "response" and record.http_status != 200:
        return "status", str(record.http_status)
    if not record.date:
        return "bad_date", record.warc_headers.get("warc-date", "")
    return ("", "") if record.payload else ("empty_payload", "")


def _splits(url: str) -> bool:
    try:
        urlsplit(url)
    except ValueError:  # e.g. a malformed IPv6 literal
        return False
    return bool(url)


def _capture(record: WarcRecord) -> Capture:
    return Capture(
        url=record.url,
        date=record.date,
        headers=record.http_headers or (("Content-Type", record.content_type),),
        payload=record.payload,
        # WARC demands an id; where it is missing, the place in the file makes one.
        record_id=record.record_id or record_id(record.file, record.offset, record.url, record.date),
        languages=record.warc_headers.get("warc-identified-content-language", ""),
        truncated=record.warc_headers.get("warc-truncated", ""),
    )
