"""A crawl laid out like Common Crawl's bucket, wherever it lies.

    collinfo.json                                        the snapshots
    crawl-data/<snapshot>/{warc,wet,cc-index-table}.paths.gz   one path per line, relative to the root
    crawl-data/<snapshot>/segments/…                     the files themselves
    cc-index/table/cc-main/warc/crawl=<snapshot>/…       the columnar index

In goes a root (folder, ``file://``, ``http(s)://`` or ``s3://`` URL), out come lists of paths, streams and byte ranges.

Source: https://commoncrawl.org/get-started (layout).
"""

import io
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urlsplit

from webinstruct_assets.core.config import CrawlConfig
from webinstruct_assets.core.errors import BadInput, MissingInput, Unavailable
from webinstruct_assets.core.foreign_json import read_json
from webinstruct_assets.core.gunzip import gunzip
from webinstruct_assets.core.keys import check_plain_snapshot
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.crawl.transport import Folder, Transport, transport

T = TypeVar("T")

MAX_FILE_LIST = 256 << 20  # bytes; the largest snapshots list some 100,000 files in 15 MB
# The one known server whose list of snapshots lives elsewhere.
COLLINFO = {"data.commoncrawl.org": "https://index.commoncrawl.org"}


class CrawlSource:
    """Read access to a crawl at ``root``; paths are relative to it, as in Common Crawl's lists.

    Every method raises MissingInput for what is not there, BadInput for what is not as it should be, and Unavailable
    where neither the root nor one of ``config.mirrors`` (of ``config.source`` only) answers. May be pickled.
    """

    def __init__(self, root: str, config: CrawlConfig | None = None, *, sleep: Callable[[float], None] = time.sleep):
        self.root = root
        self.config = config or CrawlConfig()
        self._sleep = sleep
        self._connect()

    def _connect(self) -> None:
        roots = [self.root, *(self.config.mirrors if self.root == self.config.source else ())]
        self._transports = [transport(root, self.config, self._sleep) for root in roots]

    @classmethod
    def of(cls, ws: Workspace, snapshot: str) -> "CrawlSource":
        """Where the workspace reads a snapshot from."""
        return cls(ws.crawl_root(snapshot), ws.config.crawl)

    def __reduce__(self) -> Any:
        return CrawlSource, (self.root, self.config)

    def snapshots(self) -> list[dict[str, Any]]:
        """The entries of collinfo.json in its order (newest first): id, name, and from/to where given."""
        elsewhere = COLLINFO.get(urlsplit(self.root).netloc)
        source = CrawlSource(elsewhere, self.config, sleep=self._sleep) if elsewhere else self
        try:
            entries = read_json(source.read("collinfo.json"))
            if not all(isinstance(entry["id"], str) for entry in entries):
                raise TypeError("an entry has no id")
        except (ValueError, TypeError, KeyError) as error:
            raise BadInput(
                f"{self.root}: collinfo.json is not a list of snapshots ({error})",
                "point the crawl source at the root of a crawl laid out like Common Crawl's",
            ) from error
        return list(entries)

    def file_list(self, snapshot: str, kind: str) -> list[str]:
        """Paths of the snapshot's ``warc``, ``wet`` or ``cc-index-table`` files.

        For an unknown snapshot MissingInput lists the known ones.
        """
        path = f"crawl-data/{check_plain_snapshot(snapshot)}/{kind}.paths.gz"
        try:
            data = self.read(path)
        except MissingInput as error:
            try:
                known = [entry["id"] for entry in self.snapshots()]
            except MissingInput:  # a root that holds nothing yet
                known = []
            if snapshot in known:
                raise
            raise MissingInput(
                f"{self.root} has no snapshot {snapshot}",
                f"use one of: {', '.join(known) or '(it has none)'}; or make it (import-warc, demo)",
            ) from error
        try:
            return [line for line in gunzip(data, MAX_FILE_LIST, f"{self.root}/{path}").decode().splitlines() if line]
        except UnicodeDecodeError as error:
            raise BadInput(f"{self.root}/{path}: not a list of paths ({error})", "fetch it again") from error

    def open(self, path: str) -> BinaryIO:
        """The file as a stream, read forward; a transfer that breaks is taken up again, elsewhere if need be."""
        first = self._transports[0]
        if isinstance(first, Folder):
            return first.file(path).open("rb")
        return io.BufferedReader(_Stream(self._chunks(path)), 1 << 20)

    def read(self, path: str) -> bytes:
        """The whole file."""
        return b"".join(self._chunks(path))

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset`` on; BadInput where the file is shorter."""
        data = self._first(lambda side: side.read(path, offset, length))
        if len(data) != length:
            raise BadInput(
                f"{self.root}/{path}: {len(data)} of {length} bytes at offset {offset}",
                "the file is shorter than the index says; fetch it again",
            )
        return data

    def read_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        """The bytes of each (offset, length) in the order given, fewer (or none) where the file ends before.

        Neighbours are read as one (``coalesced``), a few at a time and ahead of the reader, so sort them by offset.
        """
        groups = coalesced(ranges, self.config.coalesce_gap, self.config.coalesce_bytes)

        def read(group: list[tuple[int, int]]) -> list[bytes]:
            start, end = group[0][0], max(offset + length for offset, length in group)
            data = self._first(lambda side: side.read(path, start, end - start))
            return [data[offset - start : offset - start + length] for offset, length in group]

        if isinstance(self._transports[0], Folder):
            for group in groups:
                yield from read(group)
            return
        with ThreadPoolExecutor(self.config.connections) as pool:
            waiting: list[Future[list[bytes]]] = []
            try:
                for group in groups:
                    waiting.append(pool.submit(read, group))
                    if len(waiting) > self.config.connections:
                        yield from waiting.pop(0).result()
                while waiting:
                    yield from waiting.pop(0).result()
            finally:
                for future in waiting:
                    future.cancel()

    def size(self, path: str) -> int:
        """Bytes of the file."""
        return self._first(lambda side: side.size(path))

    def _first(self, ask: Callable[[Transport], T]) -> T:
        """The answer of the first transport that has one."""
        for side in self._transports[:-1]:
            try:
                return ask(side)
            except Unavailable:
                continue
        return ask(self._transports[-1])

    def _chunks(self, path: str) -> Iterator[bytes]:
        at = 0
        for number, side in enumerate(self._transports, start=1):
            try:
                for chunk in side.chunks(path, at):
                    at += len(chunk)
                    yield chunk
                return
            except Unavailable:
                if number == len(self._transports):
                    raise


def coalesced(ranges: Iterable[tuple[int, int]], gap: int, largest: int) -> Iterator[list[tuple[int, int]]]:
    """Neighbouring (offset, length) in groups to be read at once.

    A range joins the group where it starts at or after the one before and at most ``gap`` bytes behind the group's
    end, and the group stays within ``largest`` bytes.
    """
    group: list[tuple[int, int]] = []
    end = 0
    for offset, length in ranges:
        fits = group and group[-1][0] <= offset <= end + gap and max(end, offset + length) - group[0][0] <= largest
        if group and not fits:
            yield group
            group = []
        end = max(end, offset + length) if group else offset + length
        group.append((offset, length))
    if group:
        yield group


class _Stream(io.RawIOBase):
    """Chunks as a file that is read forward."""

    def __init__(self, chunks: Iterator[bytes]):
        self._chunks = chunks
        # The first request is made here, so that a missing file is reported by ``open``.
        self._rest = memoryview(next(chunks, b""))

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size

    def close(self) -> None:
        self._chunks.close()  # type: ignore[attr-defined]
        super().close()
