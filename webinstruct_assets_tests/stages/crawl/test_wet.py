"""The fast WET reader gives what the careful one gives, on healthy files and on damaged ones."""

import gzip
import io
import random
import subprocess
import sys
from pathlib import Path

import pytest

from webinstruct_assets.core.errors import BadInput
from webinstruct_assets.core.warc import RecordReject, iter_records
from webinstruct_assets.stages.crawl import wet
from webinstruct_assets.stages.crawl.wet import iter_wet_batches


def record(text: bytes, url: str = "http://a.example/", *extra: str, kind: str = "conversion", date: str = "2024-05-18T01:58:10Z", length: int | None = None, version: str = "1.0") -> bytes:  # fmt: skip
    head = [f"WARC/{version}", f"WARC-Type: {kind}", f"WARC-Target-URI: {url}", f"WARC-Date: {date}", *extra]
    head.append(f"Content-Length: {len(text) if length is None else length}")
    return "\r\n".join(head).encode() + b"\r\n\r\n" + text + b"\r\n\r\n"


def member(data: bytes, level: int = 6) -> bytes:
    return gzip.compress(data, level, mtime=0)


DRAW = random.Random(5)
WORDS = ["limit", "proof", "naïve", "Größe", "試験", "the", "of", "answer", "\x1f\x8b\x08"]
TEXTS = [" ".join(DRAW.choices(WORDS, k=DRAW.randrange(1, 400))).encode() for _ in range(60)]
RECORDS = [record(text, f"http://a.example/{number}") for number, text in enumerate(TEXTS)]
INFO = record(b"software: x\r\n", kind="warcinfo")
HEALTHY = b"".join(map(member, [INFO, *RECORDS]))
Rows = list[tuple[int, str, str, bytes]]


def careful(data: bytes, **options: int) -> tuple[Rows, list[RecordReject]]:
    rejects: list[RecordReject] = []
    records = iter_records(io.BytesIO(data), "f", on_reject=rejects.append, types=("conversion",), **options)
    return [(item.offset, item.url, item.date, item.payload) for item in records], rejects


def fast(data: bytes, batch_bytes: int = 1 << 14, **options: int) -> tuple[Rows, list[RecordReject]]:
    rejects: list[RecordReject] = []
    rows: Rows = []
    for batch in iter_wet_batches(io.BytesIO(data), "f", on_reject=rejects.append, batch_bytes=batch_bytes, **options):
        columns = (batch.offsets, batch.urls, batch.dates, batch.texts)
        for column in columns:
            column.validate(full=True)
        rows += zip(*(column.to_pylist() for column in columns), strict=True)
    return rows, rejects


@pytest.mark.parametrize("batch_bytes", [1 << 10, 1 << 14, 8 << 20])
def test_a_healthy_file_is_read_without_the_careful_reader(monkeypatch: pytest.MonkeyPatch, batch_bytes: int) -> None:
    expected = careful(HEALTHY)
    assert [row[3] for row in expected[0]] == TEXTS
    if batch_bytes > 1 << 10:  # with less, some records are longer than the buffer
        monkeypatch.setattr(wet, "_careful", pytest.fail)
    assert fast(HEALTHY, batch_bytes) == expected


