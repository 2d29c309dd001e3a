"""Writing captures as a snapshot that cannot be told from Common Crawl's by its layout.

    collinfo.json
    crawl-data/<ID>/{warc,wet,cc-index-table}.paths.gz
    crawl-data/<ID>/segments/<segment>/warc/CC-MAIN-<from>-<to>-<serial>.warc.gz
    crawl-data/<ID>/segments/<segment>/wet/CC-MAIN-<from>-<to>-<serial>.warc.wet.gz
    cc-index/table/cc-main/warc/crawl=<ID>/subset=warc/part-00000-<uuid>.c000.gz.parquet

In: captures (URL, time, HTTP headers, payload), all of them successful fetches. Out: one gzip member per
record, and an index whose offsets and lengths read exactly one response record. Nothing in the files depends
on the clock or on chance: equal captures give equal bytes.

Sources: WARC 1.1; the files of CC-MAIN-2024-22.
"""

import fcntl
import gzip
import io
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

import polars as pl

from webinstruct_assets.core.errors import BadInput, Busy
from webinstruct_assets.core.keys import check_plain_snapshot
from webinstruct_assets.core.lake import write_atomically
from webinstruct_assets.core.warc import wet_path
from webinstruct_assets.stages.crawl.capture import Capture, Page
from webinstruct_assets.stages.crawl.columnar_index import ColumnarIndex

if TYPE_CHECKING:
    from warcio.warcwriter import WARCWriter

SEGMENT_HOURS = 3  # the span that Common Crawl writes into its file names
SOFTWARE = "webinstruct-assets"


