from pathlib import Path

import polars as pl
import pytest

from webinstruct_assets.core.errors import BadInput, MissingInput
from webinstruct_assets.stages.seeds.seed_set import AllowedHost, AllowList
from webinstruct_assets.stages.seeds.user_files import read_user_pages


def test_reads_jsonl_and_parquet(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one", "url": "https://a.example/1"}\n{"text": "two", "url": null}\n')
    pl.DataFrame({"text": ["three"]}).write_parquet(tmp_path / "b.parquet")
    assert list(read_user_pages(tmp_path / "a.jsonl")) == [(0, "https://a.example/1", "one"), (1, "", "two")]
    assert list(read_user_pages(tmp_path / "b.parquet")) == [(0, "", "three")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "text\nx\n", "unknown format '.csv'"),
        ("a.jsonl", '{"body": "x"}\n', "no string field 'text'"),
        ("a.jsonl", "not json\n", "a.jsonl"),
        ("a.parquet", "not parquet", "a.parquet"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(BadInput, match=message):
        list(read_user_pages(tmp_path / name))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match="no such file"):
        list(read_user_pages(tmp_path / "nowhere.jsonl"))


def test_an_allowed_host_covers_its_subdomains_only() -> None:
    listed = AllowList(hosts=[AllowedHost(host="study.example", reason="x")])
    assert listed.match("study.example") == listed.match("www.study.example") == "study.example"
    assert listed.match("notstudy.example") is None
