"""Takedowns from a small chain of partitions: rows go from every stage that is made again, and from every export."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from webinstruct_assets.core.config import ModelConfig
from webinstruct_assets.core.errors import BadInput, MissingInput
from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.stage import Job, Stage, Unit, execute
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.graph import BY_ASSET, States
from webinstruct_assets.stages.decontamination.decontaminated_qa import DECONTAMINATED_QA
from webinstruct_assets.stages.duplicates.deduplicated_qa import DEDUPLICATED_QA
from webinstruct_assets.stages.extraction.extracted_qa import EXTRACTED_QA
from webinstruct_assets.stages.pages.pages import PAGES
from webinstruct_assets.stages.recall.recalled_urls import RECALLED_URLS
from webinstruct_assets.stages.refinement.refined_qa import REFINED_QA
from webinstruct_assets.stages.release.webinstruct import WEBINSTRUCT
from webinstruct_assets.stages.release.webinstruct_release import WEBINSTRUCT_RELEASE
from webinstruct_assets.stages.sft.sft_dataset import SFT_DATASET
from webinstruct_assets.stages.training.trained_checkpoint import TRAINED_CHECKPOINT, _refuse_taken_down
from webinstruct_assets.takedown import holdings, take_down
from webinstruct_assets_tests.conftest import webinstruct
from webinstruct_assets_tests.partitions import filled, publish

SNAPSHOT = PartitionKey.of({"snapshot": "local-demo"})
RECIPE = PartitionKey.of({"recipe": "demo-sft"})
# Number -> (host, a word that only this pair has). Two pairs of one page, one of a subdomain, one of another site.
PAIRS = {
    1: ("quiz.example", "alpha"),
    2: ("quiz.example", "beta"),
    3: ("old.quiz.example", "gamma"),
    4: ("math.example", "delta"),
}


def url(number: int) -> str:
    return f"https://{PAIRS[number][0]}/quizzes/gcse/{'same' if number < 3 else number}"


@pytest.fixture
def chain(workspace: Workspace) -> Workspace:
    dead = {"smollm2-135m": ModelConfig(source="hub:some/model", base_url="http://127.0.0.1:9/v1", served_name="m")}
    workspace.files.environment = workspace.config.model_copy(update={"models": dead, "refiners": ["smollm2-format"]})
    page = {1: 1, 2: 1, 3: 3, 4: 4}
    places = [filled(RECALLED_URLS, id=f"ur-{n}", url=url(n), domain=PAIRS[n][0]) for n in (1, 3, 4)]
    publish(workspace, RECALLED_URLS, SNAPSHOT, places)
    pages = [filled(PAGES, id=f"pg-{n}", parent_id=f"ur-{n}", url=url(n), domain=PAIRS[n][0]) for n in (1, 3, 4)]
    publish(workspace, PAGES, SNAPSHOT, pages)
    for stage, prefix, above in (
        (EXTRACTED_QA, "qa", "pg"),
        (DECONTAMINATED_QA, "dq", "qa"),
        (DEDUPLICATED_QA, "dd", "dq"),
        (REFINED_QA, "rq", "dd"),
    ):
        rows = []
        for n, (host, word) in PAIRS.items():
            parent = f"{above}-{page[n] if above == 'pg' else n}"
            texts = {"question": f"What is the derivative of the polynomial {word}?", "answer": f"It is {n}."}
            rows.append(
                filled(stage, id=f"{prefix}-{n}", parent_id=parent, url=url(n), domain=host, status="refined", **texts)
            )
        key = PartitionKey.of({"refiner": "smollm2-format", "snapshot": "local-demo"}) if prefix == "rq" else SNAPSHOT
        publish(workspace, stage, key, rows)
    build(workspace)
    return workspace


def run(ws: Workspace, stage: Stage, key: PartitionKey) -> Manifest:
    return execute(stage, key, ws, log=print, run_id="test")


def build(ws: Workspace) -> dict[str, Manifest]:
    """The dataset and everything that one exports of it; nothing above is made again."""
    return {
        stage.asset: run(ws, stage, key)
        for stage, key in ((WEBINSTRUCT, SNAPSHOT), (WEBINSTRUCT_RELEASE, SNAPSHOT), (SFT_DATASET, RECIPE))
    }


def words_left(ws: Workspace, manifests: dict[str, Manifest]) -> set[str]:
    """Which pairs' words stand anywhere in the files of these partitions, Parquet decoded."""
    found = ""
    for manifest in manifests.values():
        folder = ws.lake.data_folder(manifest)
        for part in [*manifest.parts, *manifest.rejects, *manifest.files]:
            path = folder / part.file
            found += (
                json.dumps(pl.read_parquet(path).to_dicts(), default=str)
                if path.suffix == ".parquet"
                else path.read_text()
            )
    return {word for _, word in PAIRS.values() if word in found}


