"""Asset ``trained_checkpoint``: the model of one recipe, with its training log as the table.

Partitioned by recipe; reads ``sft_dataset`` and, for a recipe that continues another, that one's checkpoint.
The training runs in a process of its own (``launch``), so that it can use several GPUs and dies with the run.
A zero-step recipe is its base model, unchanged.
"""

import json
import os
import platform
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from webinstruct_assets.core import errors
from webinstruct_assets.core.config import RecipeConfig
from webinstruct_assets.core.errors import BadInput, ConfigError, MissingModel, WebInstructError
from webinstruct_assets.core.ids import row_id
from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.lifeline import process_identity
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.stage import Job, Reject, Stage, Unit
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.release.ancestry import ancestors
from webinstruct_assets.stages.sft.recipes import recipe_config
from webinstruct_assets.stages.training.job import ENTRY_MODULE, TrainingJob, read_metrics

# The table is the training log, a row per optimizer step.
# id: tc-…      parent_id: ""      step: from 1      loss: mean over the tokens that carry loss
# learning_rate: of this step      grad_norm: before clipping
# tokens: read so far, all of them      seconds: since the first step began, pauses between resumptions left out
# tokens_per_second: of this step
SCHEMA: dict[str, Any] = {
    "id": pl.String(),
    "parent_id": pl.String(),
    "step": pl.Int32(),
    "loss": pl.Float64(),
    "learning_rate": pl.Float64(),
    "grad_norm": pl.Float64(),
    "tokens": pl.Int64(),
    "seconds": pl.Float64(),
    "tokens_per_second": pl.Float64(),
}

FOLLOW_SECONDS = 2.0
LOGGED = [column for column in SCHEMA if column not in ("id", "parent_id")]

HYPER_PARAMETERS = (
    "loss", "steps", "epochs", "learning_rate", "schedule", "warmup_ratio",
    "per_device_batch", "gradient_accumulation", "global_batch", "max_length", "packing", "lora", "seed",
)  # fmt: skip


def inputs(ws: Workspace, key: PartitionKey) -> Sequence[Ref]:
    """The recipe's data, and the checkpoint that it continues."""
    recipe = recipe_config(ws, key["recipe"])
    refs = [Ref("sft_dataset", key)]
    if recipe.continues:
        refs.append(Ref("trained_checkpoint", PartitionKey.of({"recipe": recipe.continues})))
    return refs


def settings(ws: Workspace, key: PartitionKey) -> dict[str, Any]:
    """Base model and hyper-parameters; for a zero-step recipe nothing but the model bears on the result."""
    recipe = recipe_config(ws, key["recipe"])
    base = {} if recipe.continues else {"base_model": base_identity(ws, key["recipe"], recipe)}
    if recipe.steps == 0:
        return {**base, "steps": 0}
    return {
        **base,
        **_hyper_parameters(recipe),
        "max_seconds": ws.config.trainer.max_seconds,
    }


def _hyper_parameters(recipe: RecipeConfig) -> dict[str, Any]:
    return recipe.model_dump(mode="json", include=set(HYPER_PARAMETERS))


def base_identity(ws: Workspace, name: str, recipe: RecipeConfig) -> str:
    """Identity of the recipe's base model. Raises MissingModel naming recipe, model and fix."""
    try:
        return ws.model_identity(recipe.base_model)
    except WebInstructError as error:
        raise MissingModel(f"recipe {name!r}: base model {recipe.base_model!r}: {error.problem}", error.fix) from error


