"""sft_dataset: what a recipe takes, why each other row is left out, and that both are the same every time."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from webinstruct_assets.core.config import DuplicatesConfig, RecipeConfig
from webinstruct_assets.core.errors import ConfigError, MissingInput
from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.stage import Job, Stage, Unit, execute, identify
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.release.webinstruct import WEBINSTRUCT
from webinstruct_assets.stages.sft import sft_dataset
from webinstruct_assets.stages.sft.recipes import base_recipe, root_recipe
from webinstruct_assets.stages.sft.sft_dataset import SFT_DATASET


def row(number: int, **changes: Any) -> dict[str, Any]:
    """One row of the dataset; numbers make ids."""
    return {
        "id": f"wi-{number:024x}", "parent_id": f"rq-{number:024x}", "url": "https://a.example/", "domain": "a.example",
        "question": f"What is {number} + 1?", "answer": f"It is {number + 1}.", "refiner": "one", "subject": "Mathematics",
        "subject_by": "rule", "source_type": "Education", "source_type_by": "rule", "answer_words": 3, **changes,
    }  # fmt: skip


def frame(rows: list[dict[str, Any]], snapshot: str = "local-demo", group: int = 0) -> pl.DataFrame:
    return sft_dataset.of_pairs(pl.DataFrame(rows, schema=dict(WEBINSTRUCT.schema), strict=True), snapshot, group)


def recipe(**changes: Any) -> RecipeConfig:
    return RecipeConfig.model_validate({"description": "", "base_model": "m", "snapshots": ["local-demo"], **changes})


def build(rows: pl.DataFrame, recipe: RecipeConfig, name: str) -> Unit:
    with tempfile.TemporaryDirectory() as scratch:
        return sft_dataset.build(rows, recipe, name, DuplicatesConfig(), Path(scratch))


def reasons(unit: Unit) -> dict[str, str]:
    rejects = unit.rejects
    assert isinstance(rejects, pl.DataFrame)
    return dict(zip(rejects["parent_id"], rejects["reason"], strict=True))


def test_every_row_is_kept_or_has_its_reason() -> None:
    rows = frame([
        row(1), row(2, refiner="two"), row(3, subject="Art"), row(4, source_type="Forum"), row(5, answer_words=1),
        row(6, question="WHAT is 1  +\n1?", answer=" it is 2. "),
    ])  # fmt: skip
    filters = {"subjects": ["Mathematics"], "source_types": ["Education"], "min_answer_words": 2}
    unit = build(rows, recipe(refiners=["one"], filters=filters), "r")
    assert isinstance(unit.rows, pl.DataFrame)
    assert unit.rows["parent_id"].to_list() == [row(1)["id"]]
    assert unit.rows["messages"].to_list() == [
        [{"role": "user", "content": "What is 1 + 1?"}, {"role": "assistant", "content": "It is 2."}]
    ]
    expected = ["other_refiner", "other_subject", "other_source_type", "short_answer", "duplicate_exact"]
    assert list(reasons(unit).values()) == expected
    assert unit.rows_in == 6


def test_the_older_snapshot_keeps_a_duplicate() -> None:
    newer = frame([row(1)], "CC-MAIN-2024-18", 1)
    older = frame([row(2, question=row(1)["question"], answer=row(1)["answer"])], "CC-MAIN-2024-10")
    unit = build(pl.concat([newer, older]), recipe(), "r")
    assert isinstance(unit.rows, pl.DataFrame)
    assert unit.rows["snapshot"].to_list() == ["CC-MAIN-2024-10"]
    assert reasons(unit) == {row(1)["id"]: "duplicate_exact"}


LONG = "A train leaves the station at noon and travels east at 60 km per hour without stopping. Where is it at 3 pm?"
TOLD = "It travels for 3 hours at 60 km per hour, which makes 180 km, so it is 180 km east of the station it left."


def test_near_duplicates_leave_across_snapshots_only() -> None:
    older = frame([
        row(1, question=LONG, answer=TOLD), row(2, question=LONG, answer=TOLD + " Good.", refiner="two"),
    ], "CC-MAIN-2024-10")  # fmt: skip
    newer = frame([
        row(3, question=LONG.replace("A train", "One train"), answer=TOLD, refiner="two"), row(4),
        row(5, question=LONG.replace("60", "70"), answer=TOLD), row(6, question=LONG.upper(), answer=TOLD.upper()),
    ], "CC-MAIN-2024-18", 1)  # fmt: skip
    for rows in (pl.concat([older, newer]), pl.concat([newer, older])):
        unit = build(rows, recipe(), "r")
        assert isinstance(unit.rows, pl.DataFrame) and isinstance(unit.rejects, pl.DataFrame)
        assert unit.rows["parent_id"].to_list() == [row(n)["id"] for n in (1, 2, 4, 5)]  # both refiners' stay
        assert reasons(unit) == {row(3)["id"]: "duplicate_near", row(6)["id"]: "duplicate_exact"}
        assert set(unit.rejects["detail"]) == {row(1)["id"]}
    alone = build(older, recipe(), "r")
    assert alone.rows_in == 2 and reasons(alone) == {}


def test_same_manifests_same_bytes_whatever_was_clicked_first(home: Path) -> None:
    """Two recipes over the same snapshots, materialized in both orders, in lakes filled in both orders."""
    write_recipe(home, "trial", snapshots=["local-b", "local-a"])
    ws, key = Workspace.open(home), PartitionKey.of({"recipe": "trial"})
    rows = {
        "local-a": [row(1, question=LONG, answer=TOLD), row(2)],
        "local-b": [row(3, question=LONG.replace("A train", "One train"), answer=TOLD), row(4)],
    }
    versions, parts = [], []
    for order in (["local-a", "local-b"], ["local-b", "local-a"]):
        for snapshot in order:
            publish(ws, snapshot, rows[snapshot])
        manifest = execute(SFT_DATASET, key, ws, log=print, run_id="test")
        assert manifest.rejected == {"duplicate_near": 1}
        versions.append(manifest.data_version)
        parts.append([path.read_bytes() for path in ws.lake.part_paths(manifest)])
        shutil.rmtree(ws.lake.root)
    assert versions[0] == versions[1] and parts[0] == parts[1]


def test_a_filtered_row_does_not_make_another_a_duplicate() -> None:
    twin = {"question": row(2)["question"], "answer": row(2)["answer"]}
    unit = build(frame([row(1, refiner="two", **twin), row(2)]), recipe(refiners=["one"]), "r")
    assert isinstance(unit.rows, pl.DataFrame)
    assert unit.rows["parent_id"].to_list() == [row(2)["id"]]


def test_max_rows_is_a_seeded_sample_that_input_order_does_not_change() -> None:
    rows = frame([row(number) for number in range(200)])
    small = {"max_rows": 20}
    first, shuffled, other = (
        build(rows, recipe(filters=small), "r"), build(rows.sample(fraction=1, shuffle=True, seed=3), recipe(filters=small), "r"),
        build(rows, recipe(filters=small, seed=1), "r"),
    )  # fmt: skip
    assert (
        isinstance(first.rows, pl.DataFrame)
        and isinstance(shuffled.rows, pl.DataFrame)
        and isinstance(other.rows, pl.DataFrame)
    )
    assert first.rows.height == 20
    assert first.rows.equals(shuffled.rows)
    assert first.rows["parent_id"].is_sorted()
    assert set(first.rows["parent_id"]) != set(other.rows["parent_id"])
    assert set(reasons(first).values()) == {"over_max_rows"}


def write_recipe(home: Path, name: str, **content: Any) -> None:
    base = {"description": "t", "base_model": "smollm2-135m"}
    (home / f"config/recipes/{name}.yaml").write_text(yaml.safe_dump({**base, **content}))


def publish(ws: Workspace, snapshot: str, rows: list[dict[str, Any]]) -> None:
    """Makes a partition of ``webinstruct`` with these rows."""

    def run(job: Job) -> None:
        job.unit("00000", lambda: Unit(rows=rows, rows_in=len(rows)))

    stage = Stage(
        "webinstruct",
        ("snapshot",),
        "wi",
        WEBINSTRUCT.schema,
        run,
        lambda ws, key: [],
        lambda ws, key: {},
        ("core/ids.py",),
    )
    execute(stage, PartitionKey.of({"snapshot": snapshot}), ws, log=lambda line: None, run_id="test")


def test_through_the_lake(home: Path) -> None:
    write_recipe(home, "trial", snapshots=["local-b", "local-a"])
    ws = Workspace.open(home)
    key = PartitionKey.of({"recipe": "trial"})
    with pytest.raises(MissingInput, match="webinstruct/local-a"):
        execute(SFT_DATASET, key, ws, log=print, run_id="test")
    publish(ws, "local-a", [row(1), row(2)])
    publish(ws, "local-b", [row(3), row(4, question=row(1)["question"], answer=row(1)["answer"])])
    manifest = execute(SFT_DATASET, key, ws, log=print, run_id="test")
    assert (manifest.rows_in, manifest.rows, manifest.rejected) == (4, 3, {"duplicate_exact": 1})
    assert sorted(ws.lake.read(manifest)["snapshot"]) == ["local-a", "local-a", "local-b"]
    # The learning rate does not bear on the data.
    write_recipe(home, "trial", snapshots=["local-b", "local-a"], learning_rate=1.0)
    assert identify(SFT_DATASET, key, Workspace.open(home)).fingerprint == manifest.fingerprint


def test_a_zero_step_recipe_has_no_rows(workspace: Workspace) -> None:
    manifest = execute(SFT_DATASET, PartitionKey.of({"recipe": "base-smollm2"}), workspace, log=print, run_id="test")
    assert (manifest.rows, manifest.inputs) == (0, [])


def test_recipe_without_snapshots(home: Path) -> None:
    write_recipe(home, "trial")
    with pytest.raises(ConfigError, match=r"trial\.yaml: field 'snapshots'"):
        execute(SFT_DATASET, PartitionKey.of({"recipe": "trial"}), Workspace.open(home), log=print, run_id="test")


def test_base_of_a_recipe_follows_what_it_continues(home: Path) -> None:
    write_recipe(home, "plus", continues="demo-sft", base_model="other", snapshots=["local-demo"])
    write_recipe(home, "ring-a", continues="ring-b")
    write_recipe(home, "ring-b", continues="ring-a")
    ws = Workspace.open(home)
    assert base_recipe(ws, "plus") == "base-smollm2"
    assert base_recipe(ws, "base-smollm2") is None
    assert base_recipe(ws, "mammoth2-7b") == "base-mistral-7b"  # not in the demo's environment, but there
    with pytest.raises(ConfigError, match="circle"):
        root_recipe(ws, "ring-a")
