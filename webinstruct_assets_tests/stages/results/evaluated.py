"""Scores with everything above them, published the way every stage is: what a report is made from."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import polars as pl
import yaml

from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.stage import Job, Stage, Unit, execute
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.benchmarks.benchmark_items import BENCHMARK_ITEMS
from webinstruct_assets.stages.evaluation.benchmark_scores import BENCHMARK_SCORES
from webinstruct_assets.stages.evaluation.statistics import statistics
from webinstruct_assets.stages.results.results_report import RESULTS_REPORT
from webinstruct_assets.stages.sft.recipes import base_recipe
from webinstruct_assets.stages.sft.sft_dataset import SFT_DATASET
from webinstruct_assets.stages.training.trained_checkpoint import TRAINED_CHECKPOINT
from webinstruct_assets_tests.partitions import filled

BASE = "base-tiny"


def with_recipes(ws: Workspace, recipes: dict[str, dict[str, Any]], **environment: Any) -> Workspace:
    """The workspace with only these recipes, all of them on one base model unless they say otherwise, all of them active."""
    folder = ws.root / "config/recipes"
    for path in folder.glob("*.yaml"):
        path.unlink()
    for name, fields in {BASE: {"steps": 0}, **recipes}.items():
        content = {
            "description": f"Recipe {name}.",
            "base_model": "smollm2-135m",
            "snapshots": ["local-demo"],
            **fields,
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    path = ws.root / "config/environments/demo.yaml"
    content = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**content, "recipes": [BASE, *recipes], "benchmarks": [], **environment}))
    return Workspace.open(ws.root)


def _publish(ws: Workspace, stage: Stage, key: dict[str, str], run: Any, **settings: Any) -> Manifest:
    made = replace(stage, run=run, settings=lambda ws, key: settings)
    return execute(made, PartitionKey.of(key), ws, log=print, run_id="test")


def trained(ws: Workspace, recipe: str, rows: int = 3, version: str = "1", **metrics: Any) -> Manifest:
    """A checkpoint, and a training set of so many rows whose data version follows from ``version``."""

    def dataset(job: Job) -> None:
        job.unit("0", lambda: Unit([filled(SFT_DATASET, id=f"sf-{version}-{at}") for at in range(rows)], rows))

    def checkpoint(job: Job) -> None:
        job.unit("0", lambda: Unit([filled(TRAINED_CHECKPOINT, id=f"tc-{version}")], 1))
        job.metrics |= {"training_seconds": 0.0, "world_size": 1, "device": "cpu", **metrics}

    steps = ws.files.recipes[recipe].steps
    execute(
        replace(SFT_DATASET, run=dataset, inputs=lambda ws, key: [], settings=lambda ws, key: {"version": version},
                may_be_empty=lambda ws, key: True),
        PartitionKey.of({"recipe": recipe}), ws, log=print, run_id="test",
    )  # fmt: skip
    return _publish(ws, TRAINED_CHECKPOINT, {"recipe": recipe}, checkpoint, steps=steps, recipe=recipe)


def evaluated(
    ws: Workspace,
    recipe: str,
    benchmark: str,
    right: Sequence[bool],
    *,
    paper: Sequence[bool] | None = None,
    contaminated: Sequence[int] = (),
    shots: int = 4,
    in_benchmark: int | None = None,
    **metrics: Any,
) -> Manifest:
    """Scores of a trained recipe, item by item, beside those of its base model."""

    def items(job: Job) -> None:
        job.unit("0", lambda: Unit([filled(BENCHMARK_ITEMS, id=f"bi-{at}") for at in range(len(right))], len(right)))

    def scores(job: Job) -> None:
        before: dict[str, tuple[Any, Any]] = {}
        if base_recipe(ws, recipe):
            (manifest,) = job.manifests("benchmark_scores")
            frame = ws.lake.read(manifest).select("item_id", "correct", "paper_correct")
            before = {name: (one, other) for name, one, other in frame.iter_rows()}
        rows = [
            filled(
                BENCHMARK_SCORES, id=f"bs-{recipe}-{at}", item_id=f"item-{at:04}", correct=is_right,
                paper_correct=(paper or right)[at], contaminated=at in contaminated, failure=None, finish_reason="stop",
                score=float(is_right), weight=1.0, judgements=None,
                base_correct=before.get(f"item-{at:04}", (None, None))[0],
                base_paper_correct=before.get(f"item-{at:04}", (None, None))[1],
            )
            for at, is_right in enumerate(right)
        ]  # fmt: skip
        job.unit("0", lambda: Unit(rows, len(rows)))
        job.metrics |= {
            **statistics(pl.read_parquet(job.folder / "part-0.parquet")),
            "items_in_benchmark": in_benchmark or len(rows),
            "shots": shots,
            **metrics,
        }

    execute(
        replace(BENCHMARK_ITEMS, run=items, inputs=lambda ws, key: [], settings=lambda ws, key: {}),
        PartitionKey.of({"benchmark": benchmark}), ws, log=print, run_id="test",
    )  # fmt: skip
    return _publish(ws, BENCHMARK_SCORES, {"benchmark": benchmark, "recipe": recipe}, scores, shots=shots)


def report(ws: Workspace) -> Manifest:
    """The report of what is there."""
    return execute(RESULTS_REPORT, PartitionKey.of({}), ws, log=print, run_id="test")
