"""The seed set: a uniform, reproducible sample of a snapshot's WET files with its balance and copies reported."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from scipy import stats

from webinstruct_assets.core.errors import BadInput, QualityGate
from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.stage import execute
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.seeds import sampling
from webinstruct_assets.stages.seeds.seed_set import SEED_SET
from webinstruct_assets_tests.crawls import configured, crawl

HOSTS = """
hosts:
  - {host: exams.example, reason: all of it}
  - {host: mixed.example, reason: its quizzes, paths: ["/quiz/*"]}
patterns:
  - {glob: "/past-papers/*", reason: anywhere}
"""


@pytest.fixture
def ws(workspace: Workspace) -> Workspace:
    (workspace.root / "config/hosts.yaml").write_text(HOSTS)
    return configured(workspace, seeds={"allow_list": "config/hosts.yaml", "min_per_class": 2})


def pages(exams: int, others: int) -> list[tuple[str, str]]:
    return [(f"https://exams.example/{n}", f"exam {n} question") for n in range(exams)] + [
        (f"https://site{n % 7}.example/{n}", f"news {n} weather") for n in range(others)
    ]


def build(ws: Workspace, key: PartitionKey) -> tuple[Manifest, pl.DataFrame, pl.DataFrame]:
    manifest = execute(SEED_SET, key, ws, log=print, run_id="test")
    rejects = [pl.read_parquet(path) for path in ws.lake.reject_paths(manifest)]
    assert manifest.rows_in == manifest.rows + sum(frame.height for frame in rejects)
    return manifest, ws.lake.read(manifest), pl.concat(rejects) if rejects else pl.DataFrame({"reason": []})


def test_labels_and_reasons(ws: Workspace) -> None:
    made = [
        *pages(5, 6),
        ("https://mixed.example/quiz/1", "quiz one"),
        ("https://mixed.example/about", "about the site"),
        ("https://any.example/past-papers/3", "paper three"),
        ("https://mirror.example/", "exam 0 question"),
        ("https://site1.example/again", "news 1 weather"),
    ]
    manifest, rows, rejects = build(ws, crawl(ws, "local-a", made, files=3))
    sources = dict(rows["source"].value_counts().iter_rows())
    assert sources == {
        "allow_list:exams.example": 5,
        "allow_list:mixed.example": 1,
        "pattern:/past-papers/*": 1,
        "random": 6,
    }
    listed = {(row["reason"], row["detail"]) for row in rejects.iter_rows(named=True)}
    # Of copies in different files the first file's stays; a copy of a listed page is no negative.
    assert ("on_listed_host", "https://mixed.example/about") in listed
    assert ("duplicate_text", "https://mirror.example/") in listed
    assert len(listed) == 3 and rows["text"].n_unique() == rows.height
    assert manifest.metrics["duplicates"] == 2 and manifest.metrics["class_ratio"] == pytest.approx(7 / 6, abs=0.01)
    assert manifest.metrics["positives_by_source"]["allow_list:exams.example"] == 5


def test_the_sample_is_uniform_over_files_of_any_size(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two crawls with the same pages, cut into files differently, give the same sample; no position is favoured."""
    ws = configured(ws, seeds={"max_negatives": 150, "max_positives": 20})
    made = pages(30, 900)
    first = build(ws, crawl(ws, "local-a", made, files=1))[1]
    second = build(ws, crawl(ws, "local-b", made[::-1], files=5))[1]
    assert sorted(first["url"]) == sorted(second["url"])
    negatives = first.filter(label="negative")["url"].to_list()
    assert len(negatives) == 150 and first.filter(label="positive").height == 20
    places = [int(url.rpartition("/")[2]) / 900 for url in negatives]
    assert stats.kstest(places, "uniform").pvalue > 0.01
    other_seed = build(configured(ws, seeds={"seed": 1}), PartitionKey.of({"snapshot": "local-a"}))[1]
    assert len(set(other_seed["url"]) & set(first["url"])) < 100


