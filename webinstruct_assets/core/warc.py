"""Reading WARC and WET files record by record, damaged ones included.

Framing (where a record starts and ends) is done here, because a range read needs exact offsets and because
FastWARC ends quietly where a gzip member is cut short; the parts of a record (WARC headers, HTTP headers,
chunked transfer encoding) are parsed by FastWARC. What cannot be read is reported through ``on_reject`` with
its offset, and reading goes on at the next record that can be found.

Reasons: ``bad_gzip`` (damaged or cut member), ``truncated`` (the block ends too early), ``wrong_length``
(Content-Length does not lead to the record's end), ``bad_header`` (WARC headers unreadable), ``not_warc``
(bytes that are no record), ``too_large``, ``not_http`` (a response of another protocol, e.g. dns),
``bad_http`` (status line or chunking unreadable), ``bad_encoding`` (Content-Encoding that does not decode).

Sources: WARC 1.1 (https://iipc.github.io/warc-specifications/specifications/warc-format/warc-1.1/), whose
annex D asks for one gzip member per record; RFC 1952 (gzip); RFC 9112 section 7.1 (chunked).
"""

import base64
import hashlib
import io
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, BinaryIO

from webinstruct_assets.core.errors import BadInput

if TYPE_CHECKING:
    from isal.igzip_lib import IgzipDecompressor

MAX_PAYLOAD = 32 << 20  # bytes; Common Crawl itself truncates at 5 MiB
MAX_HEAD = 64 << 10  # bytes of WARC or HTTP headers
CHUNK = 256 << 10  # bytes per read; fastest in measurements of 16 KiB to 256 KiB
KEPT_OF_MEMBER = 64 << 20  # compressed bytes remembered to resume inside a damaged member

GZIP_MAGIC = b"\x1f\x8b\x08"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
RECORD_END = b"\r\n\r\n"
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_CONTENT_LENGTH = re.compile(rb"^content-length[ \t]*:[ \t]*(\d+)[ \t]*\r?$", re.MULTILINE | re.IGNORECASE)
_TYPE = re.compile(rb"^warc-type[ \t]*:[ \t]*([a-z]+)", re.MULTILINE | re.IGNORECASE)
_TARGET = re.compile(rb"^warc-target-uri[ \t]*:[ \t]*([^\r\n]*)", re.MULTILINE | re.IGNORECASE)
_CHUNK_HEAD = re.compile(rb"[ \t]*([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]*)?\r?\n")


@dataclass(frozen=True, slots=True)
class RecordReject:
    """Bytes that gave no record: file, offset (bytes), reason (see the module), detail, url where known."""

    file: str
    offset: int
    reason: str
    detail: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class WarcRecord:
    """One record.

    ``offset`` and ``length`` (bytes in the file as stored) make a range read that gives exactly this record;
    ``length`` is 0 where the record shares its gzip member with others and cannot be read alone. ``date`` is
    WARC-Date as ``YYYY-MM-DDTHH:MM:SSZ`` (UTC, as exact as Common Crawl's index), "" where unreadable.
    ``payload`` is the body without HTTP headers, transfer and content encoding (for records that are not
    HTTP: the block). ``payload_digest`` is the header's value, "" where absent, and covers what the crawler
    hashed, which need not be the decoded payload. Header names in ``warc_headers`` are lower-case.
    """

    file: str
    offset: int
    length: int
    type: str
    url: str
    date: str
    record_id: str
    payload_digest: str
    http_status: int | None
    http_headers: tuple[tuple[str, str], ...]
    content_type: str
    payload: bytes
    warc_headers: dict[str, str]

    def http_header(self, name: str) -> str:
        """The first HTTP header of that name (any case), "" where absent."""
        return next((value for key, value in self.http_headers if key.lower() == name.lower()), "")


def payload_digest(payload: bytes) -> str:
    """``sha1:`` and the base-32 SHA-1 of ``payload``, as in WARC-Payload-Digest."""
    return "sha1:" + base64.b32encode(hashlib.sha1(payload, usedforsecurity=False).digest()).decode()


def wet_path(warc_filename: str) -> str:
    """Path of the WET file that Common Crawl makes from a WARC file."""
    return warc_filename.replace("/warc/", "/wet/").removesuffix(".warc.gz") + ".warc.wet.gz"


def warc_path(wet_filename: str) -> str:
    """Path of the WARC file that a WET file was made from (the inverse of ``wet_path``)."""
    return wet_filename.replace("/wet/", "/warc/").removesuffix(".warc.wet.gz") + ".warc.gz"


