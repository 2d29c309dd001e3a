"""Snapshots as Common Crawl would have written them."""

import gzip
import io
import json
from pathlib import Path

import polars as pl
import pytest
from warcio.archiveiterator import ArchiveIterator

from webinstruct_assets.core.errors import BadInput, Busy
from webinstruct_assets.core.warc import payload_digest
from webinstruct_assets.stages.crawl.capture import Capture, detect_mime
from webinstruct_assets.stages.crawl.columnar_index import INDEX_SCHEMA, surt_key
from webinstruct_assets.stages.crawl.writer import building, publish, write_snapshot

HTML = (("Content-Type", "text/html; charset=utf-8"), ("Transfer-Encoding", "chunked"))


def captures(number: int = 5) -> list[Capture]:
    return [
        Capture(f"https://www.a{at}.co.uk/P/x?b=2&a={at}", f"2026-01-02T03:04:{at:02d}Z", HTML, b"<p>text %d" % at, languages="eng", request=True)
        for at in range(number)
    ]  # fmt: skip


def write(folder: Path, items: list[Capture], **options: int) -> pl.DataFrame:
    write_snapshot(folder, "local-t", items, **options)
    (index,) = folder.glob("cc-index/table/cc-main/warc/crawl=local-t/subset=warc/part-00000-*.c000.gz.parquet")
    return pl.read_parquet(index, hive_partitioning=False)


def lines(path: Path) -> list[str]:
    return gzip.decompress(path.read_bytes()).decode().splitlines()


def test_layout_and_names(tmp_path: Path) -> None:
    write(tmp_path, captures(), files=4, segments=2)
    warcs = lines(tmp_path / "crawl-data/local-t/warc.paths.gz")
    assert warcs == [
        "crawl-data/local-t/segments/1767323040000.0/warc/CC-MAIN-20260102030400-20260102060400-00000.warc.gz",
        "crawl-data/local-t/segments/1767323040000.0/warc/CC-MAIN-20260102030400-20260102060400-00001.warc.gz",
        "crawl-data/local-t/segments/1767333840000.1/warc/CC-MAIN-20260102060400-20260102090400-00000.warc.gz",
        "crawl-data/local-t/segments/1767333840000.1/warc/CC-MAIN-20260102060400-20260102090400-00001.warc.gz",
    ]
    wets = lines(tmp_path / "crawl-data/local-t/wet.paths.gz")
    assert wets == [path.replace("/warc/", "/wet/").replace(".warc.gz", ".warc.wet.gz") for path in warcs]
    (index,) = lines(tmp_path / "crawl-data/local-t/cc-index-table.paths.gz")
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    lists = {f"crawl-data/local-t/{kind}.paths.gz" for kind in ("warc", "wet", "cc-index-table")}
    assert written == {*warcs, *wets, index, *lists}


def test_another_reader_agrees(tmp_path: Path) -> None:
    """Another library reads what was written, and finds every digest right."""
    index = write(tmp_path, captures(2))
    (warc,), (wet,) = (lines(tmp_path / f"crawl-data/local-t/{kind}.paths.gz") for kind in ("warc", "wet"))
    with (tmp_path / warc).open("rb") as stream:
        kinds, offsets = [], {}
        iterator = ArchiveIterator(stream, check_digests="raise")
        for item in iterator:
            kinds.append(item.rec_type)
            if item.rec_type == "response":
                assert item.content_stream().read().startswith(b"<p>text")
                assert item.http_headers.get_header("Transfer-Encoding") is None
                assert item.http_headers.get_header("X-Crawler-Transfer-Encoding") == "chunked"
                iterator.read_to_end(item)
                offsets[item.rec_headers.get_header("WARC-Target-URI")] = (
                    iterator.get_record_offset(), iterator.get_record_length())  # fmt: skip
    assert kinds == ["warcinfo", "request", "response", "request", "response"]
    assert offsets == {
        row["url"]: (row["warc_record_offset"], row["warc_record_length"]) for row in index.iter_rows(named=True)
    }
    with (tmp_path / wet).open("rb") as stream:
        for item in list(ArchiveIterator(stream, check_digests="raise"))[1:]:
            headers = item.rec_headers
            assert (item.rec_type, headers.get_header("Content-Type")) == ("conversion", "text/plain")
            assert headers.get_header("WARC-Identified-Content-Language") == "eng"
            assert headers.get_header("WARC-Refers-To").startswith("<urn:uuid:")


