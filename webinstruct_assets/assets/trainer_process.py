"""Entry of the training process under Dagster: the log of the training becomes the log of the run, by Pipes.

Started by the asset's launcher in place of ``webinstruct_assets.stages.training``; without a Pipes context
(any rank but the first, or by hand) it only prints.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from dagster_pipes import DAGSTER_PIPES_CONTEXT_ENV_VAR, open_dagster_pipes

from webinstruct_assets.stages.training.__main__ import run
from webinstruct_assets.stages.training.job import ENTRY_MODULE


def with_pipes(command: Sequence[str]) -> list[str]:
    """The stage's training command with this module as its entry."""
    return [__name__ if part == ENTRY_MODULE else part for part in command]


def main(path: Path) -> int:
    """Trains the job in ``path``."""
    if DAGSTER_PIPES_CONTEXT_ENV_VAR not in os.environ or os.environ.get("RANK", "0") != "0":
        return run(path, lambda line: print(line, flush=True))
    with open_dagster_pipes() as pipes:

        def log(line: str) -> None:
            pipes.log.info(line)  # the run's own log
            print(line, flush=True)  # the terminal of a run from the command line

        return run(path, log)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
