"""benchmark_scores on the real server: the base model and a recipe on top of it, a few items of each set."""

from pathlib import Path

import pytest
import yaml

from webinstruct_assets.core.errors import MissingInput
from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.stage import execute
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.benchmarks.benchmark_items import BENCHMARK_ITEMS
from webinstruct_assets.stages.evaluation.benchmark_scores import BENCHMARK_SCORES, inputs
from webinstruct_assets.stages.sft.sft_dataset import SFT_DATASET
from webinstruct_assets.stages.training.trained_checkpoint import TRAINED_CHECKPOINT

REAL = {
    "gsm8k": ("gsm8k_test.jsonl", {"question": "question", "answer": "answer"}),
    "math": ("math_500_of_test.jsonl", {"id": "id", "question": "problem", "answer": "solution"}),
    "theoremqa": ("theoremqa_test.json", {"id": "id", "question": "Question", "answer": "Answer"}),
    "mmlu-stem": ("mmlu_stem.json", {"question": "question", "answer": "answer", "choices": "choices"}),
    "arc-challenge": ("arc_challenge.json", {"question": "question", "answer": "answer"}),
    "bbh": ("bbh.json", {"question": "question", "answer": "answer"}),
}


def key(**dimensions: str) -> PartitionKey:
    return PartitionKey.of(dimensions)


def base_ready(home: Path) -> Workspace:
    """The demo environment with its base recipe's checkpoint made."""
    ws = Workspace.open(home)
    for stage in (SFT_DATASET, TRAINED_CHECKPOINT):
        execute(stage, key(recipe="base-smollm2"), ws, log=print, run_id="test")
    return ws


def shorten(home: Path, name: str, **changes: object) -> None:
    path = home / f"config/benchmarks/{name}.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}))


def test_a_recipe_needs_the_scores_of_its_base(workspace: Workspace) -> None:
    refs = [str(ref) for ref in inputs(workspace, key(benchmark="demo-stem", recipe="demo-sft"))]
    assert refs == [
        "benchmark_items/demo-stem",
        "trained_checkpoint/demo-sft",
        "benchmark_scores/demo-stem|base-smollm2",
    ]
    assert len(inputs(workspace, key(benchmark="demo-stem", recipe="base-smollm2"))) == 2
    with pytest.raises(MissingInput, match="benchmark_items/demo-stem"):
        execute(BENCHMARK_SCORES, key(benchmark="demo-stem", recipe="demo-sft"), workspace, log=print, run_id="test")


@pytest.mark.llm
def test_base_and_recipe_beside_it(home: Path) -> None:
    shorten(home, "demo-stem", limit=4, max_output_tokens=48)
    # A second zero-step recipe that continues the base: the same weights, evaluated as a recipe of its own.
    (home / "config/recipes/same.yaml").write_text(
        "description: t\nbase_model: smollm2-135m\ncontinues: base-smollm2\nsteps: 0\n"
    )
    ws = base_ready(home)
    for stage in (SFT_DATASET, TRAINED_CHECKPOINT):
        execute(stage, key(recipe="same"), ws, log=print, run_id="test")
    execute(BENCHMARK_ITEMS, key(benchmark="demo-stem"), ws, log=print, run_id="test")

    base = execute(BENCHMARK_SCORES, key(benchmark="demo-stem", recipe="base-smollm2"), ws, log=print, run_id="test")
    rows = ws.lake.read(base)
    assert (base.rows, base.metrics["items"], base.metrics["items_in_benchmark"], base.metrics["errors"]) == (
        4,
        4,
        48,
        0,
    )
    assert rows["base_correct"].null_count() == 4
    assert base.metrics["ci_low"] <= base.metrics["accuracy"] <= base.metrics["ci_high"]
    assert "base_accuracy" not in base.metrics
    assert all(prompt.count("Problem:") == 3 for prompt in rows["prompt"])  # two shots and the item
    assert (rows["tokens_out"] > 0).all()

    same = execute(BENCHMARK_SCORES, key(benchmark="demo-stem", recipe="same"), ws, log=print, run_id="test")
    assert ws.lake.read(same)["base_correct"].to_list() == rows["correct"].to_list()
    assert same.metrics["base_accuracy"] == base.metrics["accuracy"]


@pytest.mark.llm
@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_items_of_the_real_sets(home: Path, shared_real: Path, name: str) -> None:
    file, fields = REAL[name]
    shorten(
        home, name, hub=None, file=str(shared_real / "benchmarks" / file), fields=fields, limit=4, max_output_tokens=64
    )
    ws = base_ready(home)
    execute(BENCHMARK_ITEMS, key(benchmark=name), ws, log=print, run_id="test")
    scores = execute(BENCHMARK_SCORES, key(benchmark=name, recipe="base-smollm2"), ws, log=print, run_id="test")
    assert (scores.rows, scores.metrics["errors"]) == (4, 0)
