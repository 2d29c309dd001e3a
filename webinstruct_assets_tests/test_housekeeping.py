"""Old runs are forgotten but for those whose work is published, and failures reach a webhook, on a real instance."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.definitions import defs
from webinstruct_assets.housekeeping import WEBHOOK, alert_on_failure, forgettable
from webinstruct_assets.runner import QUIET
from webinstruct_assets.stages.crawl.demo import build_demo_crawl


@pytest.fixture
def instance(tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("WEBINSTRUCT_HOME", str(workspace.root))
    build_demo_crawl(
        workspace.path(workspace.config.crawl.demo_sources),
        workspace.path(workspace.config.crawl.local_root),
        "local-demo",
    )
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


def test_old_runs_go_and_what_made_published_data_stays(instance: dg.DagsterInstance, workspace: Workspace) -> None:
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
    assert instance.get_latest_materialization_event(dg.AssetKey("crawl_index")) is not None


def test_a_failed_run_is_told_with_its_fix(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

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
    assert heard == []
    with HTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv(WEBHOOK, f"http://127.0.0.1:{server.server_port}/hook")
        alert_on_failure(context)
        server.shutdown()
    (told,) = heard
    assert told["run_id"] == failed.run_id and told["assets"] == ["round2_model"] and told["partition"] == "local-demo"
    assert "round2_seed_set/local-demo, which has not been materialized" in told["problem"]
    assert told["fix"] == "materialize round2_seed_set/local-demo first" and told["problem"] in told["text"]
