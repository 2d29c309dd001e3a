"""The training itself: TRL's SFTTrainer on one job, both of the paper's losses (§4.2).

In: a ``TrainingJob``. Out: ``model/`` (safetensors, tokenizer, chat template), a line per step in the metrics
file, and after a kill the same run continued from its last trainer checkpoint with the same data order.
"""

import errno
import json
import math
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from webinstruct_assets.core.errors import BadInput, MissingModel, QualityGate, WebInstructError
from webinstruct_assets.core.lake import write_atomically
from webinstruct_assets.stages.training.job import TrainingJob, read_metrics
from webinstruct_assets.stages.training.trainer_lock import only_trainer

if TYPE_CHECKING:
    from datasets import Dataset
    from trl import SFTTrainer

Log = Callable[[str], None]
CHAT_TEMPLATE = Path(__file__).with_name("chat_template.jinja")


def train(job: TrainingJob, on_log: Log) -> None:
    """Trains ``job`` to its end and writes its model and result; logs a line per step.

    Raises WebInstructError: base model missing, too little data, loss not finite, disk full, folder in use.
    """
    if os.environ.get("RANK", "0") != "0":
        _train(job, lambda line: None)
        return
    with only_trainer(job.scratch):
        for name in ("error.json", "result.json"):
            (job.scratch / name).unlink(missing_ok=True)
        try:
            _train(job, on_log)
        except WebInstructError as error:
            _write_error(job, error)
            raise
        except Exception as error:
            # torch and safetensors wrap the system's error in types of their own; its text stays.
            if os.strerror(errno.ENOSPC) not in str(error) and getattr(error, "errno", None) != errno.ENOSPC:
                raise
            problem = WebInstructError(
                f"no space left on the disk of {job.folder}",
                "free some; the training resumes from its last checkpoint",
            )
            _write_error(job, problem)
            raise problem from error


def _write_error(job: TrainingJob, error: WebInstructError) -> None:
    record = {"kind": type(error).__name__, "problem": error.problem, "fix": error.fix}
    (job.scratch / "error.json").write_text(json.dumps(record))


def _train(job: TrainingJob, on_log: Log) -> None:
    on_log(f"loading {Path(job.base_model).name} and the training set")
    prepared = prepare(job)
    trainer = prepared.trainer
    batch = job.per_device_batch * job.gradient_accumulation * trainer.args.world_size
    examples = len(trainer.train_dataset)
    if examples < batch:
        raise BadInput(
            f"the training set has {examples} examples ({prepared.rows_read} rows), fewer than one batch of {batch}",
            "add data (snapshots, refiners, looser filters), or lower per_device_batch × gradient_accumulation in the recipe",
        )
    checkpoint = last_checkpoint(job.scratch / "checkpoints")
    resumed_at = _rewind(job, checkpoint)
    if checkpoint:
        on_log(f"resuming at step {resumed_at}")
    trainer.add_callback(_callback(job, on_log, trainer.is_world_process_zero()))
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)

    partial = job.scratch / "model"
    shutil.rmtree(partial, ignore_errors=True)
    trainer.save_model(str(partial))
    if trainer.is_world_process_zero():
        (partial / "training_args.bin").unlink(missing_ok=True)  # a pickle with paths of this machine
        cast_like(Path(job.base_model), partial)
        shutil.rmtree(job.model, ignore_errors=True)
        os.replace(partial, job.model)
        result = {
            "rows_read": prepared.rows_read,
            "dropped": prepared.dropped,
            "examples": examples,
            "global_batch": batch,
            "world_size": trainer.args.world_size,
            "steps": trainer.state.global_step,
            "epochs": trainer.state.epoch,
            "resumed_at": resumed_at,
            "device": str(trainer.args.device),
        }
        write_atomically(job.scratch / "result.json", json.dumps(result).encode())
    shutil.rmtree(job.scratch / "checkpoints", ignore_errors=True)


