"""trained_checkpoint as a stage: through the lake, in its own process, with errors that name recipe and fix."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from webinstruct_assets.core.errors import BadInput, Busy, ConfigError, MissingModel
from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.stage import Job, Stage, Unit, execute, identify
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.sft.sft_dataset import SFT_DATASET
from webinstruct_assets.stages.training.job import ENTRY_MODULE, TrainingJob, read_metrics
from webinstruct_assets.stages.training.train import train
from webinstruct_assets.stages.training.trained_checkpoint import TRAINED_CHECKPOINT, launcher
from webinstruct_assets_tests.stages.sft.test_recipes import TWINS, data, with_twins

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


def publish_data(ws: Workspace, recipe: str, rows: int = ROWS, more: Sequence[tuple[str, str]] = ()) -> None:
    pairs = [*((f"What is {number} plus {number}?", f"It is {2 * number}.") for number in range(rows)), *more]
    found = [conversation(number, *pair) for number, pair in enumerate(pairs)]

    def run(job: Job) -> None:
        job.unit("00000", lambda: Unit(rows=found, rows_in=len(found)))

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


def conversation(number: int, question: str, answer: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
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
    lora = {"lora": {"r": 2, "alpha": 4}}
    ws = configure(
        home, first={**short, **lora}, second={**short, "continues": "first"}, zero={"base_model": "tiny", "steps": 0}
    )
    for name, rows in (("first", ROWS), ("second", ROWS), ("zero", 0)):
        publish_data(ws, name, rows) if rows else execute(SFT_DATASET, key(name), ws, log=print, run_id="test")

    first, lines = run(ws, "first")
    assert (first.rows_in, first.rows_kept, first.rows) == (ROWS, ROWS, 8)  # two steps of four
    assert first.metrics["loss_first"] > 0 and first.metrics["tokens_per_second"] > 0
    assert first.metrics["base_model"] == ws.model_identity("tiny")
    assert {"torch", "transformers", "trl", "accelerate", "peft", "device", "world_size"} <= set(
        first.metrics["training_environment"]
    )
    assert first.config["lora"] == {"r": 2, "alpha": 4, "dropout": 0.0, "target_modules": "all-linear"}
    assert any("step 2/2" in line for line in lines)
    assert any(line.startswith("trained_checkpoint first: 2/2 steps, ") and ", $" in line for line in lines)
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


def here(command: Sequence[str], env: Mapping[str, str], log: Callable[[str], None]) -> None:
    """Trains in this process, which has everything loaded already."""
    train(TrainingJob.load(Path(command[-1])), log)


@pytest.mark.slow
def test_a_twin_of_each_family_trains_on_all_that_it_takes(home: Path, tiny_model: Path) -> None:
    ws = with_twins(home)
    use_model(home, "smollm2-135m", f"path:{tiny_model}")
    path = home / "config/recipes/demo-sft.yaml"
    path.write_text(path.read_text().replace("per_device_batch: 4", "per_device_batch: 2"))
    ws = replace(Workspace.open(home), launch=here)
    for name in TWINS:  # table6-ab before table6-abd, which continues it
        taken = data(ws, name)
        manifest, _ = run(ws, name)
        assert manifest.metrics["loss_on"] == ws.files.recipes[name].loss
        assert manifest.rows_in == taken.rows == manifest.rows_kept + manifest.metrics["rows_dropped"], name
        assert 0 < manifest.metrics["loss_tokens"] < manifest.metrics["tokens_in_dataset"]


def test_what_is_too_long_is_a_reject_or_counted(home: Path, tiny_model: Path) -> None:
    """In is trained on and dropped, and both what was dropped and what was cut off stands in the manifest."""
    use_model(home, "tiny", f"path:{tiny_model}")
    ws = configure(
        home,
        trial={"base_model": "tiny", "snapshots": ["local-demo"], "steps": 1, "max_length": 64, "per_device_batch": 4},
    )
    longer = [("word " * 100, "Yes."), ("Count.", "one " * 100)]
    publish_data(ws, "trial", 8, longer)
    manifest, lines = run(replace(ws, launch=here), "trial")
    assert (manifest.rows_in, manifest.rows_kept, manifest.rejected) == (10, 9, {"prompt_fills_max_length": 1})
    metrics = manifest.metrics
    assert (metrics["dataset_rows"], metrics["rows_dropped"], metrics["rows_cut"]) == (10, 1, 1)
    assert 60 < metrics["tokens_cut"] < 120
    (reject,) = pl.read_parquet(ws.lake.reject_paths(manifest)).to_dicts()
    assert reject["parent_id"] == f"sf-{8:024x}" and "within 64 tokens" in reject["detail"]
    assert any("10 rows, 1 of them dropped" in line and "1 cut to that" in line for line in lines)


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


def configure_trainer(home: Path, **trainer: Any) -> None:
    path = home / "config/environments/demo.yaml"
    content = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**content, "trainer": trainer}))


@pytest.mark.parametrize(("visible", "used"), [(None, "0"), ("3,5", "3"), ("", "")])
def test_one_process_takes_one_gpu(
    home: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None, used: str
) -> None:
    """Of several the trainer would take all, with a batch on each, and the global batch would be another."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    use_model(home, "tiny", f"path:{tiny_model}")
    ws = configure(home, trial={"base_model": "tiny", "snapshots": ["local-demo"], "steps": 1})
    publish_data(ws, "trial")
    given: list[dict[str, str]] = []

    def launch(command: Sequence[str], env: Mapping[str, str], log: Callable[[str], None]) -> None:
        given.append(dict(env))
        raise Busy("seen", "nothing to do")

    with pytest.raises(Busy, match="seen"):
        run(replace(ws, launch=launch), "trial")
    assert given[0]["CUDA_VISIBLE_DEVICES"] == used