def run(job: Job) -> None:
    """Trains, or takes the base model as it is, and reads the log back into the table."""
    name = job.key["recipe"]
    recipe = recipe_config(job.ws, name)
    data = _data(job, name)
    start = _start(job, name, recipe)  # first of all: a missing model must not cost a wait
    job.metrics["base_model"] = job.settings.get("base_model") or _continued_base(job)
    if start.parent.name == "snapshots":
        job.metrics["base_model_commit"] = start.name  # of the hub's cache: what a branch or no revision meant
    if recipe.steps == 0:
        from webinstruct_assets.stages.training.model_files import copy_model

        copy_model(start, job.folder / "model")
        job.unit("00000", lambda: Unit(rows=[], rows_in=0))
        return
    assert data is not None
    work = TrainingJob(
        base_model=str(start), data=[str(path) for path in job.ws.lake.part_paths(data)], folder=str(job.folder),
        max_seconds=job.ws.config.trainer.max_seconds, save_seconds=job.ws.config.trainer.save_seconds, owner=process_identity(os.getpid()), machine=platform.node(),
        **_hyper_parameters(recipe),
    )  # fmt: skip
    result = _trained(job, work)
    job.unit("00000", lambda: _log_table(job, work, result, data.rows))
    steps = read_metrics(work.metrics)
    used = data.rows - len(result["dropped"])
    job.rows = min(used, round(result["epochs"] * used))
    job.metrics.update(
        loss_first=steps[0]["loss"], loss_last=steps[-1]["loss"], steps=result["steps"], epochs=round(result["epochs"], 4),
        tokens=steps[-1]["tokens"], tokens_per_second=round(steps[-1]["tokens"] / max(steps[-1]["seconds"], 1e-6), 1),
        training_seconds=steps[-1]["seconds"], dataset_rows=data.rows, rows_trained_on=job.rows,
        global_batch=result["global_batch"], loss_on=recipe.loss, resumed_at=result["resumed_at"],
        rows_dropped=len(result["dropped"]), **{name: result[name] for name in ("rows_cut", "tokens_cut", "tokens_in_dataset", "loss_tokens")},
        training_environment=result["environment"],
        stopped_by_time=recipe.steps is not None and result["steps"] < recipe.steps,
    )  # fmt: skip


def _data(job: Job, name: str) -> Manifest | None:
    """The training set, None for a recipe without steps. Raises BadInput where rows of it were taken down since."""
    for data in job.manifests("sft_dataset"):
        if held := job.ws.lake.takedowns.rows_in(data.asset, data.partition, data.data_version):
            raise BadInput(
                f"trained_checkpoint {name}: {held} rows of its sft_dataset were taken down",
                f"materialize sft_dataset/{name} again, then train",
            )
        return data
    return None


def _refuse_taken_down(job: Job, name: str) -> None:
    """Raises BadInput where the checkpoint to go on from was trained on rows that were taken down since."""
    takedowns = job.ws.lake.takedowns
    for manifest in ancestors(job.ws.lake, job.manifests("trained_checkpoint"), whole=False):
        for item in manifest.inputs if manifest.asset == "trained_checkpoint" else ():
            if held := takedowns.rows_in(item.asset, item.partition, item.data_version):
                raise BadInput(
                    f"trained_checkpoint {name} continues {manifest.partition}, {held} of whose rows were taken down",
                    f"materialize sft_dataset/{manifest.partition} and trained_checkpoint/{manifest.partition} again first",
                )


def _start(job: Job, name: str, recipe: RecipeConfig) -> Path:
    """The checkpoint that training starts from."""
    if recipe.continues:
        _refuse_taken_down(job, name)
        return job.input_file("trained_checkpoint", "model")
    try:
        return job.ws.model_dir(recipe.base_model, job.log)
    except WebInstructError as error:
        raise MissingModel(f"recipe {name!r}: base model {recipe.base_model!r}: {error.problem}", error.fix) from error


def _continued_base(job: Job) -> str:
    (continued,) = job.manifests("trained_checkpoint")
    return str(continued.metrics["base_model"])


