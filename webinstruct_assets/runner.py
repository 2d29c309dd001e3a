"""Running partitions from the command line, as Dagster runs that the UI shows with everything else."""

import logging
import os
import socket
import time
from collections.abc import Sequence

import dagster as dg

from webinstruct_assets.core.errors import WebInstructError
from webinstruct_assets.core.keys import Ref
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.graph import States
from webinstruct_assets.partitions import register

HOST_TAG = "webinstruct/host"  # of a run: the machine, or container, whose process it is
CONSOLE = logging.getLogger("webinstruct")
# Dagster's own console log repeats every event; ours prints the stages' lines.
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def enter(ws: Workspace) -> None:
    """Makes the root the working folder and Dagster's home: its storage paths are relative to the former."""
    os.chdir(ws.root)
    os.environ["DAGSTER_HOME"] = str(ws.root)


def run_all(ws: Workspace, refs: Sequence[Ref]) -> list[Manifest]:
    """Materializes what is not up to date, in order; returns the manifests of all ``refs``.

    Raises WebInstructError with the first failure's own message; what was published before stays.
    """
    from webinstruct_assets.definitions import defs

    enter(ws)
    states = States(ws)
    job = defs.resolve_implicit_global_asset_job_def()
    manifests = []
    with dg.DagsterInstance.get() as instance:
        register(instance, sorted({ref.key["snapshot"] for ref in refs if "snapshot" in ref.key.as_dict()}))
        for number, ref in enumerate(refs, start=1):
            state = states.of(ref)
            if state.up_to_date and state.manifest:
                CONSOLE.info(f"[{number}/{len(refs)}] {ref}: up to date")
                manifests.append(state.manifest)
                continue
            CONSOLE.info(f"[{number}/{len(refs)}] {ref}: {state.reason}")
            _run(job, instance, ref)
            states.forget()
            manifests.append(ws.lake.require(ref, "run"))
    return manifests


def _run(job: dg.JobDefinition, instance: dg.DagsterInstance, ref: Ref) -> None:
    result = job.execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(ref.asset)],
        partition_key=str(ref.key) or None,
        raise_on_error=False,
        run_config=QUIET,
        tags={HOST_TAG: socket.gethostname()},
    )
    if result.success:
        return
    for event in result.all_events:
        error = event.step_failure_data.error if event.is_step_failure else None
        failure = event.step_failure_data.user_failure_data if event.is_step_failure else None
        if failure and failure.metadata.get("problem"):
            raise WebInstructError(str(failure.metadata["problem"].value), str(failure.metadata["fix"].value))
        if error:
            cause = error.cause or error
            raise WebInstructError(
                f"{ref}: {cause.to_string()}",
                f"this is unexpected; the run's log has more: run {result.run_id}",
            )
    raise WebInstructError(f"{ref}: run {result.run_id} failed", "look at its log in the UI")


def summary(manifests: Sequence[Manifest]) -> str:
    """The table at the end of a run: stage, partition, rows in, rows out, rejected, seconds."""
    heads = ("stage", "partition", "rows in", "rows out", "rejected", "seconds")
    rows = [
        (
            item.asset,
            item.partition,
            f"{item.rows_in:,}",
            f"{item.rows:,}",
            f"{item.rejected_total:,}",
            f"{item.seconds:.1f}",
        )
        for item in manifests
    ]
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads))]
    lines = [
        "  ".join(
            f"{value:<{width}}" if column < 2 else f"{value:>{width}}"
            for column, (value, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in [heads, *rows]
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


class Stopwatch:
    """Wall-clock seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __str__(self) -> str:
        return f"{time.monotonic() - self._start:.0f} s"
