"""The training itself: TRL's SFTTrainer on one job, both of the paper's losses (§5.1).

In: a ``TrainingJob``. Out: ``model/`` (safetensors, tokenizer, chat template), a line per step in the metrics
file, and after a kill the same run continued from its last trainer checkpoint with the same data order.
Under accelerate every process runs this; the main one (rank 0) holds the lock, logs, and writes the files.
"""

import json
import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from webinstruct_assets.core.errors import BadInput
from webinstruct_assets.core.lake import write_atomically
from webinstruct_assets.stages.training.checkpoints import last_checkpoint
from webinstruct_assets.stages.training.failures import explained, record
from webinstruct_assets.stages.training.job import TrainingJob, only_trainer, read_metrics
from webinstruct_assets.stages.training.model_files import cast_like, merge_adapter
from webinstruct_assets.stages.training.prepare import prepare
from webinstruct_assets.stages.training.step_log import agreed, step_log

if TYPE_CHECKING:
    from trl import SFTTrainer

Log = Callable[[str], None]
COUNTED = ("rows_read", "dropped", "rows_cut", "tokens_cut", "tokens_in_dataset", "loss_tokens")
SOFTWARE = ("torch", "transformers", "trl", "accelerate", "peft", "datasets", "tokenizers")


def train(job: TrainingJob, on_log: Log) -> None:
    """Trains ``job`` to its end and writes its model and result; logs a line per step.

    Raises WebInstructError: base model missing, too little data, loss not finite, disk or memory full, folder in use.
    """
    main = os.environ.get("RANK", "0") == "0"
    with only_trainer(job.scratch) if main else nullcontext():
        try:
            _train(job, on_log if main else lambda line: None)
        except Exception as error:
            problem = explained(error, job)
            if problem is None:
                raise
            record(job, problem)
            raise problem from error


def _train(job: TrainingJob, on_log: Log) -> None:
    on_log(f"loading {Path(job.base_model).name} and the training set")
    prepared = prepare(job)
    trainer, read = prepared.trainer, prepared.read
    main = trainer.is_world_process_zero()
    on_log(
        f"{read.rows_read:,} rows, {len(read.dropped):,} of them dropped: their prompt fills {job.max_length} tokens; "
        f"{read.rows_cut:,} cut to that, {read.tokens_cut:,} tokens lost; {read.loss_tokens:,} of {read.tokens_in_dataset:,} tokens carry loss"
    )
    arguments = trainer.args
    batch = arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps * arguments.world_size
    examples = len(trainer.train_dataset)
    if examples < batch:
        raise BadInput(
            f"the training set has {examples} examples ({read.rows_read} rows), fewer than one batch of {batch}",
            "add data (snapshots, refiners, looser filters), or lower the batch in the recipe",
        )
    checkpoint: Path | None = agreed(last_checkpoint(job.scratch / "checkpoints", on_log) if main else None)
    resumed_at = int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0
    if main:
        _rewind(job, resumed_at)
    if checkpoint:
        on_log(f"resuming at step {resumed_at}")
    trainer.add_callback(step_log(job, on_log, main))
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    _save_model(job, trainer, main)
    if main:
        result = {
            **{name: getattr(read, name) for name in COUNTED},
            "examples": examples,
            "global_batch": batch,
            "steps": trainer.state.global_step,
            "epochs": trainer.state.epoch,
            "resumed_at": resumed_at,
            "environment": _environment(trainer),
        }
        write_atomically(job.scratch / "result.json", json.dumps(result).encode())
        shutil.rmtree(job.scratch / "checkpoints", ignore_errors=True)


def _rewind(job: TrainingJob, step: int) -> None:
    """Cuts the metrics back to the checkpoint's step, which is where training goes on."""
    kept = [entry for entry in read_metrics(job.metrics) if entry["step"] <= step]
    job.metrics.write_text("".join(json.dumps(entry) + "\n" for entry in kept))


def _save_model(job: TrainingJob, trainer: "SFTTrainer", main: bool) -> None:
    """Gathers the weights of all processes and puts the model in its place."""
    partial = job.scratch / "model"
    trained = partial if job.lora is None else job.scratch / "adapter"
    if main:
        for folder in (partial, trained):
            shutil.rmtree(folder, ignore_errors=True)
    if trainer.is_fsdp_enabled:  # its checkpoints are sharded, the model is whole
        trainer.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
    trainer.save_model(str(trained))
    if not main:
        return
    base = Path(job.base_model)
    if job.lora is not None:
        merge_adapter(base, trained, partial)
    (partial / "training_args.bin").unlink(missing_ok=True)  # a pickle with paths of this machine
    cast_like(base, partial)
    shutil.rmtree(job.model, ignore_errors=True)
    os.replace(partial, job.model)


def _environment(trainer: "SFTTrainer") -> dict[str, str | int]:
    """What the training ran on and with, for the manifest."""
    import torch

    gpu = torch.cuda.is_available()
    return {
        **{name: version(name) for name in SOFTWARE},
        "device": torch.cuda.get_device_name() if gpu else f"cpu, {torch.get_num_threads()} threads",
        **({"cuda": str(torch.version.cuda)} if gpu else {}),
        "world_size": trainer.args.world_size,
        "distributed": trainer.accelerator.distributed_type.value,
    }