@pytest.mark.parametrize(
    ("kind", "value", "left"),
    [
        ("domain", "quiz.example", {"delta"}),
        ("domain", "old.quiz.example", {"alpha", "beta", "delta"}),
        ("url", "https://quiz.example/quizzes/gcse/same", {"gamma", "delta"}),
        ("pair", "rq-2", {"alpha", "gamma", "delta"}),
        ("pair", "qa-4", {"alpha", "beta", "gamma"}),
    ],
)
def test_no_export_holds_it_afterwards(chain: Workspace, kind: Any, value: str, left: set[str]) -> None:
    assert words_left(chain, build(chain)) == {"alpha", "beta", "gamma", "delta"}
    take_down(chain, kind, value, "the author asked", "ada")
    after = build(chain)
    assert words_left(chain, after) == left
    gone = 4 - len(left)
    assert after["webinstruct"].rejected == {"taken_down": gone}
    assert after["sft_dataset"].rows == len(left) and after["sft_dataset"].rejected == {}
    for manifest in after.values():
        assert manifest.rows_in == manifest.rows_kept + manifest.rejected_total
    assert build(chain) == after  # up to date again


def test_an_export_made_from_an_older_dataset_leaves_it_out_too(chain: Workspace) -> None:
    take_down(chain, "domain", "math.example", "the site asked", "ada")
    exports = {"release": run(chain, WEBINSTRUCT_RELEASE, SNAPSHOT), "sft": run(chain, SFT_DATASET, RECIPE)}
    assert words_left(chain, exports) == {"alpha", "beta", "gamma"}
    assert exports["release"].rejected == exports["sft"].rejected == {"taken_down": 1}


def test_a_page_with_a_pair_left_is_kept(chain: Workspace) -> None:
    """Where a record is a page and not a row, it is rejected when its last pair goes."""
    take_down(chain, "pair", "qa-1", "the author asked", "ada")

    def pages_to_pairs(job: Job) -> None:
        rows = [filled(EXTRACTED_QA, id=f"qa-{n}", parent_id=f"pg-{min(n, 2)}") for n in (1, 2)]
        job.unit("0", lambda: Unit(rows=[{**row, "parent_id": "pg-1"} for row in rows], rows_in=1, rows_kept=1))
        job.unit("1", lambda: Unit(rows=[rows[0] | {"parent_id": "pg-9"}], rows_in=1, rows_kept=1))

    stage = Stage(
        asset="extracted_qa", dimensions=("snapshot",), prefix="qa", schema=EXTRACTED_QA.schema, run=pages_to_pairs,
        inputs=lambda ws, key: [], settings=lambda ws, key: {}, sources=EXTRACTED_QA.sources,
    )  # fmt: skip
    manifest = run(chain, stage, SNAPSHOT)
    assert chain.lake.read(manifest)["id"].to_list() == ["qa-2"]
    assert (manifest.rows_in, manifest.rows_kept, manifest.rejected) == (2, 1, {"taken_down": 1})


def test_status_names_what_still_holds_it(chain: Workspace) -> None:
    data = chain.lake.require(Ref("sft_dataset", RECIPE), "test")

    def trained(job: Job) -> None:
        job.unit("0", lambda: Unit(rows=[], rows_in=0))

    checkpoint = Stage(
        asset="trained_checkpoint", dimensions=("recipe",), prefix="tc", schema=TRAINED_CHECKPOINT.schema, run=trained,
        inputs=lambda ws, key: [Ref("sft_dataset", key)], settings=lambda ws, key: {}, sources=TRAINED_CHECKPOINT.sources,
        may_be_empty=lambda ws, key: True,
    )  # fmt: skip
    run(chain, checkpoint, RECIPE)
    take_down(chain, "pair", chain.lake.read(data)["id"][0], "the author asked", "ada")
    held = {(item.asset, item.rows) for item in holdings(chain)}
    assert held == {
        ("extracted_qa", 1), ("decontaminated_qa", 1), ("deduplicated_qa", 1), ("refined_qa", 1), ("webinstruct", 1), ("sft_dataset", 1), ("trained_checkpoint", 0),
        ("webinstruct_release", 0),
    }  # fmt: skip
    states = States(chain)
    assert (
        "taken_down" in states.of(WEBINSTRUCT.ref(SNAPSHOT)).reason
        or "not up to date" in states.of(WEBINSTRUCT.ref(SNAPSHOT)).reason
    )
    with pytest.raises(BadInput, match="1 rows of its sft_dataset were taken down"):
        TRAINED_CHECKPOINT.run(_training_job(chain, data))
    build(chain)
    assert {(item.asset, item.rows) for item in holdings(chain)} == {
        ("extracted_qa", 1), ("decontaminated_qa", 1), ("deduplicated_qa", 1), ("refined_qa", 1), ("trained_checkpoint", 0),
    }  # fmt: skip
    # Its weights still have it, so no other recipe goes on from them.
    plus = PartitionKey.of({"recipe": "demo-plus"})
    job = Job(
        TRAINED_CHECKPOINT, plus, chain,
        {TRAINED_CHECKPOINT.ref(RECIPE): chain.lake.require(TRAINED_CHECKPOINT.ref(RECIPE), "test")},
        {}, chain.root, print,
    )  # fmt: skip
    with pytest.raises(BadInput, match="continues demo-sft, 1 of whose rows were taken down"):
        _refuse_taken_down(job, "demo-plus")