def iter_records(
    stream: BinaryIO,
    file: str,
    *,
    on_reject: Callable[[RecordReject], None],
    types: Collection[str] | None = None,
    max_payload: int = MAX_PAYLOAD,
) -> Iterator[WarcRecord]:
    """Records of a WARC or WET file in file order: gzip per record, gzip over the whole file, or plain.

    ``types`` keeps only records of these WARC types; the others are skipped unparsed and are no rejects.
    Raises BadInput when the file is empty or compressed with zstd.
    """
    raw = Window(lambda: stream.read(CHUNK))
    if not raw.need(1):
        raise BadInput(f"{file}: the file is empty", "delete it, or fetch it again")
    raw.need(MAX_HEAD)
    if raw.data.startswith(ZSTD_MAGIC):
        raise BadInput(f"{file}: zstd-compressed WARC", "recompress it with gzip, one member per record")
    # Where the first bytes are no gzip they may just be damaged: a plain file shows itself further on.
    plain = not raw.data.startswith(GZIP_MAGIC) and b"WARC/1." in raw.data[:MAX_HEAD]
    for frame in (_plain_frames if plain else gzip_frames)(raw, max_payload):
        record = parse_frame(frame, file, on_reject=on_reject, types=types, max_payload=max_payload)
        if record:
            yield record


def read_record(data: bytes, file: str = "", offset: int = 0, *, max_payload: int = MAX_PAYLOAD) -> WarcRecord:
    """The one record in ``data``, the bytes of a range read at ``offset`` of ``file``.

    Raises BadInput when the range holds no whole record, or more than one.
    """
    rejects: list[RecordReject] = []
    where, fix = f"{file} at {offset}, {len(data)} bytes", "build the crawl index of this snapshot again"
    if not data:
        raise BadInput(f"{where}: the range is empty", fix)
    records = list(iter_records(io.BytesIO(data), file, on_reject=rejects.append, max_payload=max_payload))
    if rejects or len(records) != 1:
        why = "; ".join(f"{item.reason}: {item.detail}" for item in rejects) or f"{len(records)} records"
        raise BadInput(f"{where}: not one readable record ({why})", fix)
    return replace(records[0], offset=offset)


# --- framing


@dataclass(frozen=True, slots=True)
class Frame:
    """A whole record as bytes; ``offset`` and ``length`` as in WarcRecord."""

    offset: int
    length: int
    raw: bytes
    alone: bool = True  # nothing else follows in the window


@dataclass(frozen=True, slots=True)
class Problem:
    """Bytes in which no record could be found."""

    offset: int
    reason: str
    detail: str
    url: str = ""


class Window:
    """The unread part of a byte stream: ``data`` starts at position ``start`` and grows on demand."""

    def __init__(self, read: Callable[[], bytes], start: int = 0, data: bytes = b""):
        self._read = read
        self.data = bytearray(data)
        self.start = start
        self.between = False  # a whole record was read, and the next has not begun

    def more(self) -> bool:
        """Appends what the next read gives; False at the end of the stream."""
        chunk = self._read()
        self.data += chunk
        return bool(chunk)

    def need(self, size: int) -> bool:
        """Whether ``data`` holds (after reading) at least ``size`` bytes."""
        while len(self.data) < size:
            if not self.more():
                return False
        return True

    def drop(self, size: int) -> None:
        """Marks the first ``size`` bytes as read."""
        del self.data[:size]
        self.start += size

    def skip_newlines(self, at: int) -> int:
        """The position in ``data`` of the first byte from ``at`` on that is no line break."""
        while self.need(at + 1) and self.data[at] in b"\r\n":
            at += 1
        return at


def _plain_frames(window: Window, max_payload: int) -> Iterator[Frame | Problem]:
    """Records of a window on WARC bytes; offsets count from the window's beginning."""
    while True:
        window.drop(window.skip_newlines(0))
        if not window.need(1):
            return
        window.between = False
        start = window.start
        window.need(5)
        if not window.data.startswith(b"WARC/"):
            found = bytes(window.data[:24])
            _seek_record(window, 1)
            yield Problem(start, "not_warc", f"{window.start - start} bytes that are no record: {found!r}")
            continue
        head_end = _find_head_end(window)
        head = bytes(window.data[:head_end])
        length_field = _CONTENT_LENGTH.search(head)
        if not length_field:
            at_end = not head_end and len(window.data) < MAX_HEAD
            _seek_record(window, 5)
            detail = "the file ends inside WARC headers" if at_end else "WARC headers without Content-Length"
            yield Problem(start, "truncated" if at_end else "bad_header", detail)
            continue
        length, url = int(length_field[1]), _url_of(head)
        block_end = head_end + length
        if length > max_payload + MAX_HEAD:
            whole = _discard(window, block_end)
            detail = f"block of {length} bytes" + ("" if whole else ", and the file ends inside it")
            yield Problem(start, "too_large", detail, url)
            continue
        if not window.need(block_end):
            here = len(window.data) - head_end
            _seek_record(window, head_end)
            yield Problem(start, "truncated", f"the block has {here} of {length} bytes", url)
            continue
        window.need(block_end + len(RECORD_END))
        window.between = window.data.startswith(RECORD_END, block_end)
        end = window.skip_newlines(block_end)
        at_end = not window.need(end + 1)
        if end == block_end and not at_end:
            # Too short or too long: the header's end is the only position that can be trusted.
            _seek_record(window, head_end)
            yield Problem(start, "wrong_length", f"no record end after Content-Length {length}", url)
            continue
        raw = bytes(window.data[:block_end])
        window.drop(end)
        yield Frame(start, end, raw, alone=start == 0 and at_end)


