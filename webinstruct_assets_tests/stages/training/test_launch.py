"""Launching by accelerate: the shipped files, and real trainings in several processes and from several launchers."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from webinstruct_assets.core.workspace import PROJECT_ROOT
from webinstruct_assets.stages.training.job import ENTRY_MODULE, TrainingJob, read_metrics
from webinstruct_assets_tests.stages.training.test_train import LORA, wait_for_steps

MakeJob = Callable[..., TrainingJob]
FOLDER = PROJECT_ROOT / "config/accelerate"
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch"]
# file: distributed type, processes, machines, precision
SHIPPED = {
    "one_gpu": ("NO", 1, 1, "bf16"),
    "fsdp_8gpu": ("FSDP", 8, 1, "bf16"),
    "fsdp_two_nodes": ("FSDP", 16, 2, "bf16"),
    "zero3_8gpu": ("DEEPSPEED", 8, 1, "bf16"),
    "two_cpu_processes": ("MULTI_GPU", 2, 1, "no"),
}


def launched_with(path: Path, *arguments: str) -> tuple[Any, dict[str, str]]:
    """What ``accelerate launch`` makes of a file: its arguments, and the environment that its processes get."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import (
        prepare_deepspeed_cmd_env,
        prepare_multi_gpu_env,
        prepare_simple_launcher_cmd_env,
    )

    given = launch_command_parser().parse_args(
        ["--config_file", str(path), *arguments, "--module", ENTRY_MODULE, "job"]
    )
    args, defaults, _ = _validate_launch_command(given)
    if args.use_deepspeed:
        args.deepspeed_fields_from_accelerate_config = ",".join(defaults.deepspeed_config)
        return args, prepare_deepspeed_cmd_env(args)[1]
    if args.use_fsdp or args.multi_gpu:
        return args, prepare_multi_gpu_env(args)
    return args, prepare_simple_launcher_cmd_env(args)[1]


def test_every_file_is_known_here() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_file_is_what_accelerate_makes_of_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    path = FOLDER / f"{name}.yaml"
    config = load_config_from_file(str(path))  # refuses keys that it does not know
    got = (config.distributed_type.value, config.num_processes, config.num_machines, config.mixed_precision)
    assert got == SHIPPED[name]
    args, environment = launched_with(path)
    assert (args.num_processes, args.num_machines) == SHIPPED[name][1:3]
    assert args.use_fsdp == (config.distributed_type.value == "FSDP")
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    if args.use_fsdp:
        # Its own section has no such check: an option with a wrong name would be ignored.
        assert all(hasattr(args, option) for option in config.fsdp_config)
        from accelerate.utils import FullyShardedDataParallelPlugin

        plugin = FullyShardedDataParallelPlugin()
        assert (plugin.fsdp_version, plugin.reshard_after_forward, plugin.cpu_ram_efficient_loading) == (2, True, True)
        assert "SHARDED" in str(plugin.state_dict_type) and not plugin.activation_checkpointing
        plugin.set_state_dict_type("FULL_STATE_DICT")  # as for the finished model
        assert "FULL_STATE_DICT" in str(plugin.state_dict_type)
    if args.use_deepspeed:
        assert all(hasattr(args, option) for option in config.deepspeed_config)
        assert environment["ACCELERATE_DEEPSPEED_ZERO_STAGE"] == "3"
        assert environment["ACCELERATE_DEEPSPEED_ZERO3_SAVE_16BIT_MODEL"] == "true"
        assert "ACCELERATE_GRADIENT_ACCUMULATION_STEPS" not in environment  # the recipe's


def test_another_node_is_the_same_file_with_its_rank() -> None:
    args, environment = launched_with(FOLDER / "fsdp_two_nodes.yaml", "--machine_rank", "1")
    assert (args.machine_rank, args.nnodes, args.nproc_per_node, args.node_rank) == (1, "2", "8", 1)
    assert (args.rdzv_backend, args.rdzv_endpoint) == ("static", "node0:29500")
    assert environment["ACCELERATE_USE_FSDP"] == "true"


def test_environments_name_files_that_are_there() -> None:
    for path in (PROJECT_ROOT / "config/environments").glob("*.yaml"):
        named = (yaml.safe_load(path.read_text()).get("trainer") or {}).get("accelerate_config")
        assert named is None or (PROJECT_ROOT / named).exists(), path


def alone(job: TrainingJob) -> list[str]:
    return ["env", "OMP_NUM_THREADS=1", sys.executable, "-m", ENTRY_MODULE, str(job.save())]


def launched(job: TrainingJob, path: Path, *arguments: str) -> list[str]:
    return [*LAUNCH, "--config_file", str(path), *arguments, "--module", ENTRY_MODULE, str(job.save())]


def finished(command: list[str]) -> str:
    answer = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def curve(job: TrainingJob) -> list[float]:
    return [record["loss"] for record in read_metrics(job.metrics)]


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"lora": LORA}])
def test_two_processes_train_as_one_does(make_job: MakeJob, tmp_path: Path, changes: dict[str, Any]) -> None:
    """The same batches, split over two processes (gloo), give the same losses; one model comes out."""
    job = make_job(**{"steps": 6, "per_device_batch": 2, "global_batch": 4, "loss": "all", **changes})
    one, two = (replace(job, folder=str(tmp_path / name)) for name in ("one", "two"))
    finished(alone(one))
    output = finished(launched(two, FOLDER / "two_cpu_processes.yaml"))
    assert output.count("step 6/6") == 1  # the main process alone logs
    results = [json.loads((each.scratch / "result.json").read_text()) for each in (one, two)]
    assert [result["environment"]["world_size"] for result in results] == [1, 2]
    assert [result["global_batch"] for result in results] == [4, 4]
    # Losses of two halves are weighed by their tokens, so they only differ by rounding.
    assert curve(two) == pytest.approx(curve(one), rel=1e-4)
    assert [record["tokens"] for record in read_metrics(two.metrics)] == [
        record["tokens"] for record in read_metrics(one.metrics)
    ]
    assert (two.model / "model.safetensors").stat().st_size == (one.model / "model.safetensors").stat().st_size


@pytest.mark.slow
def test_two_processes_resume_after_a_kill(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job(steps=30, epochs=10.0, per_device_batch=2, global_batch=4, save_seconds=0.0)
    whole, killed = (replace(job, folder=str(tmp_path / name)) for name in ("whole", "killed"))
    path = FOLDER / "two_cpu_processes.yaml"
    finished(launched(whole, path))
    with subprocess.Popen(launched(killed, path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_for_steps(killed, 8)
        process.kill()  # the launcher; its two processes die with it
    assert "resuming at step" in finished(launched(killed, path))
    assert curve(killed) == curve(whole)
    assert (killed.model / "model.safetensors").read_bytes() == (whole.model / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_an_error_of_any_process_reaches_the_stage(make_job: MakeJob) -> None:
    job = make_job(per_device_batch=32)
    answer = subprocess.run(
        launched(job, FOLDER / "two_cpu_processes.yaml"), capture_output=True, text=True, timeout=900, check=False
    )
    assert answer.returncode
    error = json.loads((job.scratch / "error.json").read_text())
    assert error["kind"] == "BadInput" and "fewer than one batch of 64" in error["problem"]
