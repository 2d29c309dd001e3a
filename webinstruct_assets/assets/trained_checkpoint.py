"""Training, in a process of its own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import dagster as dg

from webinstruct_assets.assets.plots import loss_curve
from webinstruct_assets.assets.publishing import face, materialize
from webinstruct_assets.assets.sft_dataset import sft_dataset
from webinstruct_assets.assets.trainer_process import with_pipes
from webinstruct_assets.core.errors import WebInstructError
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.partitions import RECIPE
from webinstruct_assets.resources import WorkspaceResource
from webinstruct_assets.stages.training.trained_checkpoint import TRAINED_CHECKPOINT


@dg.asset(
    partitions_def=RECIPE,
    deps=[sft_dataset],
    **face(TRAINED_CHECKPOINT, kinds={"pytorch", "huggingface"}, pool="gpu"),
)
def trained_checkpoint(
    context: dg.AssetExecutionContext, workspace: WorkspaceResource, pipes: dg.PipesSubprocessClient
) -> dg.MaterializeResult:
    """TRL SFT checkpoint of a recipe with its loss curve and tokens/s; a zero-step recipe is the base model."""

    def launch(command: Sequence[str], env: Mapping[str, str], log: Callable[[str], None]) -> None:
        try:
            pipes.run(command=with_pipes(command), env=dict(env), context=context)
        except Exception as error:  # the type that Pipes raises is not public
            raise WebInstructError(
                f"the training process ended with an error: {error}", "see its log lines above"
            ) from error

    def through_pipes(ws: Workspace) -> Workspace:
        return replace(ws, launch=launch)

    return materialize(context, workspace, TRAINED_CHECKPOINT, plot=loss_curve, prepare=through_pipes)
