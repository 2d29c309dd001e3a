"""Entry of the training process: ``python -m webinstruct_assets.stages.training scratch/job.json``.

Prints the log; ``webinstruct_assets.assets.trainer_process`` is the same entry with Dagster Pipes.
"""

import platform
import sys
from collections.abc import Callable
from pathlib import Path

from webinstruct_assets.core.errors import WebInstructError
from webinstruct_assets.core.lifeline import die_with
from webinstruct_assets.stages.training.job import TrainingJob


def run(path: Path, on_log: Callable[[str], None]) -> int:
    """Trains the job in ``path``; returns the process's exit code. Errors a user can fix are one log line."""
    job = TrainingJob.load(path)
    die_with(job.owner if job.machine in (None, platform.node()) else None)  # elsewhere its pid means nothing
    from webinstruct_assets.stages.training.train import train

    try:
        train(job, on_log)
    except WebInstructError as error:
        on_log(f"training failed: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]), lambda line: print(line, flush=True)))
