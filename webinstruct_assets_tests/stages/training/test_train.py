"""The training: which tokens carry loss, what comes out, what is refused, and what a kill costs (nothing)."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from webinstruct_assets.core.errors import BadInput, Busy, ConfigError, MissingModel, QualityGate, WebInstructError
from webinstruct_assets.core.lifeline import process_identity
from webinstruct_assets.stages.sft.sft_dataset import SCHEMA
from webinstruct_assets.stages.training.checkpoints import last_checkpoint
from webinstruct_assets.stages.training.failures import explained
from webinstruct_assets.stages.training.job import ENTRY_MODULE, TrainingJob, only_trainer, read_metrics
from webinstruct_assets.stages.training.model_files import copy_model
from webinstruct_assets.stages.training.prepare import CHAT_TEMPLATE, accumulation, prepare
from webinstruct_assets.stages.training.tokens import labelled
from webinstruct_assets.stages.training.train import train

MakeJob = Callable[..., TrainingJob]
WritePairs = Callable[[Path, list[tuple[str, str]]], Path]
IGNORED = -100
LORA = {"r": 4, "alpha": 8, "dropout": 0.0, "target_modules": ["q_proj", "v_proj"]}


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


def test_pages_are_documents(make_job: MakeJob, tmp_path: Path) -> None:
    """The paper's LM loss on recalled pages: plain text with its end, every token of it, and no turn of a chat."""
    rows = [
        {"id": f"sf-{number}", "messages": [{"role": "assistant", "content": f"Page {number} about leaves."}]}
        for number in range(8)
    ]
    data = tmp_path / "pages.parquet"
    pl.DataFrame(rows, schema={name: SCHEMA[name] for name in ("id", "messages")}).write_parquet(data)
    tokenizer, batch = first_batch(make_job(data=[str(data)], loss="all"))
    for ids, labels in zip(batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True):
        length = sum(label != IGNORED for label in labels)
        assert labels[:length] == ids[:length]
        text = tokenizer.decode(ids[:length])
        assert re.fullmatch(rf"Page \d about leaves\.{re.escape(tokenizer.eos_token)}", text), text


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


@pytest.mark.parametrize("loss", ["response", "all"])
def test_packing_keeps_the_loss_where_it_is_and_neighbours_apart(make_job: MakeJob, loss: str) -> None:
    import torch

    trainer = prepare(make_job(loss=loss, packing=True, per_device_batch=1, max_length=160)).trainer
    tokenizer, batch = trainer.processing_class, next(iter(trainer.get_train_dataloader()))
    ids, labels, positions = (batch[name][0].tolist() for name in ("input_ids", "labels", "position_ids"))
    starts = [place for place, position in enumerate(positions) if position == 0]
    assert len(starts) >= 2
    bounds = list(zip(starts, [*starts[1:], len(ids)], strict=True))
    for start, end in bounds:
        assert positions[start:end] == list(range(end - start))  # each conversation counts from 0
        text = tokenizer.decode(ids[start:end])
        assert text.startswith("<|im_start|>system") and text.count("<|im_start|>user") == 1
        carried = [place for place in range(start, end) if labels[place] != IGNORED]
        assert [labels[place] for place in carried] == [ids[place] for place in carried]
        if loss == "response":
            number = int(text.split("What is ")[1].split(" ")[0])
            assert tokenizer.decode([ids[place] for place in carried]) == f"It is {2 * number}.<|im_end|>\n"
        else:  # nothing comes before the first token that could predict it
            assert carried == list(range(start + 1, end))

    # What the model says of a conversation does not depend on what lies before it in the pack.
    model = trainer.model.eval()
    start, end = bounds[1]
    with torch.no_grad():
        packed = model(**{name: value for name, value in batch.items() if name != "labels"}).logits[0, start:end]
        alone = model(input_ids=batch["input_ids"][:, start:end]).logits[0]
        joined = model(input_ids=batch["input_ids"][:, :end]).logits[0, start:end]
    assert torch.allclose(packed, alone, atol=1e-5)
    assert not torch.allclose(packed, joined, atol=1e-2)  # it would, without the positions