def test_index_row(tmp_path: Path) -> None:
    frame = write(tmp_path, captures(1))
    assert frame.schema == pl.Schema(INDEX_SCHEMA)
    row = frame.row(0, named=True)
    expected = {
        "url_surtkey": "uk,co,a0)/p/x?a=0&b=2",
        "url_host_name": "www.a0.co.uk",
        "url_host_tld": "uk",
        "url_host_2nd_last_part": "co",
        "url_host_3rd_last_part": "a0",
        "url_host_4th_last_part": "www",
        "url_host_5th_last_part": None,
        "url_host_registry_suffix": "co.uk",
        "url_host_registered_domain": "a0.co.uk",
        "url_host_name_reversed": "uk.co.a0.www",
        "url_protocol": "https",
        "url_port": None,
        "url_path": "/P/x",
        "url_query": "b=2&a=0",
        "fetch_status": 200,
        "content_digest": payload_digest(b"<p>text 0").removeprefix("sha1:"),
        "content_mime_type": "text/html",
        "content_mime_detected": "text/html",
        "content_charset": "UTF-8",
        "content_languages": "eng",
        "warc_segment": "1767323040000.0",
    }
    assert {name: row[name] for name in expected} == expected
    assert row["fetch_time"].isoformat() == "2026-01-02T03:04:00+00:00"


def test_equal_captures_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / name, captures(), files=2)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)


def test_only_text_gets_a_wet_record(tmp_path: Path) -> None:
    date = "2026-01-02T03:04:05Z"
    items = [
        Capture("http://a.example/pdf", date, (("Content-Type", "text/html"),), b"%PDF-1.7 x"),
        Capture("http://a.example/json", date, (("Content-Type", "application/json"),), b"{}"),
        Capture("http://a.example/txt", date, (("Content-Type", "text/plain"),), "héllo\n\nyou".encode("cp1252")),
        Capture("http://a.example/none", date, (), b"<!DOCTYPE html><p>hi"),
        Capture("http://a.example/blank", date, (("Content-Type", "text/html"),), b"<script>x</script>"),
    ]
    assert write_snapshot(tmp_path, "local-t", items) | {"bytes": 0} == {
        "captures": 5, "wet": 2, "without_text": 1, "files": 1, "bytes": 0}  # fmt: skip
    (wet,) = lines(tmp_path / "crawl-data/local-t/wet.paths.gz")
    texts = {
        item.rec_headers.get_header("WARC-Target-URI"): item.content_stream().read().decode()
        for item in ArchiveIterator(io.BytesIO((tmp_path / wet).read_bytes()))
        if item.rec_type == "conversion"
    }
    assert texts == {"http://a.example/txt": "héllo\n\nyou\n", "http://a.example/none": "hi\n"}


def test_odd_urls_and_headers_do_not_stop_the_writing(tmp_path: Path) -> None:
    items = [
        Capture(url, "2026-01-02T03:04:05Z", (("X", "ñ\r\nY: z"), ("Content-Type", "text/html")), b"<p>x")
        for url in ("http://192.0.2.1:8080/", "http://ñ.example/ä?ü", "hard::a.html", "https://a.example:99999/", "http://localhost")
    ]  # fmt: skip
    frame = write(tmp_path, items).sort("url")
    assert sorted(frame["url"]) == sorted(item.url for item in items)
    row = frame.row(by_predicate=pl.col("url") == "http://192.0.2.1:8080/", named=True)
    assert (row["url_port"], row["url_host_registered_domain"], row["url_surtkey"]) == (8080, None, "192.0.2.1:8080)/")


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("https://www.Example.org/", "org,example)/"),
        ("http://www2.a.example.org:80/B/?z=1&y=2#f", "org,example,a)/b?y=2&z=1"),
        ("https://a.example:8443", "example,a:8443)/"),
    ],
)
def test_surt_keys(url: str, key: str) -> None:
    assert surt_key(url) == key


def test_media_types() -> None:
    assert detect_mime(b"\x89PNG\r\n\x1a\n", "text/html") == "image/png"
    assert detect_mime(b"<!-- c --><html>", "text/plain") == "text/html"
    assert detect_mime(b"<html>", "application/json") == "application/json"
    assert detect_mime(b"?", "") == "application/octet-stream"


def test_no_capture_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no page"):
        write_snapshot(tmp_path, "local-t", [])


def test_publish_lists_newest_first_and_replaces(tmp_path: Path) -> None:
    for key, year in (("local-old", 2020), ("local-new", 2026), ("local-old", 2020)):
        with building(tmp_path, key) as folder:
            write_snapshot(folder, key, [Capture("http://a.example/", f"{year}-01-02T03:04:05Z", HTML, b"<p>x")])
            publish(folder, tmp_path, key, "n")
    known = json.loads((tmp_path / "collinfo.json").read_text())
    assert [entry["id"] for entry in known] == ["local-new", "local-old"]
    assert known[0] == {
        "id": "local-new", "name": "n", "timegate": "/local-new/", "cdx-api": "/local-new-index",
        "from": "2026-01-02T03:04:05", "to": "2026-01-02T03:04:05"}  # fmt: skip


def test_one_builder_at_a_time_and_no_trace_of_a_failed_one(tmp_path: Path) -> None:
    with building(tmp_path, "local-t") as folder:
        (folder / "half").touch()
        with pytest.raises(Busy, match="local-t"), building(tmp_path, "local-t"):
            pass
        assert (folder / "half").exists()
    assert not folder.exists()
    folder.mkdir()
    (folder / "left by a killed build").touch()
    with building(tmp_path, "local-t") as folder:
        assert not list(folder.iterdir())