def _trained(job: Job, work: TrainingJob) -> dict[str, Any]:
    """Result of the training; a training that ended before (its model is in place) is not repeated."""
    result_path = work.scratch / "result.json"
    if not (result_path.exists() and work.model.exists()):
        path = work.save()
        launch = launcher(job.ws)
        command = [*launch, sys.executable, "-m", ENTRY_MODULE, str(path)]
        _call_other_machines(job, path)
        # Tokenized data stays below the job's folder, never in the user's cache; training needs no network.
        env = {
            "HF_DATASETS_CACHE": str(work.scratch / "cache"),
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
            # On a shared CPU, threads that spin while they wait take the core from those they wait for.
            "OMP_WAIT_POLICY": "passive",
        }
        if not launch:  # one process would take all GPUs that it sees, with a batch on each
            env["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]
        for name in ("error.json", "result.json"):
            (work.scratch / name).unlink(missing_ok=True)
        try:
            with _followed(job, work):
                job.ws.launch(command, env, job.log)
        except Exception:  # each launcher has its own for a process that ended badly
            _raise_own_error(job, work)
            raise
    return json.loads(result_path.read_text())


@contextmanager
def _followed(job: Job, work: TrainingJob) -> Iterator[None]:
    """Makes the steps that the training process logs the job's progress, and what they took its cost."""
    begun, over = time.time(), threading.Event()

    def look() -> int:
        """The newest step of this process, 0 before the first."""
        last = read_metrics(work.metrics)[-1:]
        if not last or last[0]["time"] < begun:  # of a run before
            return 0
        job.training = {"training_seconds": last[0]["seconds"], **last[0]}
        return int(last[0]["step"])

    def follow() -> None:
        seen = 0
        while not over.wait(FOLLOW_SECONDS) or look() > seen:
            if (step := look()) > seen:
                if seen:
                    job.progress.advance(step - seen)
                else:
                    job.progress.start(job.training["of"], "steps", done=step)
                seen = step

    thread = threading.Thread(target=follow, name="training progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def launcher(ws: Workspace) -> list[str]:
    """What the training command is put behind: nothing, or accelerate with the configured file. Raises ConfigError."""
    trainer = ws.config.trainer
    if trainer.accelerate_config is None:
        return []
    path = ws.path(trainer.accelerate_config)
    if not path.exists():
        raise ConfigError(
            f"config/environments/{ws.config.environment}.yaml: trainer.accelerate_config: there is no {path}",
            "use a file of config/accelerate/, or one that `accelerate config` wrote",
        )
    return [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(path), "--no_python"]


def _call_other_machines(job: Job, path: Path) -> None:
    """Logs what to run on the other machines of a training over several: nothing here can log in to them."""
    config = job.ws.config.trainer.accelerate_config
    machines = yaml.safe_load(job.ws.path(config).read_text()).get("num_machines", 1) if config else 1
    if machines > 1:
        job.log(
            f"training waits for {machines - 1} more machines; on each, with its own RANK from 1: accelerate launch "
            f"--config_file {config} --machine_rank RANK --module {ENTRY_MODULE} {path}"
        )


def _raise_own_error(job: Job, work: TrainingJob) -> None:
    """Raises the error that the training process left, in its own type and with the recipe's name."""
    path = work.scratch / "error.json"
    if path.exists():
        record = json.loads(path.read_text())
        raise getattr(errors, record["kind"])(f"recipe {job.key['recipe']!r}: {record['problem']}", record["fix"])


def _log_table(job: Job, work: TrainingJob, result: dict[str, Any], rows_in: int) -> Unit:
    name = job.key["recipe"]
    rows = [
        {"id": row_id("tc", name, record["step"]), "parent_id": "", **{column: record[column] for column in LOGGED}}
        for record in read_metrics(work.metrics)
    ]
    rejects = [
        Reject(
            row_id("tc", name, parent),
            parent,
            "prompt_fills_max_length",
            f"no token of its answer is within {work.max_length} tokens",
        )
        for parent in result["dropped"]
    ]
    return Unit(rows=rows, rows_in=rows_in, rows_kept=rows_in - len(rejects), rejects=rejects)


TRAINED_CHECKPOINT = Stage(
    asset="trained_checkpoint",
    dimensions=("recipe",),
    whole=True,
    prefix="tc",
    schema=SCHEMA,
    run=run,
    inputs=inputs,
    settings=settings,
    sources=("stages/training/*.py", "stages/training/*.jinja", "stages/sft/recipes.py", "stages/release/ancestry.py"),
    may_be_empty=lambda ws, key: recipe_config(ws, key["recipe"]).steps == 0,
)
