"""Reading WARC: real files with real faults, made ones with made faults, and nothing lost without a word."""

import gzip
import io
import random
import zlib
from pathlib import Path

import pytest
from fastwarc.stream_io import BrotliWriter
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from webinstruct_assets.core.errors import BadInput
from webinstruct_assets.core.warc import (
    ZSTD_MAGIC,
    RecordReject,
    WarcRecord,
    iter_records,
    payload_digest,
    read_record,
    warc_path,
    wet_path,
)


def read(data: bytes, **options: object) -> tuple[list[WarcRecord], list[RecordReject]]:
    rejects: list[RecordReject] = []
    return list(iter_records(io.BytesIO(data), "f", on_reject=rejects.append, **options)), rejects  # type: ignore[arg-type]


def record(
    block: bytes,
    kind: str = "response",
    url: str = "http://a.example/",
    content_type: str = "application/http; msgtype=response",
    length: int | None = None,
) -> bytes:
    head = (
        f"WARC/1.1\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url}\r\nWARC-Date: 2026-01-02T03:04:05.678Z\r\n"
        f"WARC-Record-ID: <urn:uuid:{zlib.crc32(block):08x}>\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(block) if length is None else length}\r\n\r\n"
    )
    return head.encode() + block + b"\r\n\r\n"


def response(body: bytes, *headers: str, **options: object) -> bytes:
    http = "\r\n".join(("HTTP/1.1 200 OK", "Content-Type: text/html", *headers)) + "\r\n\r\n"
    return record(http.encode() + body, **options)  # type: ignore[arg-type]


ZSTD = bytes.fromhex("28b52ffd04584d0000100000010083d3032c25b73230")  # 5000 zeros, by zstd 1.5


def brotli(data: bytes) -> bytes:
    class Kept(io.BytesIO):
        def close(self) -> None:  # the writer closes what it writes to
            pass

    out = Kept()
    with BrotliWriter(out) as writer:
        writer.write(data)
    return out.getvalue()


def member(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


PAGES = [f"<p>page {number}</p>".encode() * (number + 1) for number in range(4)]
RECORDS = [response(page, url=f"http://a.example/{number}") for number, page in enumerate(PAGES)]
GZIPPED = b"".join(map(member, RECORDS))
PLAIN = b"".join(RECORDS)


@pytest.mark.parametrize("data", [GZIPPED, PLAIN], ids=["member per record", "plain"])
def test_every_record_can_be_read_alone(data: bytes) -> None:
    records, rejects = read(data)
    assert [item.payload for item in records] == PAGES
    assert not rejects
    assert sum(item.length for item in records) == len(data)
    for item in records:
        assert read_record(data[item.offset : item.offset + item.length], "f", item.offset) == item


def test_fields() -> None:
    (item,), _ = read(response(b"<p>x", "X-A: 1", "x-b: 2"))
    assert (item.type, item.url, item.date) == ("response", "http://a.example/", "2026-01-02T03:04:05Z")
    assert (item.http_status, item.content_type, item.http_header("X-B")) == (200, "text/html", "2")
    assert item.warc_headers["warc-date"] == "2026-01-02T03:04:05.678Z"


def test_records_of_a_whole_file_member_are_marked_as_not_readable_alone() -> None:
    records, rejects = read(member(PLAIN))
    assert [item.payload for item in records] == PAGES
    assert {(item.offset, item.length) for item in records} == {(0, 0)}
    assert not rejects


def test_a_record_may_go_on_in_the_next_member() -> None:
    first = member(RECORDS[0][:90]) + member(RECORDS[0][90:])
    records, rejects = read(first + member(RECORDS[1]))
    assert [(item.offset, item.length) for item in records] == [(0, len(first)), (len(first), len(member(RECORDS[1])))]
    assert not rejects


def test_gzip_that_stores_without_compressing() -> None:
    records, rejects = read(b"".join(gzip.compress(item, 0) for item in RECORDS))
    assert [item.payload for item in records] == PAGES
    assert not rejects


def test_types_filters_without_rejecting() -> None:
    request = record(b"GET / HTTP/1.1\r\n\r\n", "request", content_type="application/http; msgtype=request")
    records, rejects = read(request + RECORDS[0], types=("response",))
    assert [item.type for item in records] == ["response"]
    assert not rejects


@pytest.mark.parametrize("data", [GZIPPED, PLAIN], ids=["member per record", "plain"])
def test_every_truncation_keeps_the_whole_records_and_reports_the_rest(data: bytes) -> None:
    whole, _ = read(data)
    ends = [item.offset + item.length for item in whole]
    for cut in range(1, len(data)):
        records, rejects = read(data[:cut])
        kept = sum(end <= cut for end in ends)
        # In a plain file the last four bytes of a record are only line breaks.
        blank = data is PLAIN and any(end - 4 <= cut < end for end in ends)
        assert [item.payload for item in records] == PAGES[: kept + blank], cut
        assert len(rejects) == (cut not in ends and not blank), cut
        if rejects:
            assert rejects[0].offset == (ends[kept - 1] if kept else 0)


@pytest.mark.parametrize("data", [GZIPPED, PLAIN], ids=["member per record", "plain"])
def test_a_flipped_bit_costs_one_record_and_never_silently(data: bytes) -> None:
    draw = random.Random(7)
    for _ in range(1500):
        damaged = bytearray(data)
        damaged[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        records, rejects = read(bytes(damaged))
        # Two where the bit joins a member to its neighbour.
        assert len(records) >= len(RECORDS) - 2
        assert rejects or len(records) == len(RECORDS)


@settings(deadline=None)  # a busy machine is no failure
@given(st.binary(min_size=1, max_size=400))
def test_any_bytes_end_in_records_or_rejects(data: bytes) -> None:
    assume(not data.startswith(ZSTD_MAGIC))
    records, rejects = read(data)
    assert records or rejects or not data.strip(b"\r\n")
    records, rejects = read(member(RECORDS[0]) + data + member(RECORDS[1]))
    assert [item.payload for item in records][:1] == PAGES[:1]


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5), st.booleans())
def test_any_payload_survives(bodies: list[bytes], zipped: bool) -> None:
    parts = [response(body) for body in bodies]
    records, rejects = read(b"".join(map(member, parts) if zipped else parts))
    assert [item.payload for item in records] == bodies
    assert not rejects


