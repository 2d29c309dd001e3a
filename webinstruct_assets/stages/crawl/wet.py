"""Reading a snapshot's WET files: the text of every page, with where it stands.

Unreadable records become rejects; the rest of their file is still read.

``iter_wet_batches`` is bound by inflation: igzip inflates member after member into one buffer, a numba kernel
finds the records in it, and the gzip trailers (RFC 1952: length of the data modulo 2^32) tell where in the file
each member begins. Whatever is not exactly as Common Crawl writes it (one record per member, CRLF, one URL, a date in
whole seconds) is left to ``core.warc``, record by record, so that both readers give the same pages and rejects.
"""

import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import polars as pl

from webinstruct_assets.core.ids import row_id
from webinstruct_assets.core.stage import Reject
from webinstruct_assets.core.warc import (
    CHUNK,
    GZIP_MAGIC,
    MAX_HEAD,
    MAX_PAYLOAD,
    Frame,
    RecordReject,
    WarcRecord,
    Window,
    gzip_frames,
    iter_records,
    parse_frame,
)
from webinstruct_assets.stages.crawl.source import CrawlSource

if TYPE_CHECKING:
    import pyarrow as pa

TYPES = ("conversion",)
BATCH_BYTES = 8 << 20  # inflated bytes; fits the measured optimum of 4 to 16 MiB


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


@dataclass(frozen=True)
class WetBatch:
    """Pages of a WET file in file order, as Arrow arrays of one length.

    ``offsets``: int64, byte offset in the file of the page's gzip member. ``urls``, ``dates``: string, as
    WarcRecord's. ``texts``: binary, the block as stored, which should be UTF-8 and need not be.
    """

    offsets: "pa.Int64Array"
    urls: "pa.StringArray"
    dates: "pa.StringArray"
    texts: "pa.BinaryArray"

    def __len__(self) -> int:
        return len(self.offsets)


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


def iter_wet_batches(
    stream: BinaryIO,
    file: str,
    *,
    on_reject: Callable[[RecordReject], None],
    batch_bytes: int = BATCH_BYTES,
    max_payload: int = MAX_PAYLOAD,
) -> Iterator[WetBatch]:
    """The ``conversion`` records that ``iter_records`` finds, in batches of about ``batch_bytes`` of text.

    Pages and rejects are the same as that reader's (the order of rejects among pages is only that of batches).
    Raises BadInput as it does. Memory: about four times ``batch_bytes``, whatever the file's size.
    """
    head = stream.read(CHUNK)
    if not head.startswith(GZIP_MAGIC):
        rest = io.BufferedReader(_Tee(head, stream))
        records = iter_records(rest, file, on_reject=on_reject, types=TYPES, max_payload=max_payload)
        yield from _batches_of(records, batch_bytes)
        return
    place = _Place(0, head)
    while place.pending or not place.ended:
        yield from _fast(stream, file, place, on_reject, batch_bytes, max_payload)
        if place.pending:
            records = _careful(stream, file, place, on_reject, max_payload)
            yield from _batches_of(records, batch_bytes)


class _Place:
    """How far a file has been read: ``pending`` are the bytes at ``offset`` that the stream gave already.

    ``suspect``: offset before which lies what the fast reader cannot read.
    """

    def __init__(self, offset: int, pending: bytes):
        self.offset = offset
        self.pending = pending
        self.ended = False
        self.suspect = 0


class _Tee(io.RawIOBase):
    """``pending`` and then ``stream``; keeps what was read from ``offset`` on."""

    def __init__(self, pending: bytes, stream: BinaryIO, offset: int = 0):
        self.offset = offset
        self.kept = bytearray()
        self._pending = pending
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._pending:
            data = self._pending[: len(buffer)]
            self._pending = self._pending[len(buffer) :]
        else:
            size: int = self._stream.readinto(buffer)  # type: ignore[attr-defined]
            self.kept += buffer[:size]
            return size
        buffer[: len(data)] = data
        self.kept += data
        return len(data)

    def forget(self, offset: int) -> None:
        """Gives up what lies before ``offset``."""
        del self.kept[: offset - self.offset]
        self.offset = offset

    def rest(self) -> bytes:
        """Everything from ``offset`` on that the stream gave."""
        return bytes(self.kept) + self._pending