def test_launcher(home: Path) -> None:
    assert launcher(configure(home)) == []
    configure_trainer(home, accelerate_config="config/accelerate/one_gpu.yaml")
    expected = ["--config_file", str(home / "config/accelerate/one_gpu.yaml"), "--no_python"]
    assert launcher(Workspace.open(home))[-3:] == expected
    configure_trainer(home, accelerate_config="config/accelerate/none.yaml")
    with pytest.raises(ConfigError, match="there is no"):
        launcher(Workspace.open(home))


SHORT = {
    "base_model": "tiny",
    "snapshots": ["local-demo"],
    "max_length": 64,
    "per_device_batch": 4,
    "warmup_ratio": 0.0,
}


@pytest.mark.slow
@pytest.mark.parametrize("accelerate", [None, "config/accelerate/two_cpu_processes.yaml"])
def test_a_run_that_is_killed_leaves_no_process_and_resumes(
    home: Path, tiny_model: Path, tmp_path: Path, accelerate: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL of the whole run, as in a crash of its machine; the model is the undisturbed run's, byte for byte."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    use_model(home, "tiny", f"path:{tiny_model}")
    configure_trainer(home, save_seconds=0, **({"accelerate_config": accelerate} if accelerate else {}))
    recipe = {**SHORT, "per_device_batch": 2, "global_batch": 4, "steps": 40, "epochs": 20.0}
    ws = configure(home, killed=recipe, whole=recipe)
    for name in ("killed", "whole"):
        publish_data(ws, name)
    script = (
        "from webinstruct_assets_tests.stages.training.test_trained_checkpoint import *\n"
        f"run(Workspace.open(Path({str(home)!r})), 'killed')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + 900
        while (
            not (found := list(home.glob("data/lake/trained_checkpoint/**/metrics.jsonl")))
            or len(read_metrics(found[0])) < 8
        ):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        process.kill()
    time.sleep(3)
    assert str(home) not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    killed, lines = run(ws, "killed")
    assert any(line.startswith("resuming at step") for line in lines)
    whole, _ = run(ws, "whole")
    assert 0 < killed.metrics["resumed_at"] < 40 and whole.metrics["resumed_at"] == 0
    assert killed.metrics["training_environment"]["world_size"] == (2 if accelerate else 1)
    assert ws.lake.file(killed, "model/model.safetensors").read_bytes() == (
        ws.lake.file(whole, "model/model.safetensors").read_bytes()
    )
    columns = ["step", "loss", "learning_rate", "grad_norm", "tokens"]
    assert ws.lake.read(killed).select(columns).equals(ws.lake.read(whole).select(columns))


@pytest.mark.slow
def test_a_second_machine_joins_by_the_command_in_the_log(
    home: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two launchers as on two nodes, here both on this one; settings of the shipped file, but for what needs GPUs."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(home)
    use_model(home, "tiny", f"path:{tiny_model}")
    config = yaml.safe_load((home / "config/accelerate/fsdp_two_nodes.yaml").read_text())
    del config["fsdp_config"]
    config |= {
        "distributed_type": "MULTI_GPU", "use_cpu": True, "mixed_precision": "no", "num_processes": 2, "main_process_ip": "127.0.0.1",
        "main_process_port": 29517 + os.getpid() % 400,
    }  # fmt: skip
    (home / "config/accelerate/two.yaml").write_text(yaml.safe_dump(config))
    configure_trainer(home, accelerate_config="config/accelerate/two.yaml")
    ws = configure(home, trial={**SHORT, "steps": 3, "per_device_batch": 2, "global_batch": 4})
    publish_data(ws, "trial")
    others: list[subprocess.Popen[bytes]] = []

    def log(line: str) -> None:
        if "more machines" in line:
            command = line[line.index("accelerate launch") :].replace("--machine_rank RANK", "--machine_rank 1").split()
            others.append(subprocess.Popen([sys.executable, "-m", "accelerate.commands.launch", *command[2:]]))

    manifest = execute(TRAINED_CHECKPOINT, key("trial"), ws, log=log, run_id="test")
    assert [other.wait(timeout=300) for other in others] == [0]
    assert manifest.metrics["training_environment"]["world_size"] == 2


def test_pipes_entry_takes_the_place_of_the_plain_one() -> None:
    from webinstruct_assets.assets.trainer_process import with_pipes

    assert with_pipes(["python", "-m", ENTRY_MODULE, "job.json"]) == [
        "python",
        "-m",
        "webinstruct_assets.assets.trainer_process",
        "job.json",
    ]
