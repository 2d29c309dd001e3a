from pathlib import Path

import polars as pl
import pytest

from webinstruct_assets.core.errors import BadInput, MissingInput
from webinstruct_assets.stages.seeds.user_files import UserPage, read_user_pages


def read(path: Path) -> tuple[list[UserPage], list[tuple[int, str, str]]]:
    rejects: list[tuple[int, str, str]] = []
    return list(read_user_pages(path, lambda *reject: rejects.append(reject))), rejects


def test_reads_jsonl_and_parquet(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one", "url": "https://a.example/1"}\n\n{"text": "two", "url": null}\n')
    pl.DataFrame({"text": ["three", None]}).write_parquet(tmp_path / "b.parquet")
    assert read(tmp_path / "a.jsonl") == ([UserPage(0, "https://a.example/1", "one"), UserPage(2, "", "two")], [])
    assert read(tmp_path / "b.parquet") == ([UserPage(0, "", "three"), UserPage(1, "", "")], [])


def test_reads_warc_and_wet(tmp_path: Path, shared_real: Path) -> None:
    whirlwind = shared_real / "crawl/whirlwind.warc.gz"
    pages, rejects = read(whirlwind)
    assert len(pages) == 1 and not rejects
    wet, _ = read(shared_real / "crawl/whirlwind.warc.wet.gz")
    assert [page.url for page in wet] == [page.url for page in pages]
    # The same page: what Common Crawl's own WET file says of it is what is read from its HTML.
    assert set(wet[0].text.split()) <= set(pages[0].text.split())


def test_damaged_and_foreign_records_are_rejects(tmp_path: Path, shared_real: Path) -> None:
    data = (shared_real / "pages/web_pages_dev.warc.gz").read_bytes()[: 2 << 20]
    (tmp_path / "cut.warc.gz").write_bytes(data)
    pages, rejects = read(tmp_path / "cut.warc.gz")
    assert len(pages) > 20 and [reason for _, reason, _ in rejects] == ["bad_gzip"]
    assert rejects[0][2].startswith("cut.warc.gz@")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "text\nx\n", "unknown format '.csv'"),
        ("a.jsonl", '{"text": "x"}\n{"body": "x"}\n', "line 2: no string field 'text'"),
        ("a.jsonl", '{"text": 5}\n', "line 1: no string field 'text'"),
        ("a.jsonl", '{"text": "x", "url": 5}\n', "line 1: field 'url'"),
        ("a.jsonl", "not json\n", "a.jsonl, line 1: not JSON"),
        ("a.parquet", "not parquet", "a.parquet"),
        ("a.warc", "", "the file is empty"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(BadInput, match=message):
        read(tmp_path / name)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match="no such file"):
        read(tmp_path / "nowhere.jsonl")