@dataclass(frozen=True)
class Prepared:
    """A trainer that is ready to train, and the ids of the rows that it left out."""

    trainer: "SFTTrainer"
    rows_read: int
    dropped: list[str]


def prepare(job: TrainingJob) -> Prepared:
    """The SFTTrainer of a job. Raises MissingModel."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback
    from transformers.utils.logging import disable_progress_bar
    from trl import SFTConfig, SFTTrainer

    disable_progress_bar()
    base = Path(job.base_model)
    if not (base / "config.json").exists():
        raise MissingModel(f"base model: {base} holds no config.json", "materialize or fetch the base model again")
    tokenizer = AutoTokenizer.from_pretrained(base)
    if tokenizer.chat_template is None:
        tokenizer.chat_template = CHAT_TEMPLATE.read_text()
    gpu = torch.cuda.is_available()
    arguments = SFTConfig(
        output_dir=str(job.scratch / "checkpoints"),
        max_steps=-1 if job.steps is None else job.steps,
        num_train_epochs=job.epochs,
        learning_rate=job.learning_rate,
        lr_scheduler_type=job.schedule,
        warmup_steps=_warmup(job),
        per_device_train_batch_size=job.per_device_batch,
        gradient_accumulation_steps=job.gradient_accumulation,
        max_length=job.max_length,
        packing=job.packing,
        completion_only_loss=job.loss == "response",
        seed=job.seed,
        data_seed=job.seed,
        bf16=gpu,  # without a GPU bfloat16 is emulated, and slower than float32
        gradient_checkpointing=gpu,
        logging_steps=1,
        logging_nan_inf_filter=False,  # otherwise the Trainer logs the mean of the other steps instead of NaN
        save_strategy="no",  # by time instead, see _callback
        save_total_limit=1,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=gpu,
    )
    data = training_data(job)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    trainer = SFTTrainer(model=model, args=arguments, train_dataset=data, processing_class=tokenizer)
    trainer.remove_callback(PrinterCallback)  # our own lines say the same, readably
    # TRL drops rows whose prompt alone fills max_length: no token of them would carry loss.
    kept = set(trainer.train_dataset["id"] if "id" in trainer.train_dataset.column_names else data["id"])
    return Prepared(trainer, len(data), [identity for identity in data["id"] if identity not in kept])


def _warmup(job: TrainingJob) -> float:
    """TRL reads numbers below 1 as a share of all steps; a share of exactly 1 is all of them."""
    return job.warmup_ratio if job.warmup_ratio < 1 else float(job.steps or 1)


def training_data(job: TrainingJob) -> "Dataset":
    """The conversations in the form that puts the loss where the recipe wants it.

    ``response``: prompt and completion, so that only the last answer's tokens carry loss (with the token that
    ends it). ``all``: one sequence of messages, where every token does.
    """
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    data = Dataset.from_parquet(job.data, columns=["id", "messages"], cache_dir=str(job.scratch / "cache"))
    if job.loss == "all":
        return data
    return data.map(
        lambda row: {"prompt": row["messages"][:-1], "completion": row["messages"][-1:]},
        remove_columns=["messages"],
    )


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete trainer checkpoint; ones that a kill cut short are removed (their state is written last)."""
    found: list[tuple[int, Path]] = []
    for path in folder.glob("checkpoint-*"):
        try:
            found.append((int(json.loads((path / "trainer_state.json").read_text())["global_step"]), path))
        except (OSError, ValueError, KeyError):
            shutil.rmtree(path, ignore_errors=True)
    return max(found)[1] if found else None


def _rewind(job: TrainingJob, checkpoint: Path | None) -> int:
    """Cuts the metrics back to the checkpoint's step, which is where training goes on. Returns that step."""
    step = int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0
    if int(os.environ.get("RANK", "0")) == 0:
        kept = [record for record in read_metrics(job.metrics) if record["step"] <= step]
        job.metrics.write_text("".join(json.dumps(record) + "\n" for record in kept))
    return step


