"""The user's own WARC files: all that can be read gets in, all the rest is listed."""

import gzip
import io
from pathlib import Path

import polars as pl
import pytest
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from webinstruct_assets.core.errors import BadInput, BadKey, MissingInput
from webinstruct_assets.core.warc import WarcRecord, iter_records, payload_digest
from webinstruct_assets.stages.crawl.importer import import_warc
from webinstruct_assets.stages.crawl.source import CrawlSource

REFUSED = {  # real files without a page
    "CC-MAIN-2024-22.warc.paths.gz": "1 not_warc",
    "warcio-example-digest.warc": "4 type_request",
    "warcio-example-space-in-target-uri.warc.gz": "1 not_web_url",
    "warcio-example-trunc.warc": "1 wrong_length",
    "whirlwind.warc.wat.gz": "1 type_metadata",
    "whirlwind.warc.wet.gz": "1 type_conversion",
}


def no_log(_: str) -> None:
    pass


def made(*pages: tuple[str, bytes, str], zipped: bool = True) -> bytes:
    out = io.BytesIO()
    writer = WARCWriter(out, gzip=zipped)
    for url, body, status in pages:
        headers = StatusAndHeaders(status, [("Content-Type", "text/html")], protocol="HTTP/1.1")
        writer.write_record(writer.create_warc_record(url, "response", io.BytesIO(body), http_headers=headers))
    return out.getvalue()


PAGES = [(f"https://a.example/{number}", b"<p>page %d" % number * 30, "200 OK") for number in range(3)]


def records(root: Path, snapshot: str, kind: str) -> list[WarcRecord]:
    source = CrawlSource(str(root))
    found: list[WarcRecord] = []
    for path in source.file_list(snapshot, kind):
        with source.open(path) as stream:
            found += iter_records(stream, path, on_reject=pytest.fail)
    return found


def rejects(root: Path, snapshot: str) -> pl.DataFrame:
    return pl.read_parquet(root / f"crawl-data/{snapshot}/import-rejects.parquet")


def test_all_real_files_together(shared_real: Path, tmp_path: Path) -> None:
    files = [file for file in sorted((shared_real / "crawl").iterdir()) if file.name not in REFUSED]
    files.append(shared_real / "pages/web_pages_dev.warc.gz")
    messages: list[str] = []
    counts = import_warc(files, tmp_path, "local-mine", messages.append)
    # 594 pages, ten of the other files' eleven (two of three examples are the same record), one redirect.
    assert counts["captures"] == 604
    assert counts["wet"] == 601  # three are JSON
    assert counts["without_text"] == 0
    assert counts["rejected"] == {
        "duplicate": 2, "not_web_url": 2, "status": 1,
        "type_metadata": 2, "type_request": 15, "type_revisit": 4, "type_warcinfo": 12}  # fmt: skip
    assert any("web_pages_dev.warc.gz: 594 pages; not imported: nothing" in line for line in messages)
    assert rejects(tmp_path, "local-mine").height == sum(counts["rejected"].values())

    responses = [item for item in records(tmp_path, "local-mine", "warc") if item.type == "response"]
    originals = {
        item.record_id: item
        for file in files
        for item in iter_records(file.open("rb"), file.name, on_reject=pytest.fail, types=("response", "resource"))
    }
    for item in responses:
        original = originals[item.record_id]
        assert (item.url, item.date, item.payload) == (original.url, original.date, original.payload)
        assert item.payload_digest == payload_digest(item.payload)
        assert item.length > 0
        assert item.http_header("Content-Length") == str(len(item.payload))
        assert not item.http_header("Content-Encoding") + item.http_header("Transfer-Encoding")
    conversions = [item for item in records(tmp_path, "local-mine", "wet") if item.type == "conversion"]
    assert {item.warc_headers["warc-refers-to"] for item in conversions} < {item.record_id for item in responses}


@pytest.mark.parametrize("name", REFUSED)
def test_real_files_without_a_page(shared_real: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match=REFUSED[name]) as error:
        import_warc([shared_real / "crawl" / name], tmp_path, "local-x", no_log)
    assert name in error.value.problem
    assert not (tmp_path / "crawl-data").exists()
    assert not (tmp_path / "collinfo.json").exists()


