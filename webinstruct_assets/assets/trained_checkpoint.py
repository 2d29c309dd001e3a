"""Training, in a process of its own, watched as it goes."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import dagster as dg

from webinstruct_assets.assets.plots import training_curves
from webinstruct_assets.assets.publishing import face, materialize
from webinstruct_assets.assets.sft_dataset import sft_dataset
from webinstruct_assets.assets.trainer_process import with_pipes
from webinstruct_assets.core.errors import WebInstructError
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.partitions import RECIPE
from webinstruct_assets.resources import WorkspaceResource
from webinstruct_assets.stages.training.job import TrainingJob, read_metrics
from webinstruct_assets.stages.training.trained_checkpoint import LOGGED, TRAINED_CHECKPOINT

POLL_SECONDS = 2.0


@dg.asset(
    partitions_def=RECIPE,
    deps=[sft_dataset],
    **face(TRAINED_CHECKPOINT, kinds={"pytorch", "huggingface"}, pool="gpu"),
)
def trained_checkpoint(
    context: dg.AssetExecutionContext, workspace: WorkspaceResource, pipes: dg.PipesSubprocessClient
) -> dg.MaterializeResult:
    """TRL SFT checkpoint of a recipe with its loss curve and tokens/s; a zero-step recipe is the base model."""

    def watched(ws: Workspace) -> Workspace:
        def launch(command: Sequence[str], env: Mapping[str, str], log: Callable[[str], None]) -> None:
            metrics = TrainingJob.load(Path(command[-1])).metrics
            with observations(context, metrics, ws.config.trainer.observe_every):
                try:
                    pipes.run(command=with_pipes(command), env=dict(env), context=context)
                except Exception as error:  # the type that Pipes raises is not public
                    raise WebInstructError(
                        f"the training process ended with an error: {error}", "see its log lines above"
                    ) from error

        return replace(ws, launch=launch)

    return materialize(context, workspace, TRAINED_CHECKPOINT, plot=training_curves, prepare=watched)


@contextmanager
def observations(context: dg.AssetExecutionContext, metrics: Path, every: int) -> Iterator[None]:
    """Follows the metrics file of a training: an AssetObservation of each ``every``-th step as soon as it is there.

    The Pipes client blocks this thread and keeps what the child reports until it has ended, so another one follows.
    ``log_event`` writes an event to the event log at once.
    """
    ended = threading.Event()
    earlier = {entry["time"] for entry in read_metrics(metrics)}  # of a run that this one resumes

    def follow() -> None:
        observed = 0
        while True:
            last = ended.wait(POLL_SECONDS)
            for entry in read_metrics(metrics):
                if entry["step"] > observed and entry["step"] % every == 0 and entry["time"] not in earlier:
                    observed = entry["step"]
                    context.log_event(
                        dg.AssetObservation(
                            asset_key=TRAINED_CHECKPOINT.asset,
                            partition=context.partition_key,
                            metadata={name: entry[name] for name in LOGGED},
                        )
                    )
            if last:
                return

    follower = threading.Thread(target=follow, name="observations", daemon=True)
    follower.start()
    try:
        yield
    finally:
        ended.set()
        follower.join()