def _careful(
    stream: BinaryIO, file: str, place: _Place, on_reject: Callable[[RecordReject], None], max_payload: int
) -> Iterator[WarcRecord]:
    """Records by ``core.warc`` from ``place`` on, up to the first one behind ``place.suspect`` that is whole."""
    raw = Window(lambda: stream.read(CHUNK), place.offset, place.pending)
    place.pending, place.ended = b"", True
    for frame in gzip_frames(raw, max_payload):
        record = parse_frame(frame, file, on_reject=on_reject, types=TYPES, max_payload=max_payload)
        if record:
            yield record
        if isinstance(frame, Frame) and frame.length and raw.start >= place.suspect:
            place.offset, place.pending, place.ended = raw.start, bytes(raw.data), False
            return


def _batches_of(records: Iterator[WarcRecord], batch_bytes: int) -> Iterator[WetBatch]:
    waiting: list[WarcRecord] = []
    size = 0
    for record in records:
        waiting.append(record)
        size += len(record.payload)
        if size >= batch_bytes:
            yield _batch_of(waiting)
            waiting, size = [], 0
    if waiting:
        yield _batch_of(waiting)


def _batch_of(records: list[WarcRecord]) -> WetBatch:
    import pyarrow as pa

    return WetBatch(
        pa.array([item.offset for item in records], pa.int64()),
        pa.array([item.url for item in records], pa.string()),
        pa.array([item.date for item in records], pa.string()),
        pa.array([item.payload for item in records], pa.binary()),
    )


# --- the fast reader

_MAGIC = re.compile(re.escape(GZIP_MAGIC))
_SKIPPED, _READ, _ODD = 0, 1, 2


