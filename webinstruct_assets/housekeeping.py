"""What keeps an installation that runs for months in order: old runs are forgotten, failed ones are told of, dead ones end.

The first two are off until somebody turns them on in the UI.
"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from webinstruct_assets.core.errors import WebInstructError
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.graph import STAGES
from webinstruct_assets.resources import WorkspaceResource
from webinstruct_assets.stack import STARTING_SECONDS, UI, reap

WEBHOOK = "WEBINSTRUCT_ALERT_WEBHOOK"
KEEP_DAYS = 90
PER_CALL = 100


class PruneConfig(dg.Config):
    """``keep_days``: runs that ended longer ago are forgotten."""

    keep_days: int = KEEP_DAYS


def forgettable(instance: dg.DagsterInstance, ws: Workspace, before: datetime) -> Iterator[str]:
    """Ids of ended runs last touched before ``before`` that made nothing which is still published."""
    makers = {manifest.run_id for stage in STAGES for manifest in ws.lake.manifests(stage.asset)}
    ended = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
    filters, cursor = dg.RunsFilter(statuses=ended, updated_before=before), None
    while records := instance.get_run_records(filters, limit=PER_CALL, cursor=cursor):
        cursor = records[-1].dagster_run.run_id
        yield from (record.dagster_run.run_id for record in records if record.dagster_run.run_id not in makers)


@dg.op
def forget_old_runs(context: dg.OpExecutionContext, config: PruneConfig, workspace: WorkspaceResource) -> None:
    """Deletes old runs with their events; what the lake holds, and the run that made it, stays."""
    before = datetime.now(UTC) - timedelta(days=config.keep_days)
    names = list(forgettable(context.instance, workspace.open(), before))
    for name in names:
        context.instance.delete_run(name)
    context.log.info(f"{len(names):,} runs that ended before {before:%Y-%m-%d} are forgotten")


@dg.job(description="Forgets runs older than keep_days (90); their logs go with them, published data does not.")
def prune_event_log() -> None:
    """The event log grows without bound otherwise."""
    forget_old_runs()


weekly_pruning = dg.ScheduleDefinition(
    name="weekly_pruning",
    job=prune_event_log,
    cron_schedule="30 3 * * 0",
    description="Forgets runs older than 90 days, every Sunday night; published data stays.",
    default_status=dg.DefaultScheduleStatus.STOPPED,
)


@dg.sensor(default_status=dg.DefaultSensorStatus.RUNNING, minimum_interval_seconds=60)
def end_dead_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Marks runs whose process is gone as failed and frees their places in pools; Dagster then tries them again.

    A sensor is evaluated by the code server, where run workers are; a code server that was killed with its runs ends them as
    soon as it is back.
    """
    ended = reap(context.instance, context.log.warning, STARTING_SECONDS)
    return dg.SkipReason(f"runs whose process was gone: {', '.join(ended) or 'none'}")


@dg.run_failure_sensor(
    default_status=dg.DefaultSensorStatus.STOPPED,
    minimum_interval_seconds=30,
    description=f"Posts every failed run with its problem and fix to the webhook in {WEBHOOK}.",
)
def alert_on_failure(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
    """Posts every failed run to the address in WEBINSTRUCT_ALERT_WEBHOOK (Slack's form: a ``text``, and fields)."""
    import httpx

    address = os.environ.get(WEBHOOK)
    if not address:
        return dg.SkipReason(f"no address in {WEBHOOK}")
    try:
        answer = httpx.post(address, json=alert(context), timeout=30)
        problem = f"answered {answer.status_code}" if answer.is_error else None
    except httpx.TransportError as error:
        problem = type(error).__name__
    if problem:  # httpx's own errors name the address, which is a secret
        raise WebInstructError(f"the webhook in {WEBHOOK}: {problem}", "correct the address, or look at its service")
    return None


def alert(context: dg.RunFailureSensorContext) -> dict[str, Any]:
    """What failed, why and what to do: ``text``, ``run_id``, ``link``, ``assets``, ``partition``, ``problem``, ``fix``.

    ``link``: the run's page, "" where nobody said where the UI is.
    """
    run = context.dagster_run
    link = f"{os.environ[UI].rstrip('/')}/runs/{run.run_id}" if os.environ.get(UI) else ""
    assets = sorted(key.to_user_string() for key in run.asset_selection or ())
    problem, fix = context.failure_event.message, f"look at run {run.run_id} in the UI"
    for event in context.get_step_failure_events():
        failure = event.step_failure_data.user_failure_data
        if failure and "problem" in failure.metadata:
            problem, fix = str(failure.metadata["problem"].value), str(failure.metadata["fix"].value)
    partition = run.tags.get("dagster/partition", "")
    return {
        "text": f"{', '.join(assets) or run.job_name} {partition} failed: {problem}\nfix: {fix}"
        + (f"\n{link}" if link else ""),
        "run_id": run.run_id,
        "link": link,
        "assets": assets,
        "partition": partition,
        "problem": problem,
        "fix": fix,
    }