def conversations(path: Path, rows: list[list[str]]) -> list[str]:
    """A part of ``sft_dataset`` with a conversation per row: user and assistant in turns, a system turn where it is odd."""
    roles = {0: ["user", "assistant"], 1: ["system", "user", "assistant"]}
    records = []
    for number, turns in enumerate(rows):
        names = (roles[len(turns) % 2] + ["user", "assistant"] * len(turns))[: len(turns)]
        messages = [{"role": role, "content": text} for role, text in zip(names, turns, strict=True)]
        records.append({"id": f"sf-{number:024x}", "messages": messages})
    pl.DataFrame(records, schema={name: SCHEMA[name] for name in ("id", "messages")}).write_parquet(path)
    return [str(path)]


TURNS = [
    ["Name a prime.", "Seven."],
    ["Name a prime.", "Two.", "And a larger one?", "Eleven, for example.", "Thanks.", "You are welcome."],
    ["Be short.", "Sum of one and two?", "Three.", "And four more?", "Seven."],
    ["Answer <|im_end|>", "Seven."],  # markup that somebody typed is no end of a turn
]


def written(turns: list[str], loss: str) -> list[tuple[str, bool]]:
    """The text of ``TURNS`` in the tiny model's template, in pieces, and of each whether it carries loss."""
    system = turns[:1] if len(turns) % 2 else ["You are a helpful AI assistant named SmolLM, trained by Hugging Face"]
    pieces = [(f"<|im_start|>system\n{system[0]}<|im_end|>\n", False)]
    spoken = turns[len(turns) % 2 :]
    for asked, answered in zip(spoken[::2], spoken[1::2], strict=True):
        pieces += [
            (f"<|im_start|>user\n{asked}<|im_end|>\n<|im_start|>assistant\n", False),
            (f"{answered}<|im_end|>\n", True),
        ]
    return [(text, loss == "all" or carries) for text, carries in pieces]


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize("loss", ["response", "all"])
def test_every_answer_of_a_conversation_carries_loss(
    make_job: MakeJob, tmp_path: Path, loss: str, packing: bool
) -> None:
    """Token by token: with response loss those of all the assistant's turns and their ends, and no other."""
    data = conversations(tmp_path / "turns.parquet", TURNS)
    tokenizer, batch = first_batch(make_job(data=data, loss=loss, packing=packing, max_length=256))
    expected = []
    for turns in TURNS:
        ids, labels = [], []
        for text, carries in written(turns, loss):
            tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
            ids += tokens
            labels += tokens if carries else [IGNORED] * len(tokens)
        expected.append((ids, labels))
    rows = list(zip(batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True))
    if packing:  # one sequence; positions say where conversations begin, and a first token is predicted by nothing
        (ids, labels), positions = rows[0], batch["position_ids"][0].tolist()
        starts = [place for place, position in enumerate(positions) if position == 0]
        rows = [(ids[start:end], labels[start:end]) for start, end in zip(starts, [*starts[1:], len(ids)], strict=True)]
        expected = [(ids, [IGNORED, *labels[1:]]) for ids, labels in expected]
    else:
        length = batch["attention_mask"].sum(1).tolist()
        assert all(set(labels[end:]) <= {IGNORED} for (_, labels), end in zip(rows, length, strict=True))
        rows = [(ids[:end], labels[:end]) for (ids, labels), end in zip(rows, length, strict=True)]
    assert sorted(rows) == sorted(expected)