def _find_head_end(window: Window) -> int:
    """Length of the WARC headers with the empty line that ends them; 0 when there is none."""
    while True:
        match = _HEAD_END.search(window.data)
        if match:
            return match.end()
        if len(window.data) >= MAX_HEAD or not window.more():
            return 0


def _seek_record(window: Window, at: int) -> None:
    """Drops bytes up to the next line, from ``at`` on, that starts a WARC record (or up to the end)."""
    window.drop(max(0, at - 1))  # keep one byte: the line break before the record
    while True:
        found = window.data.find(b"\nWARC/1.")
        if found >= 0:
            window.drop(found + 1)
            return
        window.drop(max(0, len(window.data) - 7))
        if not window.more():
            window.drop(len(window.data))
            return


def _discard(window: Window, size: int) -> bool:
    """Drops ``size`` bytes without holding them; False when the stream ends before."""
    while size > len(window.data):
        size -= len(window.data)
        window.drop(len(window.data))
        if not window.more():
            return False
    window.drop(size)
    return True


class _Member:
    """The gzip member at the beginning of ``raw``, with the members that continue its last record.

    A few writers flush inside a record, which ends the member there; a member that does not begin with a
    record therefore belongs to the one before, unless that one is whole: then it is damaged. ``error`` says why the bytes could not be read to their end.
    """

    def __init__(self, raw: Window):
        self.window = Window(self.read)
        self._raw = raw
        self._fed = 0  # bytes of raw.data that the decompressor has been given
        self._inflate = _inflater()
        self._end = -1
        self.error = ""

    def read(self) -> bytes:
        """The next decompressed bytes; b"" at the end, or where the member is damaged."""
        raw = self._raw
        while not self.error:
            if self._inflate.eof and not self._continue():
                break
            chunk = b""
            if self._inflate.needs_input:
                if self._fed == len(raw.data) and not raw.more():
                    self.error = "the file ends inside this gzip member"
                    break
                chunk = bytes(raw.data[self._fed : self._fed + CHUNK])
                self._fed += len(chunk)
                if self._fed > KEPT_OF_MEMBER:
                    raw.drop(self._fed - len(chunk))
                    self._fed = len(chunk)
            try:
                data = _decompress(self._inflate, chunk, 4 * CHUNK)
            except ValueError as error:
                self.error = str(error)
                break
            if data:
                return data
        return b""

    def _continue(self) -> bool:
        """Goes on with the next member where that continues the record."""
        end = self._fed - len(self._inflate.unused_data)
        if self.window.between:
            return False
        if b"WARC/".startswith(_beginning(self._raw, end)):  # a record, one cut short, or no gzip at all
            return False
        self._fed, self._inflate = end, _inflater()
        return True

    def close(self) -> int:
        """Drops the member from ``raw``; returns the offset of its end. Only after ``read`` gave b""."""
        if self._end < 0:
            self._raw.drop(self._fed - len(self._inflate.unused_data))
            self._end = self._raw.start
        return self._end


def gzip_frames(raw: Window, max_payload: int) -> Iterator[Frame | Problem]:
    """Records of a gzip file; offsets are those of gzip members.

    When a frame that stands alone is yielded, ``raw`` is at the end of its member.
    """
    while raw.need(1):
        start = raw.start
        raw.need(3)
        if not raw.data.startswith(GZIP_MAGIC):
            _seek_member(raw)
            yield Problem(start, "bad_gzip", f"{raw.start - start} bytes that are no gzip member")
            continue
        member = _Member(raw)
        lost = ""  # url of the record that the damage hit, where its headers could be read
        for frame in _plain_frames(member.window, max_payload):
            if member.error:
                # Met while looking for the end of this record, so its checksum was not verified.
                lost = _url_of(frame.raw) if isinstance(frame, Frame) else frame.url
            elif isinstance(frame, Problem):
                yield Problem(start, frame.reason, frame.detail, frame.url)
            elif frame.alone:
                yield Frame(start, member.close() - start, frame.raw)
            else:
                yield Frame(start, 0, frame.raw)
        if member.error:
            _seek_member(raw)
            yield Problem(start, "bad_gzip", member.error, lost)
        else:
            member.close()


