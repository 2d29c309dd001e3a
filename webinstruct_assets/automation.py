"""Scheduled work, all stopped by default: a sensor that registers snapshots, a schedule that mines them.

The sensor only adds partition keys (and never deletes one). The schedule mines the oldest snapshots that are
not mined yet, a few at a time; what it could not finish it asks for again at the next tick, which costs only
what is missing.
"""

from collections.abc import Iterator

import dagster as dg

from webinstruct_assets.core.errors import WebInstructError
from webinstruct_assets.core.keys import SNAPSHOT_PATTERN, PartitionKey, Ref
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.partitions import SNAPSHOT, register
from webinstruct_assets.resources import WorkspaceResource
from webinstruct_assets.stages.crawl.source import CrawlSource

MINED_TO = "deduplicated_qa"
SNAPSHOTS_PER_TICK = 2

# One run covers one partitions definition: refinement (snapshot × refiner) and the release follow by condition.
mine_snapshot = dg.define_asset_job(
    "mine_snapshot",
    selection=dg.AssetSelection.assets(MINED_TO).upstream() - dg.AssetSelection.assets("benchmark_items"),
    description="One snapshot from its file list to pairs without benchmark items and duplicates.",
)

refine = dg.AutomationConditionSensorDefinition(
    "refine",
    target=dg.AssetSelection.assets("refined_qa", "webinstruct", "webinstruct_release"),
    default_status=dg.DefaultSensorStatus.STOPPED,
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


@dg.sensor(minimum_interval_seconds=3600, default_status=dg.DefaultSensorStatus.STOPPED)
def new_snapshots(context: dg.SensorEvaluationContext, workspace: WorkspaceResource) -> dg.SensorResult | dg.SkipReason:
    """Registers snapshots that collinfo.json lists and Dagster does not know."""
    known = set(context.instance.get_dynamic_partitions("snapshot"))
    new = [key for key in available_snapshots(workspace.open()) if key not in known]
    if not new:
        return dg.SkipReason("no new snapshot")
    return dg.SensorResult(dynamic_partitions_requests=[SNAPSHOT.build_add_request(new)])


@dg.schedule(job=mine_snapshot, cron_schedule="0 1 * * *", default_status=dg.DefaultScheduleStatus.STOPPED)
def backfill_snapshots(
    context: dg.ScheduleEvaluationContext, workspace: WorkspaceResource
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Mines the oldest registered snapshots that have no decontaminated pairs yet, a few per tick."""
    ws = workspace.open()
    register(context.instance, list(ws.config.snapshots))
    waiting = [
        key
        for key in sorted(context.instance.get_dynamic_partitions("snapshot"))
        if SNAPSHOT_PATTERN.fullmatch(key)
        and ws.lake.manifest(Ref(MINED_TO, PartitionKey.of({"snapshot": key}))) is None
    ]
    if not waiting:
        yield dg.SkipReason("every registered snapshot is mined")
    for key in waiting[:SNAPSHOTS_PER_TICK]:
        yield dg.RunRequest(run_key=f"{context.scheduled_execution_time:%Y%m%d%H%M}-{key}", partition_key=key)
