"""Dagster as users run it: ``webinstruct ui`` with its webserver and daemon, a real browser, a real backfill."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from webinstruct_assets_tests.conftest import rows_of, webinstruct

pytestmark = [pytest.mark.llm, pytest.mark.browser, pytest.mark.timeout(1800)]
CHROMIUM = Path("/usr/bin/chromium")


class Server:
    """A running ``webinstruct ui`` and GraphQL access to it."""

    def __init__(self, url: str):
        self.url = url

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        answer = httpx.post(f"{self.url}/graphql", json={"query": query, "variables": variables}, timeout=30).json()
        assert "errors" not in answer, answer
        return answer["data"]


def wait_for(what: str, seconds: float, found: Callable[[], Any]) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if result := found():
                return result
        except httpx.TransportError:
            pass
        time.sleep(1)
    raise AssertionError(f"{what}: not within {seconds:.0f} s")


@pytest.fixture(scope="module")
def ui(demo_home: Path) -> Iterator[Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = (demo_home / "ui.log").open("w")
    command = [sys.executable, "-m", "webinstruct_assets.cli", "ui", "--port", str(port)]
    child = subprocess.Popen(
        command,
        env={**os.environ, "WEBINSTRUCT_HOME": str(demo_home)},
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    server = Server(f"http://127.0.0.1:{port}")

    def loaded() -> bool:
        entries = server.ask(
            "{workspaceOrError{... on Workspace{locationEntries{name loadStatus locationOrLoadError{__typename}}}}}"
        )
        return any(
            entry["loadStatus"] == "LOADED" and entry["locationOrLoadError"]["__typename"] == "RepositoryLocation"
            for entry in entries["workspaceOrError"]["locationEntries"]
        )

    try:
        wait_for("the code location", 120, loaded)
        yield server
    finally:
        child.send_signal(signal.SIGINT)
        child.wait(60)
        log.close()


def test_materialize_in_the_browser(ui: Server, demo_home: Path) -> None:
    """Lineage in one view, then Materialize on a partition whose setting changed; nothing above it changes."""
    if not CHROMIUM.exists():
        pytest.skip("Debian's chromium is not installed")
    from playwright.sync_api import sync_playwright

    versions = "SELECT asset, partition, data_version, finished_at FROM manifests ORDER BY ALL"
    before = {(row["asset"], row["partition"]): row for row in rows_of(demo_home, versions)}
    config = demo_home / "config/environments/demo.yaml"
    original = config.read_text()
    config.write_text(original.replace("decontamination: {n: 10", "decontamination: {n: 11"))
    assert config.read_text() != original
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"])
        try:
            page = browser.new_page(viewport={"width": 1600, "height": 1000})
            page.goto(f"{ui.url}/asset-groups")
            for asset in ("crawl_index", "round2_domains", "webinstruct", "benchmark_scores"):
                page.get_by_text(asset, exact=True).first.wait_for(timeout=60_000)
            page.screenshot(path=demo_home / "lineage.png")
            page.goto(f"{ui.url}/assets/decontaminated_qa?view=partitions&partition=local-demo")
            page.get_by_role("button", name="Materialize").first.click(timeout=60_000)
            page.get_by_role("button", name="Launch").last.click(timeout=60_000)
            runs = "{runsOrError(limit: 1){... on Runs{results{status assetSelection{path}}}}}"
            wait_for(
                "the run's success",
                180,
                lambda: (
                    ui.ask(runs)["runsOrError"]["results"]
                    == [{"status": "SUCCESS", "assetSelection": [{"path": ["decontaminated_qa"]}]}]
                ),
            )
            page.goto(f"{ui.url}/assets/decontaminated_qa?view=partitions&partition=local-demo")
            page.get_by_text("rejected_by_reason").first.wait_for(timeout=60_000)
            page.screenshot(path=demo_home / "partition.png")
        finally:
            browser.close()
            config.write_text(original)
    after = {(row["asset"], row["partition"]): row for row in rows_of(demo_home, versions)}
    changed = {key[0] for key in before if before[key] != after[key]}
    assert changed == {"decontaminated_qa"}
    webinstruct(demo_home, "run", "--snapshot", "local-demo", "--select", "decontaminated_qa")


def test_a_partition_outside_the_environment_fails_at_once(ui: Server) -> None:
    """A recipe whose data and model are not there: the run fails with an error that names what is missing."""
    launched = ui.ask(
        """mutation ($p: ExecutionParams!) { launchPipelineExecution(executionParams: $p) {
            __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }""",
        p={
            "selector": {
                "repositoryLocationName": "webinstruct",
                "repositoryName": "__repository__",
                "pipelineName": "__ASSET_JOB",
                "assetSelection": [{"path": ["trained_checkpoint"]}],
                "assetCheckSelection": [],
            },
            "runConfigData": "{}",
            "mode": "default",
            "executionMetadata": {"tags": [{"key": "dagster/partition", "value": "mammoth2-7b"}]},
        },
    )["launchPipelineExecution"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    query = """query ($id: ID!) {
        runOrError(runId: $id) { ... on Run { status } }
        logsForRun(runId: $id) { ... on EventConnection { events {
            ... on ExecutionStepFailureEvent { error { message } failureMetadata { description } } } } } }"""

    def failed() -> Any:
        answer = ui.ask(query, id=launched["run"]["runId"])
        return answer["logsForRun"]["events"] if answer["runOrError"]["status"] == "FAILURE" else None

    events = wait_for("the run's failure", 120, failed)
    assert any("mammoth2-7b" in str(event) and "fix: " in str(event) for event in events)


def test_a_backfill_of_two_snapshots(ui: Server, demo_home: Path) -> None:
    """Two imported snapshots, one backfill through the daemon, both mined down to decontaminated pairs."""
    warcs = sorted((demo_home / "data/crawl/crawl-data/local-demo").rglob("*.warc.gz"))
    snapshots = ["local-one", "local-two"]
    for warc, snapshot in zip(warcs, snapshots, strict=False):
        webinstruct(demo_home, "import-warc", str(warc), "--snapshot", snapshot)
        webinstruct(demo_home, "run", "--snapshot", snapshot, "--model-from", "local-demo", "--to", "crawl_index")
    from webinstruct_assets.graph import STAGES

    assets = [stage.asset for stage in STAGES if stage.dimensions == ("snapshot",)]
    mined = assets[: assets.index("deduplicated_qa") + 1]
    launched = ui.ask(
        """mutation ($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) {
            __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }""",
        p={"assetSelection": [{"path": [asset]} for asset in mined], "partitionNames": snapshots},
    )["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    query = "query ($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } } }"

    def ended() -> Any:
        state = ui.ask(query, id=launched["backfillId"])["partitionBackfillOrError"]["status"]
        return state if state.startswith(("COMPLETED", "FAILED", "CANCELED")) else None

    assert wait_for("the backfill", 900, ended) == "COMPLETED_SUCCESS"
    rows = rows_of(demo_home, "SELECT partition, asset FROM manifests WHERE partition IN ('local-one', 'local-two')")
    assert {(row["partition"], row["asset"]) for row in rows} == {
        (snapshot, asset) for snapshot in snapshots for asset in mined
    }
