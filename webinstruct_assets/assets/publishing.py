"""From a stage to a Dagster asset: run it, report what its manifest says.

Validation comes before publication: a stage that fails raises ``dg.Failure`` and the previous version stays.
Asset checks (``checks.py``) only display; in Dagster they cannot stop other runs.
"""

import logging
import time
from collections.abc import Callable
from typing import Any

import dagster as dg

from webinstruct_assets.assets.metadata import columns, metadata_of
from webinstruct_assets.core.errors import WebInstructError
from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.progress import Listener, Standing
from webinstruct_assets.core.stage import Stage, execute
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.resources import WorkspaceResource

# What a reader asks for together. Twenty steps one after the other are too small to read in one view of the lineage; Dagster
# folds a group into a box, and no group may lead back to one before it.
GROUPS = {
    "public_data": ("benchmark_items", "public_sets"),
    "pairs": ("pages", "extracted_qa", "decontaminated_qa", "deduplicated_qa", "refined_qa", "quality_review"),
    "dataset": ("webinstruct", "verified_qa", "webinstruct_release", "funnel"),
    "training": ("sft_dataset", "trained_checkpoint"),
    "evaluation": ("benchmark_scores", "results_report"),
}
OWNERS = ["team:data"]
CONSOLE = logging.getLogger("webinstruct")

OBSERVE_SECONDS = 30.0  # an observation is a row of the event log, a line of the log is not

Plot = Callable[[Workspace, Manifest], str | None]


def face(stage: Stage, kinds: set[str], *, pool: str | None = None) -> dict[str, Any]:
    """Arguments that every asset decorator takes from its stage."""
    return {
        "name": stage.asset,
        "group_name": next((group for group, assets in GROUPS.items() if stage.asset in assets), "recall"),
        "owners": OWNERS,
        "kinds": kinds,
        "metadata": {"dagster/column_schema": columns(stage)},
        "code_version": stage.code_version(),
        **({"pool": pool} if pool else {}),
    }


def key_of(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext, stage: Stage) -> PartitionKey:
    """The run's partition key, validated: Dagster accepts any string for a dynamic partition."""
    return PartitionKey.parse(stage.dimensions, str(context.partition_key) if stage.dimensions else "")


def materialize(
    context: dg.AssetExecutionContext,
    resource: WorkspaceResource,
    stage: Stage,
    *,
    plot: Plot | None = None,
    more: Callable[[Workspace, Manifest], dict[str, Any]] = lambda ws, manifest: {},
    prepare: Callable[[Workspace], Workspace] = lambda ws: ws,
) -> dg.MaterializeResult[Any]:
    """Builds the run's partition of ``stage`` and reports it. Raises dg.Failure with the problem and its fix."""

    def log(line: str) -> None:
        context.log.info(line)
        CONSOLE.info(line)

    try:
        ws = prepare(resource.open())
        manifest = execute(
            stage, key_of(context, stage), ws, log=log, run_id=context.run.run_id, listener=_observer(context, stage)
        )
        return dg.MaterializeResult(
            metadata=metadata_of(ws, stage, manifest, plot(ws, manifest) if plot else None, more(ws, manifest)),
            data_version=dg.DataVersion(manifest.data_version),
        )
    except WebInstructError as error:
        raise dg.Failure(
            description=str(error), metadata={"problem": error.problem, "fix": error.fix}, allow_retries=False
        ) from error


def _observer(context: dg.AssetExecutionContext, stage: Stage) -> Listener:
    """Makes where a long build stands an observation of its partition, every half minute."""
    last = time.monotonic()

    def observe(standing: Standing) -> None:
        nonlocal last
        if time.monotonic() - last < OBSERVE_SECONDS:
            return
        last = time.monotonic()
        context.log_event(
            dg.AssetObservation(
                stage.asset,
                partition=str(context.partition_key) if stage.dimensions else None,
                metadata={
                    "done": standing.done,
                    **({} if standing.total is None else {"total": standing.total}),
                    "records": standing.noun,
                    "per_second": standing.rate,
                    "dollars": standing.dollars,
                    "rejected": sum(standing.rejected.values()),
                    "rejected_by_reason": standing.rejected,
                    **({} if standing.eta is None else {"seconds_left": standing.eta}),
                },
            )
        )

    return observe