def _fast(
    stream: BinaryIO,
    file: str,
    place: _Place,
    on_reject: Callable[[RecordReject], None],
    batch_bytes: int,
    max_payload: int,
) -> Iterator[WetBatch]:
    """Batches from ``place`` on, as far as every record has a member of its own and is whole.

    Leaves ``place`` at the first record that was not given out, or at the file's end.
    """
    from isal import igzip, igzip_lib, isal_zlib

    # Their stubs declare instances of the last two.
    damaged: Any = (gzip.BadGzipFile, EOFError, zlib.error, igzip_lib.error, isal_zlib.error)
    tee = _Tee(place.pending, stream, place.offset)
    frame_kernel, gather_kernel = _kernels()
    buffer = np.empty(batch_bytes + (64 << 10), np.uint8)
    found = np.empty((len(buffer) // 64 + 1, 7), np.int64)
    filled, ended = 0, False
    with igzip.open(tee) as inflated:
        while not ended:
            try:
                size = inflated.readinto(buffer[filled:].data)
            except damaged:
                break
            filled, ended = filled + size, not size
            count, end = frame_kernel(buffer, filled, ended, max_payload + MAX_HEAD, found)
            offsets = _members(tee, np.diff(np.append(found[:count, 0], end)), ended)
            if offsets is None or not (ended or count):
                break
            if ended and (end < filled or offsets[-1] != tee.offset + len(tee.kept)):
                break
            records = found[:count]
            batch = _fast_batch(buffer, records, offsets, file, on_reject, max_payload, gather_kernel)
            tee.forget(int(offsets[-1]))
            buffer[: filled - end] = buffer[end:filled].copy()
            filled -= end
            if len(batch):
                yield batch
    place.offset, place.pending, place.ended = tee.offset, tee.rest(), ended
    place.suspect = tee.offset + len(tee.kept)


def _members(tee: _Tee, lengths: "np.ndarray[Any, Any]", ended: bool) -> "np.ndarray[Any, Any] | None":
    """Offsets of the members with data of ``lengths``, and of the end of the last; None where they do not fit.

    A member begins with the magic number, which compressed data may contain too, and ends with the length of its
    data, so the right ones are those where both fit.
    """
    if not len(lengths):
        return np.array([tee.offset])
    starts = [match.start() for match in _MAGIC.finditer(tee.kept)]
    if ended:
        starts.append(len(tee.kept))
    if len(starts) <= len(lengths) or starts[0] != 0:
        return None
    kept = np.frombuffer(tee.kept, np.uint8)
    places = np.array(starts[1:])
    trailers = kept[places[:, None] + np.arange(-4, 0)].copy().view("<u4")[:, 0]
    del kept  # the tee cannot forget what an array looks at
    ends = places[: len(lengths)]
    if not np.array_equal(trailers[: len(lengths)], lengths):
        chosen: list[int] = []
        for end, length in zip(places.tolist(), trailers.tolist(), strict=True):
            if len(chosen) < len(lengths) and length == lengths[len(chosen)]:
                chosen.append(end)
        if len(chosen) < len(lengths):
            return None
        ends = np.array(chosen)
    return tee.offset + np.append(0, ends)


def _fast_batch(
    buffer: "np.ndarray[Any, Any]",
    records: "np.ndarray[Any, Any]",
    offsets: "np.ndarray[Any, Any]",
    file: str,
    on_reject: Callable[[RecordReject], None],
    max_payload: int,
    gather: Callable[..., None],
) -> WetBatch:
    """The wanted ones of ``records`` (rows of ``_frame``), copied out of ``buffer``."""
    import pyarrow as pa

    if (records[:, 1] == _ODD).any():
        parsed = []
        for row, offset, length in zip(records.tolist(), offsets.tolist(), np.diff(offsets).tolist(), strict=False):
            if row[1] != _SKIPPED:
                frame = Frame(offset, length, buffer[row[0] : row[5] + row[6]].tobytes())
                record = parse_frame(frame, file, on_reject=on_reject, types=TYPES, max_payload=max_payload)
                parsed += [record] if record else []
        return _batch_of(parsed)
    wanted = records[:, 1] == _READ
    rows = records[wanted]

    def column(starts: "np.ndarray[Any, Any]", lengths: "np.ndarray[Any, Any]") -> list["pa.Buffer | None"]:
        ends = np.zeros(len(rows) + 1, np.int32)
        np.cumsum(lengths, out=ends[1:])
        data = np.empty(ends[-1], np.uint8)
        gather(buffer, starts, lengths, data)
        return [None, pa.py_buffer(ends), pa.py_buffer(data)]

    urls = pa.Array.from_buffers(pa.binary(), len(rows), column(rows[:, 2], rows[:, 3]))
    try:
        urls = urls.cast(pa.string())
    except pa.ArrowInvalid:
        urls = pa.array([url.decode("utf-8", "replace") for url in urls.to_pylist()], pa.string())
    return WetBatch(
        pa.array(offsets[:-1][wanted], pa.int64()),
        urls,
        pa.Array.from_buffers(pa.string(), len(rows), column(rows[:, 4], np.full(len(rows), len(_DATE)))),
        pa.Array.from_buffers(pa.binary(), len(rows), column(rows[:, 5], rows[:, 6])),
    )


@cache
def _kernels() -> tuple[Callable[..., tuple[int, int]], Callable[..., None]]:
    from numba import njit

    compiled = njit(cache=True, nogil=True)
    return compiled(_frame), compiled(_gather)


def _gather(buffer: Any, starts: Any, lengths: Any, out: Any) -> None:
    """Copies pieces of ``buffer`` one after the other into ``out``."""
    at = 0
    for index in range(len(starts)):
        start, length = starts[index], lengths[index]
        out[at : at + length] = buffer[start : start + length]
        at += length


_FIELDS = (b"warc-type", b"warc-target-uri", b"warc-date", b"content-length", b"content-type")
_NAMES = np.array([list(name.ljust(16, b"\0")) for name in _FIELDS], np.uint8)
_NAME_LENGTHS = np.array([len(name) for name in _FIELDS])
_WARC = np.frombuffer(b"WARC/1.", np.uint8)
_CONVERSION = np.frombuffer(b"conversion", np.uint8)
_TEXT = np.frombuffer(b"text/", np.uint8)
_DATE = np.frombuffer(b"0000-00-00T00:00:00Z", np.uint8)
_DAYS = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])


