"""The training: which tokens carry loss, what comes out, what is refused, and what a kill costs (nothing)."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from webinstruct_assets.core.errors import BadInput, Busy, MissingModel, QualityGate, WebInstructError
from webinstruct_assets.core.lifeline import process_identity
from webinstruct_assets.stages.training.job import ENTRY_MODULE, TrainingJob, read_metrics
from webinstruct_assets.stages.training.model_files import copy_model
from webinstruct_assets.stages.training.prepare import prepare
from webinstruct_assets.stages.training.train import train
from webinstruct_assets.stages.training.trainer_lock import only_trainer

MakeJob = Callable[..., TrainingJob]
WritePairs = Callable[[Path, list[tuple[str, str]]], Path]
IGNORED = -100


def first_batch(job: TrainingJob) -> tuple[Any, dict[str, Any]]:
    """The tokenizer and the first batch exactly as the trainer would read it."""
    trainer = prepare(job).trainer
    return trainer.processing_class, next(iter(trainer.get_train_dataloader()))


def test_response_loss_is_on_the_answer_and_its_end_only(make_job: MakeJob) -> None:
    tokenizer, batch = first_batch(make_job(loss="response"))
    assert batch["input_ids"].shape[0] == 4
    for ids, labels in zip(batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True):
        carried = [token for token in labels if token != IGNORED]
        text = tokenizer.decode(carried)
        number = int(tokenizer.decode(ids).split("What is ")[1].split(" ")[0])
        assert text == f"It is {2 * number}.<|im_end|>\n"
        # Loss is on one stretch, and each label is the token itself.
        places = [place for place, label in enumerate(labels) if label != IGNORED]
        assert places == list(range(places[0], places[-1] + 1))
        assert [ids[place] for place in places] == carried


def test_all_token_loss_is_on_everything_but_padding(make_job: MakeJob) -> None:
    tokenizer, batch = first_batch(make_job(loss="all"))
    for ids, labels in zip(batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True):
        length = sum(label != IGNORED for label in labels)
        assert labels[:length] == ids[:length]
        text = tokenizer.decode(ids[:length])
        assert (
            text.startswith("<|im_start|>system\n")
            and "<|im_start|>user\nWhat is" in text
            and text.endswith(".<|im_end|>\n")
        )
        assert set(ids[length:]) <= {tokenizer.pad_token_id}


def test_packing_keeps_the_loss_where_it_is(make_job: MakeJob) -> None:
    tokenizer, batch = first_batch(make_job(loss="response", packing=True, per_device_batch=1, max_length=256))
    labels = batch["labels"][0].tolist()
    text = tokenizer.decode([label for label in labels if label != IGNORED])
    assert text.count("It is ") == text.count("<|im_end|>") >= 2
    assert "What is" not in text


def test_a_row_whose_prompt_fills_the_length_is_named(
    make_job: MakeJob, tmp_path: Path, write_pairs: WritePairs
) -> None:
    data = write_pairs(tmp_path / "long.parquet", [("word " * 100, "Yes."), ("What is 1 plus 1?", "2")])
    prepared = prepare(make_job(data=[str(data)]))
    assert prepared.rows_read == 2
    assert prepared.dropped == [f"sf-{0:024x}"]


def test_a_model_without_chat_template_gets_ours(make_job: MakeJob, tiny_model: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for path in tiny_model.iterdir():
        if path.name != "chat_template.jinja":
            (bare / path.name).symlink_to(path)
    tokenizer, batch = first_batch(make_job(base_model=str(bare)))
    ids, labels = batch["input_ids"][0].tolist(), batch["labels"][0].tolist()
    assert tokenizer.decode(ids).startswith("User: What is")
    assert tokenizer.decode([label for label in labels if label != IGNORED]).strip().endswith(".<|im_end|>")


def test_what_comes_out(make_job: MakeJob) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    job = make_job(schedule="cosine", warmup_ratio=0.0)
    lines: list[str] = []
    train(job, lines.append)
    steps = read_metrics(job.metrics)
    assert [record["step"] for record in steps] == [1, 2, 3]
    assert steps[0]["learning_rate"] == 1e-3 > steps[1]["learning_rate"] > steps[2]["learning_rate"]
    assert 0 < steps[0]["tokens"] < steps[2]["tokens"]
    assert steps[2]["loss"] < steps[0]["loss"]
    assert sum("step " in line and "tokens/s" in line for line in lines) == 3
    result = json.loads((job.scratch / "result.json").read_text())
    assert (result["rows_read"], result["dropped"], result["global_batch"], result["steps"]) == (40, [], 4, 3)
    names = {path.name for path in job.model.iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"} <= names
    assert "training_args.bin" not in names
    model = AutoModelForCausalLM.from_pretrained(job.model)
    assert model.dtype == torch.bfloat16  # as the base
    assert AutoTokenizer.from_pretrained(job.model).chat_template


def test_the_same_job_gives_the_same_weights(make_job: MakeJob, tmp_path: Path) -> None:
    weights = []
    for name in ("one", "two"):
        job = make_job(folder=str(tmp_path / name))
        train(job, lambda line: None)
        weights.append((job.model / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_time_limit_stops_and_keeps_the_model(make_job: MakeJob) -> None:
    job = make_job(steps=500, epochs=100.0, max_seconds=0.05)
    train(job, lambda line: None)
    assert 1 <= json.loads((job.scratch / "result.json").read_text())["steps"] < 500
    assert (job.model / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"per_device_batch": 64}, BadInput, "40 examples (40 rows), fewer than one batch of 64"),
        ({"base_model": "/nowhere/model"}, MissingModel, "/nowhere/model"),
        ({"learning_rate": 1e30, "steps": 20}, QualityGate, "gradient norm nan"),
    ],
)
def test_refused(make_job: MakeJob, changes: dict[str, Any], kind: type[WebInstructError], words: str) -> None:
    job = make_job(**changes)
    with pytest.raises(kind) as caught:
        train(job, lambda line: None)
    assert words in caught.value.problem and caught.value.fix
    assert json.loads((job.scratch / "error.json").read_text())["kind"] == kind.__name__
    assert not job.model.exists()


def test_two_trainers_never_share_a_folder(make_job: MakeJob) -> None:
    job = make_job()
    with only_trainer(job.scratch), pytest.raises(Busy, match="another training process"):
        train(job, lambda line: None)


def test_half_written_checkpoints_are_passed_over(tmp_path: Path) -> None:
    for step, state in ((5, '{"global_step": 5}'), (10, '{"global_step": 10}'), (15, '{"glob'), (20, None)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if state:
            (folder / "trainer_state.json").write_text(state)
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-10"
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-5", "checkpoint-10"}


def test_a_cut_off_metrics_line_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert read_metrics(tmp_path / "m.jsonl") == [{"step": 1}, {"step": 2}]


def test_zero_steps_copies_the_base(tiny_model: Path, tmp_path: Path) -> None:
    copy_model(tiny_model, tmp_path / "model")
    assert {path.name for path in (tmp_path / "model").iterdir()} == {path.name for path in tiny_model.iterdir()}


def start(job: TrainingJob) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", ENTRY_MODULE, str(job.save())]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for_steps(job: TrainingJob, count: int) -> None:
    deadline = time.monotonic() + 240
    while len(read_metrics(job.metrics)) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_kill_and_resume_sees_the_same_data_in_the_same_order(make_job: MakeJob, tmp_path: Path) -> None:
    whole = make_job(steps=60, epochs=10.0, folder=str(tmp_path / "whole"))
    train(whole, lambda line: None)
    killed = replace(whole, folder=str(tmp_path / "killed"), save_seconds=0.0)
    with start(killed) as process:
        wait_for_steps(killed, 12)
        process.send_signal(signal.SIGKILL)
    assert not killed.model.exists()
    with start(killed) as process:
        output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output
    assert "resuming at step" in output
    expected, got = read_metrics(whole.metrics), read_metrics(killed.metrics)
    assert [record["step"] for record in got] == list(range(1, 61))
    for one, other in zip(expected, got, strict=True):
        assert other["tokens"] == one["tokens"]  # the same rows in each batch
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-4)


@pytest.mark.slow
def test_the_training_dies_with_its_owner(make_job: MakeJob) -> None:
    """The owner is not the parent here, as with a launcher between them."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as owner:
        job = make_job(steps=100_000, epochs=1e5, owner=process_identity(owner.pid))
        with start(job) as process:
            wait_for_steps(job, 1)
            owner.kill()
            owner.wait()
            process.wait(timeout=20)
        assert process.returncode == -signal.SIGKILL


def test_process_identity() -> None:
    own = process_identity(os.getpid())
    assert own and own[0] == os.getpid() and own == process_identity(os.getpid())
    assert process_identity(2**22 + 1) is None