@pytest.mark.parametrize("form", ["per record", "plain", "whole file"])
def test_forms_of_compression_end_in_the_same_snapshot(tmp_path: Path, form: str) -> None:
    data = made(*PAGES, zipped=form == "per record")
    file = tmp_path / "a.warc.gz"
    file.write_bytes(gzip.compress(data) if form == "whole file" else data)
    assert import_warc([file], tmp_path / "root", "local-a", no_log)["captures"] == 3
    assert [item.payload for item in records(tmp_path / "root", "local-a", "warc")[1:]] == [
        body for _, body, _ in PAGES
    ]


def test_a_damaged_file_gives_what_can_be_read(tmp_path: Path) -> None:
    data = made(*PAGES)
    ends = [item.offset + item.length for item in iter_records(io.BytesIO(data), "f", on_reject=pytest.fail)]
    damaged = bytearray(data)
    damaged[ends[0] + 40] ^= 0xFF
    file = tmp_path / "a.warc.gz"
    file.write_bytes(bytes(damaged[:-9]))
    counts = import_warc([file], tmp_path / "root", "local-a", no_log)
    assert (counts["captures"], counts["rejected"]) == (1, {"bad_gzip": 2})
    assert rejects(tmp_path / "root", "local-a")["offset"].to_list() == ends[:2]


def test_what_follows_a_whole_record_does_not_harm_it(tmp_path: Path) -> None:
    first, last = made(PAGES[0]), made(PAGES[1])
    other = gzip.compress(b"a member that begins with no record", mtime=0)
    damaged = other[:-8] + bytes(8)  # inflates well, up to its checksum
    for name, between in (("not_warc", other), ("bad_gzip", damaged)):
        file = tmp_path / f"{name}.warc.gz"
        file.write_bytes(first + between + last)
        counts = import_warc([file], tmp_path / name, "local-a", no_log)
        assert (counts["captures"], counts["rejected"]) == (2, {name: 1})
        assert rejects(tmp_path / name, "local-a")["offset"].to_list() == [len(first)]


def test_every_truncation(tmp_path: Path) -> None:
    data = made(*PAGES[:2])
    first = next(iter_records(io.BytesIO(data), "f", on_reject=pytest.fail)).length
    file = tmp_path / "a.warc.gz"
    for cut in range(0, len(data), 7):
        file.write_bytes(data[:cut])
        if cut < first:
            with pytest.raises(BadInput, match=r"a\.warc\.gz: (the file is empty|no page)"):
                import_warc([file], tmp_path / "root", f"local-{cut}", no_log)
        else:
            counts = import_warc([file], tmp_path / "root", f"local-{cut}", no_log)
            assert counts["captures"] == 1
            assert sum(counts["rejected"].values()) == (cut > first)


def test_other_statuses_are_listed(tmp_path: Path) -> None:
    file = tmp_path / "a.warc.gz"
    file.write_bytes(
        made(PAGES[0], ("https://a.example/no", b"<p>gone", "404 Not Found"), ("https://a.example/e", b"", "200 OK"))
    )
    counts = import_warc([file], tmp_path, "local-a", no_log)
    assert counts["rejected"] == {"empty_payload": 1, "status": 1}
    frame = rejects(tmp_path, "local-a")
    assert frame.columns == ["file", "offset", "url", "reason", "detail"]
    assert frame.select("url", "reason", "detail").row(0) == ("https://a.example/no", "status", "404")


def test_a_file_given_twice_adds_nothing(tmp_path: Path) -> None:
    file = tmp_path / "a.warc.gz"
    file.write_bytes(made(*PAGES))
    counts = import_warc([file, file], tmp_path, "local-a", no_log)
    assert (counts["captures"], counts["rejected"]) == (3, {"duplicate": 3})


def test_keys_and_files_that_cannot_be(tmp_path: Path) -> None:
    file = tmp_path / "a.warc.gz"
    file.write_bytes(made(*PAGES))
    with pytest.raises(BadKey, match="local-NAME"):
        import_warc([file], tmp_path, "CC-MAIN-2024-22", no_log)
    with pytest.raises(MissingInput, match="gone"):
        import_warc([file, tmp_path / "gone"], tmp_path, "local-a", no_log)
    with pytest.raises(MissingInput, match="no WARC file"):
        import_warc([], tmp_path, "local-a", no_log)
    import_warc([file], tmp_path, "local-a", no_log)
    before = records(tmp_path, "local-a", "warc")
    with pytest.raises(BadInput, match=r"local-a exists"):
        import_warc([file], tmp_path, "local-a", no_log)
    assert records(tmp_path, "local-a", "warc") == before