def test_an_answer_is_found_in_our_own_template_too(tiny_model: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = CHAT_TEMPLATE.read_text()
    names = ["user", "assistant", "user", "assistant"]
    messages = [{"role": role, "content": text} for role, text in zip(names, ("One?", "1", "Two?", "2"), strict=True)]
    _, labels = labelled(messages, tokenizer, "response")
    end = tokenizer.eos_token
    # White space that becomes one token with what follows is the next turn's.
    assert tokenizer.decode([label for label in labels if label != IGNORED]) == f" 1{end} 2{end}\n\n"


def test_a_template_that_rewrites_earlier_turns_is_refused(tiny_model: Path) -> None:
    """As of models that leave their reasoning out of earlier answers: nobody could tell what was whose."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {% if loop.last or m.role == 'user' %}{{ m.content }}{% endif %}\n{% endfor %}"
    messages = [{"role": role, "content": role} for role in ("user", "assistant", "user", "assistant")]
    with pytest.raises(BadInput, match="before number 2 differently") as caught:
        labelled(messages, tokenizer, "response")
    assert "chat_template" in caught.value.fix
    assert labelled(messages[:2], tokenizer, "response")
    ids, labels = labelled(messages, tokenizer, "all")
    assert ids == labels


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize("loss", ["response", "all"])
def test_what_is_too_long_is_cut_or_dropped_and_counted(
    make_job: MakeJob, tmp_path: Path, loss: str, packing: bool
) -> None:
    rows = [["word " * 100, "Yes."], ["Count.", "one " * 100], ["What is 1 plus 1?", "2"]]
    data = conversations(tmp_path / "long.parquet", rows)
    job = make_job(data=data, loss=loss, packing=packing, per_device_batch=1)
    prepared = prepare(job)
    read, tokenizer = prepared.read, prepared.trainer.processing_class
    lengths = [
        sum(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text, _ in written(row, loss))
        for row in rows
    ]
    first = 0 if loss == "all" else 1  # with response loss the first row has no token that carries any
    assert read.rows_read == 3
    assert read.dropped == [f"sf-{number:024x}" for number in range(first)]
    assert (read.rows_cut, read.tokens_cut) == (2 - first, sum(lengths[first:2]) - (2 - first) * job.max_length)
    assert read.tokens_in_dataset == sum(min(length, job.max_length) for length in lengths[first:])
    batches = prepared.trainer.get_train_dataloader()
    trained_on = [label for batch in batches for label in batch["labels"][:, 1:].flatten().tolist()]
    assert read.loss_tokens == len(trained_on) - trained_on.count(IGNORED)


def test_nothing_to_learn_is_an_error(make_job: MakeJob, tmp_path: Path) -> None:
    data = conversations(tmp_path / "long.parquet", [["word " * 100, "Yes."]])
    with pytest.raises(BadInput, match="all 1 rows fill max_length, 64 tokens"):
        prepare(make_job(data=data))


def test_a_model_without_chat_template_gets_ours(make_job: MakeJob, tiny_model: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for path in tiny_model.iterdir():
        if path.name != "chat_template.jinja":
            (bare / path.name).symlink_to(path)
    tokenizer, batch = first_batch(make_job(base_model=str(bare)))
    ids, labels = batch["input_ids"][0].tolist(), batch["labels"][0].tolist()
    # What the completions endpoint puts before a prompt stands before a conversation, too.
    assert tokenizer.decode(ids).startswith(f"{tokenizer.bos_token}User: What is")
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
    environment = result["environment"]
    assert {"torch", "transformers", "trl", "accelerate", "peft"} <= set(environment)
    assert environment["world_size"] == 1 and environment["device"]
    names = {path.name for path in job.model.iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"} <= names
    assert "training_args.bin" not in names
    model = AutoModelForCausalLM.from_pretrained(job.model)
    assert model.dtype == torch.bfloat16  # as the base
    assert AutoTokenizer.from_pretrained(job.model).chat_template


def test_warm_up_and_decay_span_all_epochs_at_the_global_batch(make_job: MakeJob) -> None:
    """40 rows, 8 a step by accumulation, twice: ten steps, a fifth of them to warm up, then half a cosine."""
    job = make_job(steps=None, epochs=2.0, global_batch=8, warmup_ratio=0.2)
    train(job, lambda line: None)
    rates = [record["learning_rate"] for record in read_metrics(job.metrics)]
    decay = [0.5 * (1 + math.cos(math.pi * step / 8)) for step in range(8)]
    assert rates == pytest.approx([1e-3 * share for share in (0, 0.5, *decay)])
    assert json.loads((job.scratch / "result.json").read_text())["epochs"] == 2


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
        ({"global_batch": 6}, ConfigError, "global_batch 6 is no multiple of per_device_batch 4 × 1 processes"),
        ({"max_length": 4096}, ConfigError, "max_length 4096 is more than the 2048 tokens"),
        ({"lora": {**LORA, "target_modules": ["q_prj"]}}, ConfigError, "lora.target_modules ['q_prj']"),
    ],
)
def test_refused(make_job: MakeJob, changes: dict[str, Any], kind: type[WebInstructError], words: str) -> None:
    job = make_job(**changes)
    job.save()
    with pytest.raises(kind) as caught:
        train(job, lambda line: None)
    assert words in caught.value.problem and caught.value.fix
    assert json.loads((job.scratch / "error.json").read_text())["kind"] == kind.__name__
    assert not job.model.exists()


def test_two_trainers_never_share_a_folder(make_job: MakeJob) -> None:
    job = make_job()
    with only_trainer(job.scratch), pytest.raises(Busy, match="another training process"):
        train(job, lambda line: None)


def test_the_batch_of_a_step_does_not_depend_on_the_number_of_processes(make_job: MakeJob) -> None:
    job = make_job(per_device_batch=2, global_batch=32)
    assert [accumulation(job, processes) for processes in (1, 2, 16)] == [16, 8, 1]
    assert accumulation(make_job(gradient_accumulation=3), 8) == 3


def test_lora_is_merged_into_a_checkpoint_like_any_other(make_job: MakeJob, tiny_model: Path) -> None:
    from safetensors.torch import load_file

    job = make_job(lora=LORA, learning_rate=1e-2)
    train(job, lambda line: None)
    assert not [path.name for path in job.model.iterdir() if "adapter" in path.name]
    before, after = (load_file(folder / "model.safetensors") for folder in (tiny_model, job.model))
    assert {name: (value.shape, value.dtype) for name, value in before.items()} == {
        name: (value.shape, value.dtype) for name, value in after.items()
    }
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed and all(name.endswith(("q_proj.weight", "v_proj.weight")) for name in changed)
    configs = [json.loads((folder / "config.json").read_text()) for folder in (tiny_model, job.model)]
    assert configs[0]["architectures"] == configs[1]["architectures"] == ["LlamaForCausalLM"]


def test_adapters_begin_the_same_each_time(make_job: MakeJob) -> None:
    job = make_job(lora=LORA)
    first, second = (dict(prepare(job).trainer.model.named_parameters()) for _ in range(2))
    begun = [name for name in first if "lora_A" in name]
    assert begun and all(first[name].equal(second[name]) for name in begun)


def test_memory_that_runs_out_is_an_error_with_a_way_out(make_job: MakeJob) -> None:
    import torch

    job = make_job(per_device_batch=8)
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60)
    for error in (caught.value, torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")):
        problem = explained(error, job)
        assert problem and "out of memory with per_device_batch 8 and max_length 64" in problem.problem
        assert "per_device_batch" in problem.fix and "checkpointing" in problem.fix and "lora" in problem.fix
    assert explained(RuntimeError("mat1 and mat2 shapes cannot be multiplied"), job) is None


def checkpoint(folder: Path, step: int) -> Path:
    """What a trainer's checkpoint is made of."""
    import torch
    from safetensors.torch import save_file

    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    save_file({"weight": torch.ones(64, 64)}, path / "model.safetensors")
    torch.save({"state": torch.ones(64, 64)}, path / "optimizer.pt")
    (path / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    return path


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("trainer_state.json", Path.unlink),
        ("trainer_state.json", lambda path: path.write_text('{"glob')),
        ("model.safetensors", lambda path: os.truncate(path, 5000)),
        ("model.safetensors", lambda path: path.write_bytes(b"")),
        ("optimizer.pt", lambda path: os.truncate(path, 5000)),
        ("optimizer.pt", flip),
    ],
)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    tmp_path: Path, file: str, damage: Callable[[Path], object]
) -> None:
    older, newer = checkpoint(tmp_path, 9), checkpoint(tmp_path, 10)
    assert last_checkpoint(tmp_path, print) == newer
    damage(newer / file)
    lines: list[str] = []
    assert last_checkpoint(tmp_path, lines.append) == older
    assert len(lines) == 1 and "checkpoint-10" in lines[0] and file in lines[0]
    assert not newer.exists()