def _seek_member(raw: Window) -> None:
    """Drops bytes up to the next gzip member that begins with a WARC record (or up to the end)."""
    raw.drop(1)
    while True:
        found = raw.data.find(GZIP_MAGIC)
        if found >= 0:
            raw.drop(found)
            if _beginning(raw, 0) == b"WARC/":
                return
            raw.drop(1)
        else:
            raw.drop(max(0, len(raw.data) - 2))
            if not raw.more():
                raw.drop(len(raw.data))
                return


def _beginning(raw: Window, at: int) -> bytes:
    """The first five decompressed bytes of the gzip member at ``at``; b"" where there is none."""
    raw.need(at + 4096)  # more than the longest gzip header in use and five bytes of data
    try:
        return _decompress(_inflater(), bytes(raw.data[at : at + 4096]), 5)
    except ValueError:
        return b""


def _inflater() -> "IgzipDecompressor":
    from isal import igzip_lib

    return igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)


def _decompress(inflater: "IgzipDecompressor", data: bytes, limit: int) -> bytes:
    """At most ``limit`` decompressed bytes; raises ValueError where ``data`` is damaged."""
    from isal import igzip_lib

    try:
        decompressed: bytes = inflater.decompress(data, limit)
    except igzip_lib.error as error:  # type: ignore[misc]  # its stub declares an instance
        raise ValueError(str(error)) from error
    return decompressed


# --- one record


class _Unreadable(Exception):
    def __init__(self, reason: str, detail: str):
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def _type_of(raw: bytes) -> str:
    match = _TYPE.search(raw, 0, MAX_HEAD)
    return match[1].decode().lower() if match else ""


def _url_of(raw: bytes) -> str:
    match = _TARGET.search(raw, 0, MAX_HEAD)
    return match[1].decode("utf-8", "replace").strip(" \t<>") if match else ""


def parse_frame(
    frame: Frame | Problem,
    file: str,
    *,
    on_reject: Callable[[RecordReject], None],
    types: Collection[str] | None = None,
    max_payload: int = MAX_PAYLOAD,
) -> WarcRecord | None:
    """The record of a frame; None where it is of no wanted type, or was given to ``on_reject``."""
    if isinstance(frame, Problem):
        on_reject(RecordReject(file, frame.offset, frame.reason, frame.detail, frame.url))
        return None
    if types is not None and _type_of(frame.raw) not in types:
        return None
    try:
        return _parse(frame, file, max_payload)
    except _Unreadable as error:
        on_reject(RecordReject(file, frame.offset, error.reason, error.detail, _url_of(frame.raw)))
        return None


def _parse(frame: Frame, file: str, max_payload: int) -> WarcRecord:
    from fastwarc.warc import WarcRecord as Parsed

    raw = frame.raw
    length = _CONTENT_LENGTH.search(raw, 0, MAX_HEAD)
    if length and not length[0].startswith(b"Content-Length:"):
        # FastWARC knows this name in this spelling only, and would take the block for empty.
        raw = raw[: length.start()] + b"Content-Length: " + length[1] + b"\r" + raw[length.end() :]
    try:
        # Quirks mode reads bare line feeds, which real servers and writers do send.
        parsed = Parsed.from_reader(io.BytesIO(raw), quirks_mode=True)
    except (OSError, ValueError) as error:
        raise _Unreadable("bad_header", str(error)) from error
    headers = {key.lower(): value for key, value in parsed.headers.to_tuples()}
    kind = headers.get("warc-type", "unknown").lower()
    content_type = headers.get("content-type", "")
    status: int | None = None
    http_headers: tuple[tuple[str, str], ...] = ()
    if content_type.lower().replace(" ", "").startswith("application/http") and kind != "warcinfo":
        parsed.is_http = True  # FastWARC decides by record type, which leaves out unknown ones
        parsed.parse_http(auto_decode="none", quirks_mode=True, max_header_len=MAX_HEAD)
        status, http_headers = parsed.http_headers.status_code, parsed.http_headers.to_tuples()
        payload = parsed.reader.read()
        if kind == "response":
            if status is None:
                raise _Unreadable("bad_http", f"status line {parsed.http_headers.status_line!r}")
            payload = _decoded(payload, http_headers, max_payload)
        content_type = _header(http_headers, "content-type")
    elif kind == "response":
        raise _Unreadable("not_http", f"response of type {content_type or 'unknown'}")
    else:
        payload = parsed.reader.read()
    return WarcRecord(
        file=file,
        offset=frame.offset,
        length=frame.length,
        type=kind,
        url=headers.get("warc-target-uri", "").strip(" \t<>"),  # wget up to 1.20 writes <URI>
        date=_date(headers.get("warc-date", "")),
        record_id=headers.get("warc-record-id", ""),
        payload_digest=headers.get("warc-payload-digest", ""),
        http_status=status,
        http_headers=http_headers,
        content_type=content_type,
        payload=payload,
        warc_headers=headers,
    )