@contextmanager
def building(root: Path, snapshot: str) -> Iterator[Path]:
    """An empty folder below ``root`` to build the snapshot in, for one builder at a time (else Busy)."""
    root.mkdir(parents=True, exist_ok=True)
    folder = root / f".building-{check_plain_snapshot(snapshot)}"
    with (root / f".building-{snapshot}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            problem = f"{snapshot} is being built in {root} by another process"
            raise Busy(problem, "wait for it to end") from None
        shutil.rmtree(folder, ignore_errors=True)  # left by a killed build
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def publish(built: Path, root: Path, snapshot: str, name: str) -> None:
    """Moves a built snapshot below ``root``, replacing one of the same key, and lists it in collinfo.json.

    ``crawl-data/<ID>`` goes first and comes last, and is what makes a snapshot present: after a kill in
    between, the snapshot is absent and building it again repairs everything.
    """
    data, index = f"crawl-data/{snapshot}", f"cc-index/table/cc-main/warc/crawl={snapshot}"
    for part in (data, index):
        shutil.rmtree(root / part, ignore_errors=True)
        (root / part).parent.mkdir(parents=True, exist_ok=True)
    os.replace(built / index, root / index)
    os.replace(built / data, root / data)
    times = pl.read_parquet(root / index / "subset=warc/*.parquet", columns=["fetch_time"], hive_partitioning=False)[
        "fetch_time"
    ].dt.strftime("%Y-%m-%dT%H:%M:%S")
    entry = {
        "id": snapshot,
        "name": name,
        "timegate": f"/{snapshot}/",
        "cdx-api": f"/{snapshot}-index",
        "from": times.min(),
        "to": times.max(),
    }
    with (root / ".collinfo.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = root / "collinfo.json"
        known = json.loads(path.read_text()) if path.exists() else []
        entries = [other for other in known if other["id"] != snapshot] + [entry]
        entries.sort(key=lambda item: (item.get("from", ""), item["id"]), reverse=True)  # newest first
        write_atomically(path, (json.dumps(entries, indent=1) + "\n").encode())


def write_snapshot(
    folder: Path, snapshot: str, captures: Iterable[Capture], *, files: int = 1, segments: int = 1
) -> dict[str, int]:
    """Writes WARC, WET, index and path lists into ``folder``; captures go round the ``files`` in turn.

    The files are named after the first capture's time. Returns counts: captures, wet (pages with text),
    without_text (HTML or plain text pages of which none could be read), files, bytes (of WARC files).
    Raises BadInput when there is no capture.
    """
    rest = iter(captures)
    first = next(rest, None)
    if first is None:
        raise BadInput(f"{snapshot}: no page to write", "give at least one successful response")
    places = list(_places(snapshot, first.date, files, segments))
    index = ColumnarIndex()
    counts = {"captures": 0, "wet": 0, "without_text": 0, "files": files, "bytes": 0}
    with ExitStack() as stack:
        pairs = [stack.enter_context(_Pair(folder, snapshot, path, first.date)) for path, _ in places]
        for number, capture in enumerate(chain([first], rest)):
            path, segment = places[number % files]
            page = Page.of(capture)
            offset, length, has_text = pairs[number % files].write(capture, page, number)
            index.add(capture, page, path, segment, offset, length)
            counts["captures"] += 1
            counts["wet"] += has_text
            counts["without_text"] += page.is_text and not has_text
    counts["bytes"] = sum((folder / path).stat().st_size for path, _ in places)
    table = f"cc-index/table/cc-main/warc/crawl={snapshot}/subset=warc"
    part = f"{table}/part-00000-{uuid.uuid5(uuid.NAMESPACE_URL, snapshot)}.c000.gz.parquet"
    index.save(folder / part)
    _write_list(folder, snapshot, "warc", [path for path, _ in places])
    _write_list(folder, snapshot, "wet", [wet_path(path) for path, _ in places])
    _write_list(folder, snapshot, "cc-index-table", [part])
    return counts


def _places(snapshot: str, first_date: str, files: int, segments: int) -> Iterator[tuple[str, str]]:
    """(path, segment) of each WARC file; files are numbered inside their segment, as Common Crawl does."""
    start = datetime.fromisoformat(first_date)
    per_segment = -(-files // segments)
    for number in range(files):
        segment_number, serial = divmod(number, per_segment)
        begin = start + timedelta(hours=SEGMENT_HOURS * segment_number)
        end = begin + timedelta(hours=SEGMENT_HOURS)
        segment = f"{int(begin.timestamp() * 1000)}.{segment_number}"
        name = f"CC-MAIN-{begin:%Y%m%d%H%M%S}-{end:%Y%m%d%H%M%S}-{serial:05d}.warc.gz"
        yield f"crawl-data/{snapshot}/segments/{segment}/warc/{name}", segment


def _write_list(folder: Path, snapshot: str, kind: str, paths: Sequence[str]) -> None:
    text = "".join(f"{path}\n" for path in paths)
    (folder / f"crawl-data/{snapshot}/{kind}.paths.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


class _Pair:
    """A WARC file and its WET twin, open for writing."""

    def __init__(self, folder: Path, snapshot: str, path: str, date: str):
        self._stack = ExitStack()
        self._snapshot = snapshot
        self._warc = self._open(folder / path)
        self._wet = self._open(folder / wet_path(path))
        self._info(self._warc, Path(path).name, date, {"format": "WARC File Format 1.1"})
        self._info(self._wet, Path(wet_path(path)).name, date, {"Extracted-Date": date})

    def __enter__(self) -> "_Pair":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _open(self, path: Path) -> "tuple[BinaryIO, WARCWriter]":
        from warcio.warcwriter import WARCWriter

        path.parent.mkdir(parents=True, exist_ok=True)
        stream = self._stack.enter_context(path.open("wb"))
        return stream, WARCWriter(stream, gzip=True, warc_version="1.0")  # as Common Crawl's files say

    def _info(self, out: "tuple[BinaryIO, WARCWriter]", name: str, date: str, more: dict[str, str]) -> None:
        info = {"software": SOFTWARE, "isPartOf": self._snapshot, **more}
        record = out[1].create_warcinfo_record(name, info)
        record.rec_headers.replace_header("WARC-Date", date)
        record.rec_headers.replace_header("WARC-Record-ID", record_id(self._snapshot, name))
        out[1].write_record(record)

    def write(self, capture: Capture, page: Page, number: int) -> tuple[int, int, bool]:
        """Writes a capture's records; returns offset and length of the response, and whether it has text."""
        stream, warc = self._warc
        response_id = capture.record_id or record_id(self._snapshot, number, capture.url, capture.date)
        if capture.request:
            warc.write_record(_request(warc, capture, record_id(response_id, "request")))
        offset = stream.tell()
        warc.write_record(_response(warc, capture, page, response_id))
        length = stream.tell() - offset
        if page.text:
            self._wet[1].write_record(_conversion(self._wet[1], capture, page, response_id))
        return offset, length, bool(page.text)


def record_id(*parts: object) -> str:
    """A WARC-Record-ID that depends on ``parts`` alone."""
    return f"<urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, chr(31).join(map(str, parts)))}>"


def _request(warc: "WARCWriter", capture: Capture, request_id: str) -> Any:
    from warcio.statusandheaders import StatusAndHeaders

    parts = urlsplit(capture.url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = [
        ("User-Agent", SOFTWARE),
        ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        ("Accept-Language", "en-US,en;q=0.5"),
        ("Host", parts.netloc),
        ("Connection", "Keep-Alive"),
    ]
    http = StatusAndHeaders(f"GET {target} HTTP/1.1", headers, is_http_request=True)
    fields = {"WARC-Date": capture.date, "WARC-Record-ID": request_id}
    return warc.create_warc_record(capture.url, "request", warc_headers_dict=fields, http_headers=http)


def _response(warc: "WARCWriter", capture: Capture, page: Page, response_id: str) -> Any:
    from warcio.statusandheaders import StatusAndHeaders

    headers = []
    for name, value in capture.headers:
        lower = name.lower()
        # The payload is stored decoded; Common Crawl keeps what the server said under another name.
        if lower in ("content-encoding", "transfer-encoding", "content-length"):
            name = f"X-Crawler-{name}"
        headers.append((name, " ".join(value.split())))
    headers.append(("Content-Length", str(len(capture.payload))))
    fields = {
        "WARC-Date": capture.date,
        "WARC-Record-ID": response_id,
        "WARC-Payload-Digest": page.digest,
        "WARC-Identified-Payload-Type": page.detected,
    }
    if capture.truncated:
        fields["WARC-Truncated"] = capture.truncated
    http = StatusAndHeaders("200 OK", headers, protocol="HTTP/1.1")
    payload = io.BytesIO(capture.payload)
    return warc.create_warc_record(
        capture.url, "response", payload, len(capture.payload), warc_headers_dict=fields, http_headers=http
    )


def _conversion(wet: "WARCWriter", capture: Capture, page: Page, response_id: str) -> Any:
    text = page.text.encode() + b"\n"
    fields = {
        "WARC-Date": capture.date,
        "WARC-Record-ID": record_id(response_id, "conversion"),
        "WARC-Refers-To": response_id,
    }
    if capture.languages:
        fields["WARC-Identified-Content-Language"] = capture.languages
    return wet.create_warc_record(
        capture.url, "conversion", io.BytesIO(text), len(text), "text/plain", warc_headers_dict=fields
    )