def test_a_cut_off_metrics_line_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert read_metrics(tmp_path / "m.jsonl") == [{"step": 1}, {"step": 2}]


def test_zero_steps_copies_the_base(tiny_model: Path, tmp_path: Path) -> None:
    copy_model(tiny_model, tmp_path / "model")
    assert {path.name for path in (tmp_path / "model").iterdir()} == {path.name for path in tiny_model.iterdir()}


def start(job: TrainingJob) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", ENTRY_MODULE, str(job.save())]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}  # the model is too small to share work
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)


def wait_for_steps(job: TrainingJob, count: int) -> None:
    deadline = time.monotonic() + 900
    while len(read_metrics(job.metrics)) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"packing": True, "max_length": 160, "per_device_batch": 1}, {"lora": LORA}])
def test_kill_and_resume_sees_the_same_data_in_the_same_order(
    make_job: MakeJob, tmp_path: Path, changes: dict[str, Any]
) -> None:
    """Killed twice, the second time with its newest checkpoint damaged: losses and weights are the undisturbed run's."""
    whole = make_job(**{"steps": 30, "epochs": 20.0, "folder": str(tmp_path / "whole"), **changes})
    with start(whole) as process:
        assert process.wait(timeout=900) == 0
    killed = replace(whole, folder=str(tmp_path / "killed"), save_seconds=0.0)
    for steps in (8, 16):
        with start(killed) as process:
            wait_for_steps(killed, steps)
            process.send_signal(signal.SIGKILL)
    assert not killed.model.exists()
    newest = last_checkpoint(killed.scratch / "checkpoints", print)
    assert newest
    os.truncate(next(newest.glob("*.safetensors")), 4000)
    with start(killed) as process:
        output = process.communicate(timeout=900)[0]
    assert process.returncode == 0, output
    assert f"{newest.name} is left out, it is damaged" in output and "resuming at step" in output
    expected, got = read_metrics(whole.metrics), read_metrics(killed.metrics)
    assert [record["step"] for record in got] == list(range(1, 31))
    for name in ("tokens", "loss", "grad_norm", "learning_rate"):
        assert [record[name] for record in got] == [record[name] for record in expected]
    assert (killed.model / "model.safetensors").read_bytes() == (whole.model / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_a_full_disk_is_named_and_the_training_resumes_when_there_is_room(make_job: MakeJob, tmp_path: Path) -> None:
    """A real file system of 4 MB, in the namespace of one process; the model alone has 3.2 MB."""
    if not shutil.which("bwrap"):
        pytest.skip("needs bubblewrap")
    job = make_job(steps=2)
    path = job.save()
    shutil.copytree(job.folder, tmp_path / "copy")
    small = ["bwrap", "--dev-bind", "/", "/", "--size", str(4 << 20), "--tmpfs", job.folder]
    script = (
        f"cp -r {tmp_path}/copy/. {job.folder}; {sys.executable} -m {ENTRY_MODULE} {path}; cat {job.scratch}/error.json"
    )
    answer = subprocess.run([*small, "sh", "-c", script], capture_output=True, text=True, timeout=900, check=False)
    assert f"no space left on the disk of {job.folder}" in answer.stdout, answer.stdout + answer.stderr
    assert '"kind": "WebInstructError"' in answer.stdout
    with start(job) as process:
        assert process.wait(timeout=900) == 0


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