@pytest.mark.parametrize("wrong", [3, 60, 5000])
def test_a_wrong_length_costs_that_record_only(wrong: int) -> None:
    damaged = response(PAGES[1] * 9, length=wrong)
    for data in (RECORDS[0] + damaged + RECORDS[2], member(RECORDS[0]) + member(damaged) + member(RECORDS[2])):
        records, rejects = read(data)
        assert [item.payload for item in records] == [PAGES[0], PAGES[2]]
        assert {reject.reason for reject in rejects} <= {"wrong_length", "truncated"}
        assert rejects[0].url == "http://a.example/"


def test_junk_between_records() -> None:
    for glue in (b"\0" * 700, b"some log line\n"):
        records, rejects = read(RECORDS[0] + glue + b"\n" + RECORDS[1])
        assert len(records) == 2
        assert [reject.reason for reject in rejects] == ["not_warc"]
        records, rejects = read(GZIPPED + glue + GZIPPED)
        assert len(records) == 8
        assert [(reject.reason, reject.offset) for reject in rejects] == [("bad_gzip", len(GZIPPED))]


CHUNKED = "Transfer-Encoding: chunked"


@pytest.mark.parametrize(
    ("headers", "body", "payload"),
    [
        ([CHUNKED], b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nA: b\r\n\r\n", b"hello world"),
        ([CHUNKED], b"<p>stored decoded</p>", b"<p>stored decoded</p>"),
        (["Content-Encoding: gzip"], gzip.compress(b"hello"), b"hello"),
        (["Content-Encoding: x-gzip", CHUNKED], b"5\r\n" + gzip.compress(b"")[:5] + b"\r\nf\r\n" + gzip.compress(b"")[5:] + b"\r\n0\r\n\r\n", b""),
        (["content-encoding: deflate"], zlib.compress(b"hello"), b"hello"),
        (["content-encoding: deflate"], zlib.compress(b"hello")[2:-4], b"hello"),
        (["Content-Encoding: br"], brotli(b"hello"), b"hello"),
        (["Content-Encoding: gzip"], b"  <html>", b"  <html>"),
        (["Content-Encoding: utf-8"], b"hello", b"hello"),
    ],
)  # fmt: skip
def test_payloads_are_decoded(headers: list[str], body: bytes, payload: bytes) -> None:
    (item,), rejects = read(response(body, *headers))
    assert item.payload == payload
    assert not rejects


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (response(b"5\r\nhel", CHUNKED), "bad_http"),
        (response(b"5\r\nhello\r\nzz\r\n", CHUNKED), "bad_http"),
        (record(b"\x16\x03\x01 no http"), "bad_http"),
        (record(b"example. 60 IN A 192.0.2.1", url="dns:a.example", content_type="text/dns"), "not_http"),
        (response(gzip.compress(b"hello" * 99)[:-20], "Content-Encoding: gzip"), "bad_encoding"),
        (response(brotli(b"hello" * 99)[:-4], "Content-Encoding: br"), "bad_encoding"),
        (response(gzip.compress(bytes(5000)), "Content-Encoding: gzip"), "too_large"),
        (response(zlib.compress(bytes(5000)), "Content-Encoding: deflate"), "too_large"),
        (response(brotli(bytes(5000)), "Content-Encoding: br"), "too_large"),
        (response(ZSTD, "Content-Encoding: zstd"), "too_large"),
        (response(ZSTD[:-6], "Content-Encoding: zstd"), "bad_encoding"),
        (response(bytes(70_000)), "too_large"),
        (b"WARC/1.0\r\nWARC-Type: response\r\n\r\n", "bad_header"),
        (b"hello, this is no WARC file", "bad_gzip"),
        (member(b"a list of paths\n"), "not_warc"),
    ],
)
def test_reasons(data: bytes, reason: str) -> None:
    records, rejects = read(data, max_payload=1000)
    assert not records
    assert [reject.reason for reject in rejects] == [reason]