def _header(headers: tuple[tuple[str, str], ...], name: str) -> str:
    return next((value for key, value in headers if key.lower() == name), "")


def _date(text: str) -> str:
    try:
        date = datetime.fromisoformat(text)
        date = date.astimezone(UTC) if date.tzinfo else date.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return ""
    return date.isoformat(timespec="seconds").removesuffix("+00:00") + "Z"


def _decoded(payload: bytes, headers: tuple[tuple[str, str], ...], max_payload: int) -> bytes:
    """The payload without transfer and content encoding; raises _Unreadable where they do not decode."""
    if "chunked" in _header(headers, "transfer-encoding").lower():
        payload = _dechunked(payload)
    for encoding in reversed(_header(headers, "content-encoding").lower().split(",")):
        payload = _content_decoded(payload, encoding.strip(), max_payload)
    if len(payload) > max_payload:
        raise _Unreadable("too_large", f"payload of {len(payload)} bytes")
    return payload


def _dechunked(body: bytes) -> bytes:
    """The body without chunk sizes. FastWARC's decoder refuses chunk extensions, so this is done here."""
    head = _CHUNK_HEAD.match(body)
    if not head:
        return body  # stored already decoded, though the header says chunked
    parts: list[bytes] = []
    at = 0
    while True:
        head = _CHUNK_HEAD.match(body, at)
        if not head:
            raise _Unreadable("bad_http", f"no chunk size at byte {at} of the body: {body[at : at + 16]!r}")
        size = int(head[1], 16)
        if size == 0:
            return b"".join(parts)  # trailers, if any, are no payload
        chunk = body[head.end() : head.end() + size]
        if len(chunk) < size:
            raise _Unreadable("bad_http", f"the last chunk has {len(chunk)} of {size} bytes")
        parts.append(chunk)
        at = head.end() + size
        at += 2 if body[at : at + 2] == b"\r\n" else 1 if body[at : at + 1] == b"\n" else 0


def _content_decoded(payload: bytes, encoding: str, max_payload: int) -> bytes:
    if encoding not in ("gzip", "x-gzip", "deflate", "br", "zstd") or not payload:
        return payload  # identity, or no compression at all (servers send "utf-8" here)
    try:
        decoded = _inflated(payload, encoding, max_payload + 1)
    except (OSError, EOFError, ValueError) as error:
        if payload.lstrip()[:1] in (b"<", b"{"):
            return payload  # stored already decoded, though the header is still there
        raise _Unreadable("bad_encoding", f"{encoding}: {error}") from error
    if len(decoded) > max_payload:
        raise _Unreadable("too_large", f"payload of more than {max_payload} bytes once decoded")
    return decoded


def _inflated(payload: bytes, encoding: str, limit: int) -> bytes:
    """At most ``limit`` decoded bytes; raises OSError, EOFError or ValueError where the data is damaged."""
    import zlib

    if encoding in ("br", "zstd"):
        from fastwarc.stream_io import BrotliReader, ZstdReader

        reader = (BrotliReader if encoding == "br" else ZstdReader)(io.BytesIO(payload))
        parts: list[bytes] = []
        while limit > 0 and (part := reader.read(min(limit, CHUNK))):
            parts.append(part)
            limit -= len(part)
        return b"".join(parts)
    zlib_header = payload[0] & 0x0F == 8 and int.from_bytes(payload[:2], "big") % 31 == 0
    wbits = 31 if encoding != "deflate" else 15 if zlib_header else -15  # some servers send deflate bare
    inflate = zlib.decompressobj(wbits)
    try:
        decoded = inflate.decompress(payload, limit)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not inflate.eof and len(decoded) < limit:
        raise EOFError(f"the data ends after {len(decoded)} decoded bytes")
    return decoded