def _frame(buffer: Any, filled: int, ended: bool, largest: int, found: Any) -> tuple[int, int]:
    """Finds whole records from the beginning of ``buffer`` on; returns their number and where they end.

    A row of ``found``: start of the record, kind (_SKIPPED, _READ, or _ODD: to be parsed with care), start and
    length of the URL, start of the date, start and length of the block. Stops before a record whose end is not
    certain: one that is cut, is longer than ``largest``, or is framed in any way but Common Crawl's.
    Compiled by numba, hence plain loops over bytes and no calls.
    """
    count, at = 0, 0
    while count < len(found) and filled - at >= 10:
        for index in range(7):
            if buffer[at + index] != _WARC[index]:
                return count, at
        if buffer[at + 8] != 13 or buffer[at + 9] != 10:
            return count, at
        length, url, url_length, date, kind = -1, -1, 0, -1, -1
        odd, whole = buffer[at + 7] != 48 and buffer[at + 7] != 49, False
        here = at + 10
        while not whole:
            line, colon = here, -1
            while here < filled and buffer[here] != 10:
                byte = buffer[here]
                if byte == 58 and colon < 0:
                    colon = here
                elif byte < 32 and byte != 9 and byte != 13:
                    return count, at
                here += 1
            if here >= filled or here == line or buffer[here - 1] != 13 or here - at > MAX_HEAD:
                return count, at
            end = here - 1
            here += 1
            if end == line:
                whole = True
                continue
            if colon < 0 or buffer[line] == 32 or buffer[line] == 9:
                odd = True
                continue
            field = -1
            for name in range(len(_NAMES)):
                if colon - line == _NAME_LENGTHS[name]:
                    same = True
                    for index in range(colon - line):
                        # Setting this bit makes letters lower-case; nothing else becomes a hyphen but CR.
                        if buffer[line + index] | 32 != _NAMES[name, index] or buffer[line + index] == 13:
                            same = False
                            break
                    if same:
                        field = name
                        break
            value = colon + 1
            while value < end and (buffer[value] == 32 or buffer[value] == 9):
                value += 1
            while end > value and (buffer[end - 1] == 32 or buffer[end - 1] == 9):
                end -= 1
            size = end - value
            if field == 0:
                odd = odd or kind >= 0 or size == 0
                kind = 1 if size == len(_CONVERSION) else 0
                for index in range(size):
                    letter = buffer[value + index] | 32
                    if letter < 97 or letter > 122:
                        odd = True
                    elif kind == 1 and letter != _CONVERSION[index]:
                        kind = 0
            elif field == 1:
                odd = odd or url >= 0
                url, url_length = value, size
                for index in range(value, end):
                    byte = buffer[index]
                    if byte < 33 or byte == 127 or byte == 60 or byte == 62:
                        odd = True
            elif field == 2:
                odd = odd or date >= 0 or size != len(_DATE)
                date = value
            elif field == 3:
                if length >= 0 or size < 1 or size > 10:
                    return count, at
                length = 0
                for index in range(value, end):
                    if buffer[index] < 48 or buffer[index] > 57:
                        return count, at
                    length = 10 * length + buffer[index] - 48
            elif field == 4:
                # A block of type application/http would have to be parsed.
                odd = odd or size < len(_TEXT)
                for index in range(min(size, len(_TEXT))):
                    if buffer[value + index] | 32 != _TEXT[index] | 32:
                        odd = True
        block_end = here + length
        if length < 0 or length > largest or block_end + 4 > filled:
            return count, at
        if buffer[block_end] != 13 or buffer[block_end + 1] != 10:
            return count, at
        if buffer[block_end + 2] != 13 or buffer[block_end + 3] != 10:
            return count, at
        following = block_end + 4
        if not (ended and following == filled):
            # What follows must be a record too: else its member goes on with this one.
            if filled - following < 5:
                return count, at
            for index in range(5):
                if buffer[following + index] != _WARC[index]:
                    return count, at
        odd = odd or kind < 0 or url < 0 or date < 0
        if kind == 1 and not odd:
            numbers = [0, 0, 0, 0, 0, 0]
            part = 0
            for index in range(len(_DATE)):
                byte = buffer[date + index]
                if _DATE[index] == 48:
                    odd = odd or byte < 48 or byte > 57
                    numbers[part] = 10 * numbers[part] + byte - 48
                else:
                    odd = odd or byte != _DATE[index]
                    part += 1
            year, month, day = numbers[0], numbers[1], numbers[2]
            if odd or year < 1 or month < 1 or month > 12 or day < 1:
                odd = True
            else:
                leap = month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
                odd = day > _DAYS[month] + leap or numbers[3] > 23 or numbers[4] > 59 or numbers[5] > 59
        found[count, 0], found[count, 1] = at, _ODD if odd else _READ if kind == 1 else _SKIPPED
        found[count, 2], found[count, 3], found[count, 4] = url, url_length, date
        found[count, 5], found[count, 6] = here, length
        count, at = count + 1, following
    return count, at