def _callback(job: TrainingJob, on_log: Log, main: bool) -> Any:
    """Logs every step, refuses a loss that is no number, saves by the clock and stops when time is up."""
    from transformers import TrainerCallback

    before = read_metrics(job.metrics)[-1:] if main else []
    tokens_before, seconds_before = (before[0]["tokens"], before[0]["seconds"]) if before else (0, 0.0)

    class StepLog(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.start = self.saved = time.monotonic()

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
            if logs is None or "loss" not in logs:
                return
            loss, norm = float(logs["loss"]), float(logs.get("grad_norm", 0.0))
            if not math.isfinite(loss) or not math.isfinite(norm):
                raise QualityGate(
                    f"training stopped at step {state.global_step}: loss {loss}, gradient norm {norm}",
                    "lower learning_rate or raise warmup_ratio in the recipe; look at the rows of that step's batch",
                )
            if not main:
                return
            record = {
                "step": state.global_step,
                "loss": loss,
                "learning_rate": float(logs["learning_rate"]),
                "grad_norm": norm,
                "tokens": tokens_before + int(logs.get("num_tokens", 0)),
                "seconds": round(seconds_before + time.monotonic() - self.start, 3),
            }
            with job.metrics.open("a") as stream:
                stream.write(json.dumps(record) + "\n")
            rate = record["tokens"] / max(record["seconds"], 1e-6)
            left = (state.max_steps - state.global_step) * record["seconds"] / state.global_step
            on_log(
                f"step {record['step']}/{state.max_steps}: loss {loss:.4f}, lr {record['learning_rate']:.2e}, "
                f"grad norm {norm:.2f}, {rate:,.0f} tokens/s, ETA {left:.0f} s"
            )

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            # The main process's clock decides for all: saving is a collective operation.
            now = time.monotonic()
            ended = state.global_step >= state.max_steps
            save, stop = _agree(
                [
                    not ended and now - self.saved >= job.save_seconds,
                    job.max_seconds is not None and seconds_before + now - self.start >= job.max_seconds,
                ]
            )
            if stop:
                control.should_training_stop = True
            elif save:
                control.should_save = True

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.saved = time.monotonic()

    return StepLog()


def _agree(flags: list[bool]) -> list[bool]:
    """The main process's ``flags``, in every process."""
    import torch.distributed as dist

    if not dist.is_available() or not dist.is_initialized():
        return flags
    box: list[Any] = [flags]
    dist.broadcast_object_list(box, src=0)
    return list(box[0])


def cast_like(base: Path, model: Path) -> None:
    """Stores ``model`` in the number format of ``base``: half the size, and served with the same arithmetic."""
    import torch
    from safetensors.torch import load_file, save_file

    config = json.loads((base / "config.json").read_text())
    name = config.get("dtype") or config.get("torch_dtype") or "float32"
    dtype = getattr(torch, name)
    for path in sorted(model.glob("*.safetensors")):
        weights = {
            key: value.to(dtype) if value.is_floating_point() else value for key, value in load_file(path).items()
        }
        save_file(weights, path, metadata={"format": "pt"})
        path.chmod(0o644)
    config_path = model / "config.json"
    own = {key: value for key, value in json.loads(config_path.read_text()).items() if key != "torch_dtype"}
    config_path.write_text(json.dumps({**own, "dtype": name}, indent=2, sort_keys=True))


def copy_model(source: Path, target: Path) -> None:
    """The base model's files in ``target``, hard-linked where the file system can (a zero-step recipe)."""
    partial = target.parent / "scratch" / target.name
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        if not path.is_file() or path.name.startswith("."):
            continue
        try:
            os.link(path.resolve(), partial / path.name)
        except OSError:
            shutil.copyfile(path, partial / path.name)
    shutil.rmtree(target, ignore_errors=True)
    os.replace(partial, target)
