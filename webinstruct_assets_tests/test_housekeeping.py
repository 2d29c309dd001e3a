"""Old runs are forgotten but for those whose work is published, and failures reach a webhook, on a real instance."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from webinstruct_assets.core.errors import WebInstructError
from webinstruct_assets.core.workspace import PROJECT_ROOT, Workspace
from webinstruct_assets.definitions import defs
from webinstruct_assets.housekeeping import WEBHOOK, alert_on_failure, forgettable
from webinstruct_assets.runner import QUIET
from webinstruct_assets.stack import UI
from webinstruct_assets.stages.crawl.demo import build_demo_crawl
from webinstruct_assets_tests.services import Stack, wait_for
from webinstruct_assets_tests.test_deploy import POSTGRES, cluster_home, postgres


def in_use(home: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """The workspace at ``home``, with the demo's crawl, as Dagster's processes find it."""
    monkeypatch.setenv("WEBINSTRUCT_HOME", str(home))
    ws = Workspace.open(home)
    build_demo_crawl(ws.path(ws.config.crawl.demo_sources), ws.path(ws.config.crawl.local_root), "local-demo")
    return ws


@pytest.fixture
def instance(tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    in_use(workspace.root, monkeypatch)
    with dg.DagsterInstance.local_temp(str(tmp_path)) as found:
        found.add_dynamic_partitions("snapshot", ["local-demo"])
        yield found


def run(instance: dg.DagsterInstance, asset: str) -> dg.ExecuteInProcessResult:
    return defs.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(asset)],
        partition_key="local-demo",
        raise_on_error=False,
        run_config=QUIET,
    )


def check_pruning(instance: dg.DagsterInstance, workspace: Workspace) -> None:
    maker = run(instance, "crawl_index")
    idle, failed = run(instance, "crawl_index"), run(instance, "round2_model")
    assert maker.success and idle.success and not failed.success
    assert list(forgettable(instance, workspace, datetime.now(UTC) - timedelta(days=1))) == []
    later = datetime.now(UTC) + timedelta(minutes=1)
    assert sorted(forgettable(instance, workspace, later)) == sorted([idle.run_id, failed.run_id])
    job = defs.resolve_job_def("prune_event_log")
    config = {"ops": {"forget_old_runs": {"config": {"keep_days": -1}}}}
    assert job.execute_in_process(instance=instance, run_config=config).success
    assert instance.has_run(maker.run_id) and not instance.has_run(idle.run_id) and not instance.has_run(failed.run_id)
    key = dg.AssetKey("crawl_index")
    event = instance.get_latest_materialization_event(key)
    assert event is not None and event.asset_materialization is not None
    assert event.asset_materialization.metadata["rows"].value > 0
    assert [found.run_id for found in instance.fetch_materializations(key, limit=10).records] == [maker.run_id]
    assert instance.get_materialized_partitions(key) == {"local-demo"}


def test_old_runs_go_and_what_made_published_data_stays(instance: dg.DagsterInstance, workspace: Workspace) -> None:
    check_pruning(instance, workspace)


@pytest.mark.slow
@pytest.mark.skipif(POSTGRES is None, reason="no postgres")
def test_the_same_in_postgres(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with postgres() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        home = cluster_home(tmp_path / "home", environment["PORT"])
        workspace = in_use(home, monkeypatch)
        with dg.DagsterInstance.from_config(str(home)) as instance:
            assert type(instance.event_log_storage).__name__ == "PostgresEventLogStorage"
            instance.add_dynamic_partitions("snapshot", ["local-demo"])
            check_pruning(instance, workspace)


@contextmanager
def hook(port: int = 0) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """A service that takes posts; its port, and what it heard."""
    heard: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", port), Hook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, heard
        server.shutdown()


def check_alert(told: dict[str, Any], run_id: str, ui: str) -> None:
    """It says what failed, why, what to do, and where to look; the address that it went to is a secret."""
    assert told["run_id"] == run_id and told["assets"] == ["round2_model"] and told["partition"] == "local-demo"
    assert "round2_seed_set/local-demo, which has not been materialized" in told["problem"]
    assert told["fix"] == "materialize round2_seed_set/local-demo first" and told["problem"] in told["text"]
    assert told["link"] == f"{ui}/runs/{run_id}" and told["text"].endswith(told["link"])
    assert "s3cret" not in json.dumps(told)


def test_a_failed_run_is_told_with_its_fix(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = run(instance, "round2_model")
    (failure,) = [event for event in failed.all_events if event.event_type == dg.DagsterEventType.RUN_FAILURE]
    context = dg.build_run_status_sensor_context(
        sensor_name="alert_on_failure",
        dagster_instance=instance,
        dagster_run=failed.dagster_run,
        dagster_event=failure,
    ).for_run_failure()
    monkeypatch.delenv(WEBHOOK, raising=False)
    alert_on_failure(context)
    monkeypatch.setenv(UI, "https://dagster.example.org/")
    with hook() as (port, heard):
        monkeypatch.setenv(WEBHOOK, f"http://127.0.0.1:{port}/s3cret")
        alert_on_failure(context)
    (told,) = heard
    check_alert(told, failed.run_id, "https://dagster.example.org")
    with pytest.raises(WebInstructError, match=f"the webhook in {WEBHOOK}: ConnectError") as down:
        alert_on_failure(context)
    assert "s3cret" not in str(down.value)


SHOWN = """query ($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
    assetMaterializations(limit: 10) { runId }
    latestMaterializationByPartition(partitions: ["local-demo"]) { runId metadataEntries { label } }
    assetPartitionStatuses { ... on DefaultPartitionStatuses { materializedPartitions } }
} } }"""
TICKS = """query ($s: SensorSelector!) { sensorOrError(sensorSelector: $s) { ... on Sensor { sensorState {
    ticks(limit: 50) { status error { message } }
} } } }"""
SENSOR = {"repositoryLocationName": "webinstruct", "repositoryName": "__repository__", "sensorName": "alert_on_failure"}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_alerts_and_pruning_by_real_daemons(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures reach a webhook, one that is down costs a tick that says so; what the UI shows of an asset outlives pruning."""
    in_use(home, monkeypatch)
    with hook() as (port, _):
        monkeypatch.setenv(WEBHOOK, f"http://127.0.0.1:{port}/s3cret")
    stack = Stack(home).start()
    try:

        def ended(status: str, asset: str) -> str:
            run_id = stack.launch([asset], "local-demo")
            wait_for(f"{asset}: {status}", 180, lambda: stack.status(run_id) == status)
            return run_id

        def ticks() -> list[dict[str, Any]]:
            return list(stack.ask(TICKS, s=SENSOR)["sensorOrError"]["sensorState"]["ticks"])

        stack.switch_on("alert_on_failure")
        wait_for("the sensor's first look", 120, ticks)
        unheard = ended("FAILURE", "round2_model")  # the webhook is down
        wait_for("the tick", 180, lambda: [tick for tick in ticks() if tick["status"] == "FAILURE"])
        (problem,) = [tick["error"]["message"] for tick in ticks() if tick["status"] == "FAILURE"]
        assert "RunStatusSensor" in problem or WEBHOOK in problem
        assert "s3cret" not in problem
        with hook(port) as (_, heard):
            failed = ended("FAILURE", "round2_model")
            wait_for("the alert", 180, lambda: heard)
        check_alert(heard[0], failed, stack.url)

        maker, again = ended("SUCCESS", "crawl_index"), ended("SUCCESS", "crawl_index")  # which had nothing to do
        (home / "prune.yaml").write_text("ops: {forget_old_runs: {config: {keep_days: -1}}}")
        command = "dagster job execute -m webinstruct_assets.definitions -j prune_event_log"
        assert command in (PROJECT_ROOT / "docs/reliability.md").read_text()
        environment = {**os.environ, "DAGSTER_HOME": str(home), "PYTHONPATH": str(PROJECT_ROOT)}
        subprocess.run(
            [sys.executable, "-m", *command.split(), "-c", "prune.yaml"], cwd=home, check=True, capture_output=True, env=environment
        )  # fmt: skip
        left = {found["id"] for found in stack.runs()}
        assert maker in left and not {again, unheard, failed} & left
        shown = stack.ask(SHOWN, key={"path": ["crawl_index"]})["assetNodeOrError"]
        assert [item["runId"] for item in shown["assetMaterializations"]] == [maker]
        (latest,) = shown["latestMaterializationByPartition"]
        assert latest["runId"] == maker and {"rows", "manifest"} <= {
            item["label"] for item in latest["metadataEntries"]
        }
        assert shown["assetPartitionStatuses"]["materializedPartitions"] == ["local-demo"]
    finally:
        stack.stop()
