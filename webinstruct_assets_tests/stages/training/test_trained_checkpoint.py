"""trained_checkpoint as a stage: through the lake, in its own process, with errors that name recipe and fix."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from webinstruct_assets.core.errors import BadInput, MissingModel
from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.stage import Job, Stage, Unit, execute, identify
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.sft.sft_dataset import SFT_DATASET
from webinstruct_assets.stages.training.trained_checkpoint import TRAINED_CHECKPOINT, launcher

ROWS = 24


def key(recipe: str) -> PartitionKey:
    return PartitionKey.of({"recipe": recipe})


def configure(home: Path, **recipes: dict[str, Any]) -> Workspace:
    """The demo environment with the tiny model added, the repo's converted models and these recipes."""
    for name, content in recipes.items():
        (home / f"config/recipes/{name}.yaml").write_text(yaml.safe_dump({"description": "t", **content}))
    return Workspace.open(home)


def use_model(home: Path, name: str, source: str) -> None:
    path = home / "config/environments/demo.yaml"
    content = yaml.safe_load(path.read_text())
    content["models"][name] = {"source": source, "max_model_len": 512}
    path.write_text(yaml.safe_dump(content))


def publish_data(ws: Workspace, recipe: str, rows: int = ROWS) -> None:
    def run(job: Job) -> None:
        job.unit("00000", lambda: Unit(rows=[conversation(number) for number in range(rows)], rows_in=rows))

    stage = Stage(
        "sft_dataset",
        ("recipe",),
        "sf",
        SFT_DATASET.schema,
        run,
        lambda ws, key: [],
        lambda ws, key: {},
        ("core/ids.py",),
    )
    execute(stage, key(recipe), ws, log=lambda line: None, run_id="test")


def conversation(number: int) -> dict[str, Any]:
    messages = [
        {"role": "user", "content": f"What is {number} plus {number}?"},
        {"role": "assistant", "content": f"It is {2 * number}."},
    ]
    return {
        "id": f"sf-{number:024x}", "parent_id": f"wi-{number:024x}", "snapshot": "local-demo", "refiner": "one", "subject": "", "source_type": "",
        "messages": messages,
    }  # fmt: skip


def run(ws: Workspace, recipe: str) -> tuple[Manifest, list[str]]:
    lines: list[str] = []
    return execute(TRAINED_CHECKPOINT, key(recipe), ws, log=lines.append, run_id="test"), lines


def test_train_continue_and_base(home: Path, tiny_model: Path) -> None:
    use_model(home, "tiny", f"path:{tiny_model}")
    short = {
        "base_model": "tiny",
        "snapshots": ["local-demo"],
        "steps": 2,
        "max_length": 64,
        "per_device_batch": 4,
        "warmup_ratio": 0.0,
    }
    ws = configure(home, first=short, second={**short, "continues": "first"}, zero={"base_model": "tiny", "steps": 0})
    for name, rows in (("first", ROWS), ("second", ROWS), ("zero", 0)):
        publish_data(ws, name, rows) if rows else execute(SFT_DATASET, key(name), ws, log=print, run_id="test")

    first, lines = run(ws, "first")
    assert (first.rows_in, first.rows_kept, first.rows) == (ROWS, ROWS, 8)  # two steps of four
    assert first.metrics["loss_first"] > 0 and first.metrics["tokens_per_second"] > 0
    assert first.metrics["base_model"] == ws.model_identity("tiny")
    assert any("step 2/2" in line for line in lines)
    table = ws.lake.read(first)
    assert table["step"].to_list() == [1, 2]
    assert {"model/model.safetensors", "model/config.json", "model/tokenizer.json"} <= {
        part.file for part in first.files
    }
    assert not (ws.lake.data_folder(first) / "scratch").exists()

    second, _ = run(ws, "second")
    assert "trained_checkpoint/first" in [f"{record.asset}/{record.partition}" for record in second.inputs]
    assert second.metrics["base_model"] == first.metrics["base_model"]

    zero, _ = run(ws, "zero")
    assert (zero.rows, ws.lake.read(zero).height) == (0, 0)
    assert ws.lake.file(zero, "model/config.json").exists()
    assert identify(TRAINED_CHECKPOINT, key("zero"), ws).config == {"base_model": ws.model_identity("tiny"), "steps": 0}


def test_missing_base_model_is_named_at_once(home: Path) -> None:
    use_model(home, "gone", "path:/nowhere/gone")
    ws = configure(
        home,
        trial={"base_model": "gone", "snapshots": ["local-demo"], "steps": 2},
        other={"base_model": "unheard-of", "steps": 0},
    )
    publish_data(ws, "trial")
    with pytest.raises(MissingModel, match="recipe 'trial': base model 'gone'") as caught:
        run(ws, "trial")
    assert caught.value.fix
    execute(SFT_DATASET, key("other"), ws, log=print, run_id="test")
    with pytest.raises(MissingModel, match="recipe 'other': base model 'unheard-of'"):
        run(ws, "other")


def test_error_of_the_process_arrives_in_its_own_type(home: Path, tiny_model: Path) -> None:
    use_model(home, "tiny", f"path:{tiny_model}")
    ws = configure(
        home,
        trial={"base_model": "tiny", "snapshots": ["local-demo"], "steps": 2, "per_device_batch": 99, "max_length": 64},
    )
    publish_data(ws, "trial")
    with pytest.raises(BadInput, match="recipe 'trial': the training set has 24 examples"):
        run(ws, "trial")
    assert ws.lake.manifest(TRAINED_CHECKPOINT.ref(key("trial"))) is None


@pytest.mark.llm
def test_two_real_steps_of_the_demo_model(home: Path, demo_model: Path) -> None:
    steps = {
        "base_model": "smollm2-135m",
        "snapshots": ["local-demo"],
        "steps": 2,
        "max_length": 64,
        "per_device_batch": 2,
        "warmup_ratio": 0.0,
    }
    ws = configure(home, trial={**steps, "learning_rate": 1e-4})
    publish_data(ws, "trial")
    manifest, _ = run(ws, "trial")
    assert manifest.metrics["steps"] == 2
    assert 0 < manifest.metrics["loss_last"] < 20


def test_launcher(home: Path) -> None:
    ws = configure(home)
    assert launcher(ws) == []
    path = home / "config/environments/demo.yaml"
    content = yaml.safe_load(path.read_text())
    content["trainer"] = {"accelerate_config": "config/accelerate.yaml"}
    path.write_text(yaml.safe_dump(content))
    assert launcher(Workspace.open(home))[-3:] == ["--config_file", str(home / "config/accelerate.yaml"), "--no_python"]


def test_pipes_entry_takes_the_place_of_the_plain_one() -> None:
    from webinstruct_assets.assets.trainer_process import with_pipes
    from webinstruct_assets.stages.training.job import ENTRY_MODULE

    assert with_pipes(["python", "-m", ENTRY_MODULE, "job.json"]) == [
        "python",
        "-m",
        "webinstruct_assets.assets.trainer_process",
        "job.json",
    ]
