"""The contract between the stage and the training process: one JSON file in, files in one folder out.

scratch/job.json        what to train (this dataclass), written by the stage
scratch/metrics.jsonl   one line per step, appended as the training goes
scratch/result.json     written last by a training that succeeded
scratch/error.json      kind, problem and fix of one that did not
scratch/checkpoints/    trainer checkpoints to resume from
model/                  the trained model (renamed into place when complete)
"""

import json
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from webinstruct_assets.core.locks import held

# Started as ``python -m ENTRY_MODULE scratch/job.json``; Dagster's launcher puts its Pipes entry in its place.
ENTRY_MODULE = "webinstruct_assets.stages.training"


@dataclass(frozen=True)
class TrainingJob:
    """Everything a training process needs; paths are absolute.

    ``data``: Parquet parts of the training set. ``lora``: fields of the recipe's section. ``save_seconds``: time
    between trainer checkpoints, which is what a kill can cost. ``owner``: pid and start time of the stage's process,
    on ``machine``, which training processes there outlive by no more than a second.
    """

    base_model: str
    data: list[str]
    folder: str
    loss: str
    steps: int | None
    epochs: float
    learning_rate: float
    schedule: str
    warmup_ratio: float
    per_device_batch: int
    gradient_accumulation: int
    max_length: int
    packing: bool
    seed: int
    global_batch: int | None = None
    lora: dict[str, Any] | None = None
    max_seconds: float | None = None
    save_seconds: float = 600.0
    owner: tuple[int, int] | None = None
    machine: str | None = None

    @property
    def scratch(self) -> Path:
        """Working files; deleted when the partition is published."""
        return Path(self.folder) / "scratch"

    @property
    def model(self) -> Path:
        """Where the finished model goes."""
        return Path(self.folder) / "model"

    @property
    def metrics(self) -> Path:
        """The log that grows by a line per step."""
        return self.scratch / "metrics.jsonl"

    def save(self) -> Path:
        """Writes ``scratch/job.json`` and returns its path."""
        self.scratch.mkdir(parents=True, exist_ok=True)
        path = self.scratch / "job.json"
        path.write_text(json.dumps(asdict(self), indent=1))
        return path

    @classmethod
    def load(cls, path: Path) -> "TrainingJob":
        """The job in a file that ``save`` wrote."""
        return cls(**json.loads(path.read_text()))


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The steps logged so far; a line that a kill cut off is left out."""
    if not path.exists():
        return []
    lines = path.read_text().split("\n")[:-1]  # what follows the last newline is incomplete
    return [json.loads(line) for line in lines]


def only_trainer(scratch: Path) -> AbstractContextManager[int]:
    """Holds the folder for this process. Raises Busy."""
    return held(
        scratch / ".trainer.lock",
        lambda pid: f"{scratch.parent}: another training process works here (pid {pid})",
        "wait for it to end, or stop it",
    )