def _training_job(ws: Workspace, data: Manifest) -> Job:
    """A job as ``execute`` would make it, on the version of the data that was published before."""
    inputs = {Ref("sft_dataset", RECIPE): data}
    return Job(TRAINED_CHECKPOINT, RECIPE, ws, inputs, {"base_model": "x"}, ws.root, print)


def test_other_partitions_are_left_alone(chain: Workspace) -> None:
    before = chain.lake.require(WEBINSTRUCT.ref(SNAPSHOT), "test")
    take_down(chain, "domain", "elsewhere.example", "the site asked", "ada")
    assert build(chain)["webinstruct"] == before
    assert BY_ASSET["webinstruct"] is WEBINSTRUCT


@pytest.mark.parametrize(
    ("kind", "value", "error"),
    [
        ("domain", "https://quiz.example/", "is no domain"),
        ("domain", "", "is no domain"),
        ("url", "quiz.example/a", "is no URL"),
        ("pair", "pg-1", "a row of pages, above pairs"),
    ],
)
def test_bad_requests_are_named_and_not_recorded(chain: Workspace, kind: Any, value: str, error: str) -> None:
    with pytest.raises(BadInput, match=error):
        take_down(chain, kind, value, "because", "ada")
    with pytest.raises(BadInput, match="without a reason"):
        take_down(chain, "domain", "quiz.example", " ", "ada")
    with pytest.raises(MissingInput, match="no row"):
        take_down(chain, "pair", "qa-77", "because", "ada")
    assert chain.lake.takedowns.all() == []


def test_the_command(home: Path) -> None:
    assert webinstruct(home, "takedown", "--domain", "quiz.example", check=False).returncode == 2
    said = webinstruct(home, "takedown", "--domain", "Quiz.example.", "--reason", "the site asked").stdout
    assert "domain quiz.example  by" in said and "the site asked" in said
    (line,) = (home / "data/lake/_takedowns/journal.jsonl").read_text().splitlines()
    assert json.loads(line)["value"] == "quiz.example"
    assert webinstruct(home, "takedown").stdout == said


def test_a_pair_stays_out_when_its_page_is_read_anew_and_so_do_its_copies(chain: Workspace) -> None:
    """Other ids, the same words: what a changed rule, or the duplicate on another site, would bring back."""
    take_down(chain, "pair", "qa-2", "the author asked", "ada")
    texts = {"question": "What is the  derivative of the polynomial Beta?", "answer": "It is 2."}
    rows = [
        filled(EXTRACTED_QA, id="qa-new", parent_id="pg-7", **texts),
        filled(EXTRACTED_QA, id="qa-9", parent_id="pg-9"),
    ]
    manifest = publish(chain, EXTRACTED_QA, SNAPSHOT, rows)
    assert chain.lake.read(manifest)["id"].to_list() == ["qa-9"]
    assert manifest.rejected == {"taken_down": 1}


def test_a_takedown_during_a_build_acts_on_what_was_committed_before_it(chain: Workspace) -> None:
    def slow(job: Job) -> None:
        job.unit("0", lambda: Unit(rows=[filled(PAGES, id="pg-a", url="https://quiz.example/a")], rows_in=1))
        if not chain.lake.takedowns.all():
            take_down(chain, "domain", "quiz.example", "the site asked", "ada")
        job.unit("1", lambda: Unit(rows=[filled(PAGES, id="pg-b", url="https://math.example/b")], rows_in=1))

    stage = Stage(
        asset="pages", dimensions=("snapshot",), prefix="pg", schema=PAGES.schema, run=slow, inputs=lambda ws, key: [],
        settings=lambda ws, key: {"build": "new"}, sources=PAGES.sources,
    )  # fmt: skip
    manifest = run(chain, stage, SNAPSHOT)
    assert chain.lake.read(manifest)["id"].to_list() == ["pg-b"] and manifest.rejected == {"taken_down": 1}