ODD = {
    "nothing but info": member(INFO),
    "stored, not compressed": b"".join(member(item, 0) for item in RECORDS),
    "WARC 1.1 with fractions of seconds": b"".join(
        member(record(text, date="2024-05-18T01:58:10.25Z", version="1.1")) for text in TEXTS
    ),
    "whole file in one member": member(b"".join(RECORDS)),
    "plain": b"".join(RECORDS),
    "a record over two members": HEALTHY + member(RECORDS[0][:90]) + member(RECORDS[0][90:]) + HEALTHY,
    "two records in a member": HEALTHY + member(RECORDS[0] + RECORDS[1]) + HEALTHY,
    "junk in between": HEALTHY + b"junk" * 50 + HEALTHY,
    "zeros in between": HEALTHY + bytes(512) + HEALTHY,
    "zeros at the end": HEALTHY + bytes(512),
    "junk at the end": HEALTHY + b"WARC/1.0 junk",
    "empty member": HEALTHY + member(b"") + HEALTHY,
    "more line breaks": HEALTHY + member(RECORDS[0] + b"\r\n") + HEALTHY,
    "bare line feeds": HEALTHY + member(RECORDS[0].replace(b"\r\n", b"\n")) + HEALTHY,
    "length too long": HEALTHY + member(record(b"abc", length=30)) + HEALTHY,
    "length too short": HEALTHY + member(record(b"abc" * 30, length=5)) + HEALTHY,
    "no length": HEALTHY + member(RECORDS[0].replace(b"Content-Length", b"X-Length")) + HEALTHY,
    "two lengths": HEALTHY + member(record(TEXTS[0], "http://a.example/", "Content-Length: 5")) + HEALTHY,
    "two types": HEALTHY + member(record(b"x", "http://a.example/", "WARC-Type: request")) + HEALTHY,
    "no type": HEALTHY + member(record(b"WARC-Type: conversion").replace(b"WARC-Type: conv", b"X: conv", 1)) + HEALTHY,
    "two URLs": HEALTHY + member(record(b"x", "http://b/", "WARC-Target-URI: <http://c/>")) + HEALTHY,
    "no URL": HEALTHY + member(record(b"x").replace(b"WARC-Target-URI", b"X-URI")) + HEALTHY,
    "folded header": HEALTHY + member(record(b"x", "http://b/\r\n folded")) + HEALTHY,
    "spaces and brackets": HEALTHY + member(record(b"x", "<http://b/ x>")) + HEALTHY,
    "no ASCII": HEALTHY + member(record(b"x", "http://straße.example/ü")) + HEALTHY,
    "no UTF-8": HEALTHY + member(record(b"\xff\xfe", "http://A/").replace(b"http://A/", b"http://\xff\xfe\xc3/")),
    "bad date": HEALTHY + member(record(b"x", date="2024-02-30T01:58:10Z")) + HEALTHY,
    "leap day": HEALTHY + member(record(b"x", date="2024-02-29T23:59:59Z")) + HEALTHY,
    "http block": HEALTHY + member(record(b"HTTP/1.1 200 OK\r\n\r\nx", "http://b/", "Content-Type: application/http")),
    "line without colon": HEALTHY + member(record(b"x", "http://b/", "hello")) + HEALTHY,
    "lower case": HEALTHY + member(record(b"x").replace(b"WARC-T", b"warc-t").replace(b"Content-L", b"content-l")),
    "empty text": HEALTHY + member(record(b"")) + HEALTHY,
    "upper-case type": HEALTHY + member(record(b"x", kind="Conversion")) + HEALTHY,
    "other type": HEALTHY + member(record(b"x", kind="conversions")) + HEALTHY,
    "a gzip name": HEALTHY + (lambda out: (gzip.GzipFile("name", "wb", 6, out).write(b""), out.getvalue())[1])(io.BytesIO()),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("batch_bytes", [1 << 12, 8 << 20])
def test_odd_files(name: str, batch_bytes: int) -> None:
    assert fast(ODD[name], batch_bytes) == careful(ODD[name])


def test_huge_records_are_rejected_alike() -> None:
    data = HEALTHY + member(record(b"x" * 200_000)) + HEALTHY
    rows, rejects = fast(data, max_payload=100_000)
    assert (rows, rejects) == careful(data, max_payload=100_000)
    assert [reject.reason for reject in rejects] == ["too_large"]
    assert len(rows) == 2 * len(TEXTS)


def test_every_kind_of_damage_gives_the_same_pages_and_rejects() -> None:
    draw = random.Random(11)
    reasons: set[str] = set()
    for _ in range(400):
        damaged = bytearray(HEALTHY)
        kind = draw.choice(["bit", "cut", "drop", "insert", "bits"])
        at = draw.randrange(len(damaged))
        if kind == "cut":
            del damaged[max(3, at) :]
        elif kind == "drop":
            del damaged[at : at + draw.randrange(1, 3000)]
        elif kind == "insert":
            damaged[at:at] = draw.randbytes(draw.randrange(1, 100))
        else:
            for _ in range(1 if kind == "bit" else 30):
                damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
        if damaged[:4] == b"\x28\xb5\x2f\xfd" or not damaged:
            continue
        expected = careful(bytes(damaged))
        assert fast(bytes(damaged), draw.choice([1 << 11, 1 << 14, 1 << 20])) == expected, kind
        reasons |= {reject.reason for reject in expected[1]}
    assert "bad_gzip" in reasons


def test_empty_files_say_so() -> None:
    with pytest.raises(BadInput, match="f: the file is empty"):
        fast(b"")


def test_a_real_file(shared_real: Path) -> None:
    data = (shared_real / "crawl/whirlwind.warc.wet.gz").read_bytes()
    assert fast(data) == careful(data)
    assert len(fast(data)[0]) == 1


# VmHWM: ru_maxrss would start with what the parent held when it forked.
PEAK = """
import sys
from webinstruct_assets.stages.crawl.wet import iter_wet_batches
with open(sys.argv[1], "rb") as stream:
    pages = sum(len(batch) for batch in iter_wet_batches(stream, "f", on_reject=print, batch_bytes=1 << 20))
(peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(pages, peak)
"""


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    once = HEALTHY + b"".join(member(record(DRAW.randbytes(4000).hex().encode())) for _ in range(2400))
    peaks = []
    for times in (1, 20):
        file = tmp_path / f"{times}.warc.wet.gz"
        file.write_bytes(once * times)
        answer = subprocess.run([sys.executable, "-c", PEAK, str(file)], capture_output=True, text=True, check=True)
        pages, peak = map(int, answer.stdout.split())
        assert pages == 2460 * times
        peaks.append(peak)
    assert peaks[1] < 1.1 * peaks[0], peaks
