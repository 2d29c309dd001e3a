"""One stack per store, and runs whose process is gone."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from webinstruct_assets import stack
from webinstruct_assets.core.errors import Busy, WebInstructError
from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.definitions import defs
from webinstruct_assets.housekeeping import end_dead_runs
from webinstruct_assets.partitions import register
from webinstruct_assets.runner import HOST_TAG
from webinstruct_assets.stages.crawl.crawl_index import CRAWL_INDEX


@dg.job
def nothing() -> None:
    """Its runs are made up."""


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as found:
        yield found


def started(
    instance: dg.DagsterInstance, pid: int | None, status: dg.DagsterRunStatus, tags: dict[str, str] | None = None
) -> str:
    """A run that says it is at work in a process."""
    run = instance.create_run_for_job(nothing, status=status, tags=tags)
    if pid is not None:
        instance.report_engine_event(f'Executing steps in process (pid: {pid}) for "nothing".', run)
    return run.run_id


def status_of(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run
    return run.status


def test_runs_of_dead_processes_are_ended_and_those_of_living_ones_left(instance: dg.DagsterInstance) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    kinds = dg.DagsterRunStatus
    alive = started(instance, os.getpid(), kinds.STARTED)
    dead = started(instance, child.pid, kinds.STARTED)
    never_began = started(instance, None, kinds.STARTING)
    canceling = started(instance, child.pid, kinds.CANCELING)
    instance.event_log_storage.set_concurrency_slots("gpu", 1)
    claim = instance.event_log_storage.claim_concurrency_slot("gpu", dead, "step")
    assert claim.is_claimed
    lines: list[str] = []
    assert set(stack.reap(instance, lines.append)) == {dead, never_began, canceling} and len(lines) == 3
    assert [status_of(instance, run) for run in (alive, dead, never_began, canceling)] == [
        kinds.STARTED, kinds.FAILURE, kinds.FAILURE, kinds.CANCELED,
    ]  # fmt: skip
    assert instance.event_log_storage.get_concurrency_info("gpu").active_slot_count == 0
    assert stack.reap(instance, lines.append) == []


def test_a_sensor_ends_dead_runs_and_waits_for_those_that_are_starting(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ``webinstruct run`` has at work on another machine cannot be seen from here, and is left alone."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    kinds = dg.DagsterRunStatus
    runs = [
        started(instance, child.pid, kinds.STARTED),
        started(instance, child.pid, kinds.STARTED, {HOST_TAG: socket.gethostname()}),
        started(instance, child.pid, kinds.STARTED, {HOST_TAG: "another-machine"}),
        started(instance, None, kinds.STARTING),
    ]
    assert end_dead_runs.default_status == dg.DefaultSensorStatus.RUNNING
    with dg.build_sensor_context(instance) as context:
        end_dead_runs(context)
    ended = [kinds.FAILURE, kinds.FAILURE, kinds.STARTED]
    assert [status_of(instance, run) for run in runs] == [*ended, kinds.STARTING]
    monkeypatch.setattr("webinstruct_assets.housekeeping.STARTING_SECONDS", 0.0)
    with dg.build_sensor_context(instance) as context:
        end_dead_runs(context)
    assert [status_of(instance, run) for run in runs] == [*ended, kinds.FAILURE]


def test_a_run_that_ends_while_it_is_looked_at_keeps_its_end(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = started(instance, os.getpid(), dg.DagsterRunStatus.STARTED)

    def end(pid: int, moment: float) -> bool:
        found = instance.get_run_by_id(run)
        assert found
        instance.report_run_canceled(found)
        return False

    monkeypatch.setattr(stack, "is_the_process", end)
    assert stack.reap(instance, print) == []
    assert status_of(instance, run) == dg.DagsterRunStatus.CANCELED


def test_a_store_that_machines_share_gets_no_second_daemon(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DAGSTER_HOME", "WEBINSTRUCT_HOME"):
        monkeypatch.setenv(name, str(workspace.root))
    monkeypatch.chdir(workspace.root)
    monkeypatch.setattr(stack.dg.DagsterInstance, "get", dg.DagsterInstance.ephemeral)  # in memory: not SQLite
    with pytest.raises(WebInstructError, match="machines share"):
        stack.serve(workspace, 0, print)


def test_a_process_that_got_the_number_later_is_another(instance: dg.DagsterInstance) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    try:
        run = started(instance, child.pid, dg.DagsterRunStatus.STARTED)
        assert stack.reap(instance, print) == []
        [entry] = [
            item for item in instance.all_logs(run, of_type=dg.DagsterEventType.ENGINE_EVENT) if "(pid:" in str(item)
        ]
        assert entry.timestamp > 0
        # The event is older than the process.
        assert not stack.is_the_process(child.pid, entry.timestamp - 60)
    finally:
        child.kill()
        child.wait()


def test_one_stack_per_store(tmp_path: Path) -> None:
    refused = pytest.raises(Busy, match=rf"pid {os.getpid()}\)(?s:.*)two daemons")
    with stack.holding(tmp_path / "lock"), refused, stack.holding(tmp_path / "lock"):
        pass
    with stack.holding(tmp_path / "lock"):
        pass


def test_two_runs_on_one_partition(
    workspace: Workspace, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second run fails at once and says who is at work; the first is not disturbed."""
    monkeypatch.setenv("WEBINSTRUCT_HOME", str(workspace.root))
    register(instance, ["local-demo"])
    ref = CRAWL_INDEX.ref(PartitionKey.of({"snapshot": "local-demo"}))
    job = defs.resolve_implicit_global_asset_job_def()
    results = []

    def second() -> None:
        results.append(
            job.execute_in_process(
                instance=instance,
                asset_selection=[dg.AssetKey("crawl_index")],
                partition_key="local-demo",
                raise_on_error=False,
            )
        )

    with workspace.lake.lock(ref):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(120)
    [result] = results
    assert not result.success
    [failure] = [
        event.step_failure_data
        for event in result.all_events
        if event.is_step_failure and event.step_key == "crawl_index"
    ]
    assert failure.user_failure_data
    problem = str(failure.user_failure_data.metadata["problem"].value)
    assert problem == f"crawl_index/local-demo is being built by another run (pid {os.getpid()})"
    assert "wait for that run to end" in str(failure.user_failure_data.metadata["fix"].value)
