"""What runs by itself, all stopped by default, each switched on in the UI under Automation.

    new_snapshots       sensor     registers snapshots that the sources list; never deletes one
    recall, extract     sensors    mine what is registered while they are on (``conditions.py``)
    backfill_snapshots  schedule   mines registered snapshots that nobody has mined, within a budget per window
    refresh_staleness   schedule   re-evaluates the check ``up_to_date`` of every asset (``checks.py``)

Training and scores are never started.
"""

import warnings
from collections.abc import Collection, Iterator
from datetime import UTC

import dagster as dg

from webinstruct_assets import backfill
from webinstruct_assets.checks import STALENESS
from webinstruct_assets.conditions import MINED, RECALLED
from webinstruct_assets.core.errors import WebInstructError
from webinstruct_assets.core.keys import SNAPSHOT_PATTERN
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.partitions import SNAPSHOT, register
from webinstruct_assets.resources import WorkspaceResource
from webinstruct_assets.stages.crawl.source import CrawlSource

WINDOW_TAG, SNAPSHOT_TAG = "webinstruct/backfill_window", "webinstruct/backfill_snapshot"


def _sensor(name: str, assets: Collection[str], description: str) -> dg.AutomationConditionSensorDefinition:
    """In the code location, since a condition reads the environment. No backfills: each snapshot is a run of its own."""
    with warnings.catch_warnings():  # evaluation in the code location is marked as beta in 1.13
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.AutomationConditionSensorDefinition(
            name,
            description=description,
            target=dg.AssetSelection.assets(*sorted(assets)),
            default_status=dg.DefaultSensorStatus.STOPPED,
            use_user_code_server=True,
            emit_backfills=False,
        )


recall = _sensor(
    "recall",
    RECALLED,
    "Takes snapshots that are registered while it is on down to their recalled URLs, domain labels included.",
)
extract = _sensor(
    "extract",
    MINED - RECALLED,
    "Takes snapshots whose URLs are recalled while it is on down to the dataset and its release; never trains.",
)


def available_snapshots(ws: Workspace) -> list[str]:
    """Keys that the sources list: local snapshots, and the configured source's where it can be reached."""
    found: list[str] = []
    for root in (str(ws.path(ws.config.crawl.local_root)), ws.config.crawl.source):
        try:
            found += [entry["id"] for entry in CrawlSource(root, ws.config.crawl).snapshots()]
        except WebInstructError:
            continue  # a source that is away must not keep the other's snapshots from being registered
    return sorted({key for key in found if SNAPSHOT_PATTERN.fullmatch(key)})


@dg.sensor(
    minimum_interval_seconds=3600,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Registers snapshots that collinfo.json lists and Dagster does not know; deletes none.",
)
def new_snapshots(context: dg.SensorEvaluationContext, workspace: WorkspaceResource) -> dg.SensorResult | dg.SkipReason:
    """Registers snapshots that collinfo.json lists and Dagster does not know."""
    known = set(context.instance.get_dynamic_partitions("snapshot"))
    new = [key for key in available_snapshots(workspace.open()) if key not in known]
    if not new:
        return dg.SkipReason("no new snapshot")
    return dg.SensorResult(dynamic_partitions_requests=[SNAPSHOT.build_add_request(new)])


@dg.schedule(
    job_name="__ASSET_JOB",
    cron_schedule="*/15 * * * *",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Mines registered snapshots that have no release yet, within the budget and window of `backfill:`.",
)
def backfill_snapshots(
    context: dg.ScheduleEvaluationContext, workspace: WorkspaceResource
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Mines registered snapshots that have no release yet, step by step, within ``backfill:`` of the environment.

    A tick starts whatever can be built next of this window's snapshots. One whose run failed rests until the next window,
    where it costs only what is missing.
    """
    ws = workspace.open()
    window = backfill.window_at(ws.config.backfill.window, context.scheduled_execution_time.astimezone(UTC))
    if window is None:
        yield dg.SkipReason(f"outside the window {ws.config.backfill.window} UTC")
        return
    register(context.instance, list(ws.config.snapshots))
    runs = context.instance.get_runs(filters=dg.RunsFilter(tags={WINDOW_TAG: window}))
    chosen = list(dict.fromkeys(run.tags[SNAPSHOT_TAG] for run in reversed(runs)))
    newest: dict[tuple[str, str], dg.DagsterRun] = {}  # of the runs of a step, of which a crash may have made several
    for run in runs:
        newest.setdefault((run.tags[SNAPSHOT_TAG], f"{run.tags['dagster/partition']} {run.asset_selection}"), run)
    failed = {snapshot for (snapshot, _), run in newest.items() if run.is_finished and not run.is_success}
    busy = {run.tags["dagster/partition"] for run in runs if not run.is_finished}
    registered = context.instance.get_dynamic_partitions("snapshot")
    snapshots, reason = backfill.choose(ws, registered, chosen, failed)
    requested = 0
    for snapshot in snapshots:
        for step in backfill.steps(ws, backfill.missing(ws, snapshot)):
            if step.partition in busy:
                continue
            busy.add(step.partition)  # a benchmark is wanted by several
            requested += 1
            yield dg.RunRequest(
                run_key=f"{context.scheduled_execution_time:%Y%m%d%H%M}-{step.partition}",
                asset_selection=[dg.AssetKey(asset) for asset in step.assets],
                # Not as partition_key, which Dagster checks against a job of one partitions definition.
                tags={"dagster/partition": step.partition, WINDOW_TAG: window, SNAPSHOT_TAG: snapshot},
            )
    if not requested:
        yield dg.SkipReason(f"{len(snapshots)} snapshots at work in this window; {reason}")


refresh_staleness = dg.ScheduleDefinition(
    name="refresh_staleness",
    job=dg.define_asset_job(
        "refresh_staleness",
        selection=dg.AssetSelection.checks(*STALENESS),
        description="Looks at every partition of every asset again: is it what code, settings and inputs of today make?",
    ),
    cron_schedule="5 * * * *",
    description="Looks every hour which partitions are stale; the check `up_to_date` of every asset shows it.",
    default_status=dg.DefaultScheduleStatus.STOPPED,
)
