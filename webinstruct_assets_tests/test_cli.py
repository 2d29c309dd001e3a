"""Bad input at the command line: every problem is named with its fix, none ends in a traceback alone."""

from pathlib import Path

import pytest

from webinstruct_assets.core.errors import ConfigError
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets_tests.conftest import rows_of, webinstruct
from webinstruct_assets_tests.crawls import configured


def problem(home: Path, *arguments: str) -> str:
    answer = webinstruct(home, *arguments, check=False)
    assert answer.returncode == 1, (answer.stdout, answer.stderr)
    assert "error: " in answer.stderr and "fix: " in answer.stderr and "Traceback" not in answer.stderr
    return answer.stderr


def test_bad_snapshot_key(home: Path) -> None:
    assert "'../../etc' is not a snapshot key" in problem(home, "run", "--snapshot", "../../etc")


def test_unknown_snapshot(home: Path) -> None:
    assert "local-nowhere" in problem(home, "run", "--snapshot", "local-nowhere")


def test_unknown_asset(home: Path) -> None:
    assert "no asset 'nonsense'" in problem(home, "trace", "nonsense/local-demo")


def test_unknown_row(home: Path) -> None:
    assert "is not a row id" in problem(home, "trace", "zz-123")


def test_unreadable_yaml(home: Path) -> None:
    (home / "config/recipes/broken.yaml").write_text("description: [unclosed")
    assert "broken.yaml: not readable as YAML" in problem(home, "status")


def test_a_wrong_field_is_named(home: Path) -> None:
    path = home / "config/environments/demo.yaml"
    path.write_text(path.read_text() + "\ndecontamination: {n: ten}\n")
    message = problem(home, "status")
    assert "demo.yaml" in message and "decontamination.n" in message


@pytest.mark.parametrize("oldest", ["local-demo", "CC-MAIN-2026", "2026-05"])
def test_only_snapshots_of_common_crawl_have_an_age(workspace: Workspace, oldest: str) -> None:
    with pytest.raises(ConfigError, match=r"demo\.yaml: field 'automation\.oldest': .*CC-MAIN-YYYY-WW"):
        configured(workspace, automation={"oldest": oldest})


def test_an_enabled_benchmark_without_a_file_is_named(home: Path) -> None:
    path = home / "config/environments/demo.yaml"
    path.write_text(path.read_text().replace("benchmarks: [demo-stem]", "benchmarks: [demo-stem, nowhere]"))
    assert "'nowhere' has no file" in problem(home, "status")


def test_bad_sql(home: Path) -> None:
    assert "query failed" in problem(home, "sql", "SELECT * FROM nowhere")


def test_views_exist_before_anything_is_materialized(home: Path) -> None:
    assert rows_of(home, "SELECT count(*) AS n FROM webinstruct WHERE snapshot = 'x'") == [{"n": 0}]
    assert rows_of(home, "SELECT asset, partition, id, parent_id, reason, detail FROM rejects") == []


def test_status_lists_active_partitions_with_nulls(home: Path) -> None:
    import json

    rows = json.loads(webinstruct(home, "status", "--json").stdout)
    assert {row["asset"] for row in rows} >= {"crawl_index", "refined_qa", "benchmark_scores"}
    assert all(row["rows"] is None and row["up_to_date"] is None for row in rows)
    assert {row["partition"] for row in rows if row["asset"] == "refined_qa"} == {
        "smollm2-format|local-demo",
        "smollm2-steps|local-demo",
    }


def test_import_needs_a_local_key(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "some.warc"
    file.write_bytes(b"x")
    assert "would pass for a Common Crawl snapshot" in problem(
        home, "import-warc", str(file), "--snapshot", "CC-MAIN-2024-10"
    )


def test_importing_an_empty_file_names_it(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "empty.warc.gz"
    file.write_bytes(b"")
    assert "empty.warc.gz" in problem(home, "import-warc", str(file), "--snapshot", "local-empty")


@pytest.mark.parametrize("content", [b"not a warc at all", b"\x1f\x8b\x08\x00broken"])
def test_importing_something_else_names_it(home: Path, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "other.warc.gz"
    file.write_bytes(content)
    assert "other.warc.gz" in problem(home, "import-warc", str(file), "--snapshot", "local-other")