def test_files_that_drop_candidates_lower_the_cut_and_keep_the_sample_uniform(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws = configured(ws, seeds={"max_negatives": 100, "max_ratio": 50})
    key = crawl(ws, "local-a", pages(3, 300), files=2)
    whole = set(build(ws, key)[1]["url"])
    monkeypatch.setattr(sampling, "SPARE", 0)
    monkeypatch.setattr(sampling, "AT_LEAST", 20)  # 20 candidates of the 50 that each file's share is
    cut = build(configured(ws, seeds={"held_out": 0.3}), key)
    assert 20 <= cut[1].filter(label="negative").height < 40
    assert set(cut[1]["url"]) < whole
    assert cut[0].metrics["eligible_negatives"] == 300


def test_only_some_files_are_read(ws: Workspace) -> None:
    key = crawl(ws, "local-a", pages(40, 400), files=8)
    manifest, rows, _ = build(configured(ws, seeds={"max_wet_files": 3}), key)
    assert (manifest.metrics["wet_files_read"], manifest.metrics["wet_files"]) == (3, 8)
    assert manifest.rows_in == 165 and rows["parent_id"].n_unique() == 3
    other = build(configured(ws, seeds={"max_wet_files": 3, "seed": 5}), key)[1]
    assert set(other["parent_id"]) != set(rows["parent_id"])


def test_classes_are_kept_in_proportion_and_doubts_are_said(ws: Workspace) -> None:
    lines: list[str] = []
    ws = configured(ws, seeds={"max_ratio": 4})
    key = crawl(ws, "local-a", [*pages(10, 100), *[(f"https://copy.example/{n}", "the same") for n in range(90)]], 2)
    manifest = execute(SEED_SET, key, ws, log=lines.append, run_id="test")
    assert (manifest.metrics["positives"], manifest.metrics["negatives"]) == (10, 40)
    warnings = manifest.metrics["warnings"]
    assert [word in " ".join(warnings) for word in ("unbalanced", "repeat the text", "pages of exams.example")] == [
        True
    ] * 3
    assert sum("warning: " in line for line in lines) == 3


@pytest.mark.parametrize(("exams", "others", "message"), [(1, 50, "1 positive pages, 2 needed"), (50, 1, "1 negative")])
def test_too_few_pages_of_a_class_stop_the_run(ws: Workspace, exams: int, others: int, message: str) -> None:
    key = crawl(ws, "local-a", pages(exams, others), files=2)
    with pytest.raises(QualityGate, match=message):
        build(ws, key)
    assert ws.lake.manifest(SEED_SET.ref(key)) is None


def test_the_users_pages_come_first_and_their_copies_are_no_negatives(ws: Workspace, tmp_path: Path) -> None:
    mine = [{"text": "my own exam", "url": "https://me.example/"}, {"text": "news 3 weather"}, {"text": "my own exam"}]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(page) + "\n" for page in mine))
    key = crawl(ws, "local-a", pages(20, 50), files=2)
    ws = configured(ws, seeds={"user_files": [str(tmp_path / "mine.jsonl")], "max_positives": 10})
    manifest, rows, rejects = build(ws, key)
    assert manifest.metrics["user_positives"] == 2 and manifest.metrics["positives"] == 10
    assert rows.filter(source="user:mine.jsonl")["text"].to_list() == ["my own exam", "news 3 weather"]
    assert "news 3 weather" not in rows.filter(label="negative")["text"].to_list()
    assert rejects.filter(reason="duplicate_text").height == 2
    (tmp_path / "mine.jsonl").write_text('{"text": " "}\n')
    with pytest.raises(BadInput, match="no page with text of its own"):
        build(ws, key)


def test_engines_give_the_same_bytes(ws: Workspace) -> None:
    key = crawl(ws, "local-a", pages(20, 80), files=4)
    here = build(ws, key)[0]
    elsewhere = Workspace(ws.root / "elsewhere", configured(ws, engine={"kind": "processes", "workers": 2}).files)
    (ws.root / "elsewhere/data").mkdir(parents=True)
    (ws.root / "elsewhere/config").symlink_to(ws.root / "config")
    crawl(elsewhere, "local-a", pages(20, 80), files=4)
    assert build(elsewhere, key)[0].data_version == here.data_version


def test_a_run_that_died_after_the_first_pass_does_not_read_its_files_again(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = crawl(ws, "local-a", pages(20, 80), files=4)
    undisturbed = build(configured(ws, seeds={"seed": 3}), key)[0]
    ws.lake.folder(SEED_SET.ref(key)).joinpath("manifest.json").unlink()
    shutil.rmtree(ws.lake.folder(SEED_SET.ref(key)) / undisturbed.data_dir)

    def dies(*arguments: object) -> None:
        raise KeyboardInterrupt

    ws = configured(ws, seeds={"seed": 3})
    with monkeypatch.context() as patch:
        patch.setattr(sampling, "_choose", dies)
        with pytest.raises(KeyboardInterrupt):
            build(ws, key)
    assert ws.lake.manifest(SEED_SET.ref(key)) is None
    monkeypatch.setattr(sampling, "read_wet", dies)
    resumed = build(ws, key)[0]
    assert resumed.data_version == undisturbed.data_version
    assert not (ws.lake.data_folder(resumed) / "scratch").exists()