def test_reading_goes_on_after_a_record_that_is_too_large() -> None:
    for pack in (bytes, member):
        records, rejects = read(pack(response(bytes(70_000))) + pack(RECORDS[1]), max_payload=1000)
        assert [item.payload for item in records] == [PAGES[1]]
        assert [reject.reason for reject in rejects] == ["too_large"]


def test_bare_line_feeds_in_http_headers() -> None:
    (item,), _ = read(record(b"HTTP/1.0 200 OK\nContent-Type: text/html\n\n<p>x"))
    assert (item.http_status, item.payload) == (200, b"<p>x")


@pytest.mark.parametrize("name", [b"content-length", b"CONTENT-LENGTH", b"Content-Length "])
def test_header_names_in_any_case(name: bytes) -> None:
    (item,), rejects = read(response(b"<p>x").replace(b"Content-Length", name, 1))
    assert (item.payload, rejects) == (b"<p>x", [])


def test_empty_file_and_zstd_say_so() -> None:
    with pytest.raises(BadInput, match="f: the file is empty"):
        read(b"")
    with pytest.raises(BadInput, match="zstd"):
        read(b"\x28\xb5\x2f\xfd" + bytes(20))


def test_read_record_names_file_and_offset() -> None:
    for data in (b"", GZIPPED[:40], GZIPPED):
        with pytest.raises(BadInput, match=r"x\.warc\.gz at 17"):
            read_record(data, "x.warc.gz", 17)


def test_paths_of_twins() -> None:
    warc = "crawl-data/CC-MAIN-2024-22/segments/1.2/warc/CC-MAIN-a-b-00000.warc.gz"
    assert wet_path(warc) == "crawl-data/CC-MAIN-2024-22/segments/1.2/wet/CC-MAIN-a-b-00000.warc.wet.gz"
    assert warc_path(wet_path(warc)) == warc


# --- real files


def read_file(path: Path) -> tuple[list[WarcRecord], list[RecordReject]]:
    return read(path.read_bytes())


def test_common_crawl_page(shared_real: Path) -> None:
    records, rejects = read_file(shared_real / "crawl/whirlwind.warc.gz")
    assert [item.type for item in records] == ["warcinfo", "request", "response", "metadata"]
    assert not rejects
    page = records[2]
    assert (page.offset, page.length) == (1023, 17351)  # as Common Crawl's own index says
    assert payload_digest(page.payload) == page.payload_digest == "sha1:RY7PLBUFQNI2FFV5FTUQK72W6SNPXLQU"


@pytest.mark.parametrize(
    ("name", "responses", "reasons"),
    [
        ("warcio-example-bad-non-chunked.warc.gz", [1270], []),
        ("warcio-example-bad.warc.gz.bad", [1270, 201], []),
        ("warcio-example-iana.org-chunked.warc", [7223], []),
        ("warcio-example-wget-bad-target-uri.warc.gz", [1270], []),
        ("warcio-example-wrong-chunks.warc.gz", [1270], []),
        ("warcio-example.warc", [1270], []),
        ("warcio-example.warc.gz", [1270], []),
        ("warcio-post-test.warc.gz", [545, 552, 551], []),
        ("warcio-example-trunc.warc", [], ["wrong_length"]),
        ("CC-MAIN-2024-22.warc.paths.gz", [], ["not_warc"]),
    ],
)
def test_real_oddities(shared_real: Path, name: str, responses: list[int], reasons: list[str]) -> None:
    records, rejects = read_file(shared_real / "crawl" / name)
    assert [len(item.payload) for item in records if item.type == "response"] == responses
    assert [reject.reason for reject in rejects] == reasons


def test_angle_brackets_and_spaces_in_uris(shared_real: Path) -> None:
    records, _ = read_file(shared_real / "crawl/warcio-example-wget-bad-target-uri.warc.gz")
    assert records[2].url == "http://example.com/"
    records, _ = read_file(shared_real / "crawl/warcio-example-space-in-target-uri.warc.gz")
    assert records[1].url == "file:///example with spaces.png"


def test_many_real_pages(shared_real: Path) -> None:
    records, rejects = read_file(shared_real / "pages/web_pages_dev.warc.gz")
    assert len(records) == 594
    assert not rejects
    assert all(payload_digest(item.payload) == item.payload_digest for item in records)
