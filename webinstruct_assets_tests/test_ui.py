"""Dagster as users run it: ``webinstruct ui`` with its webserver and daemon, a real browser, a real backfill."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from webinstruct_assets_tests.conftest import rows_of, webinstruct
from webinstruct_assets_tests.services import Stack, chromium, wait_for

pytestmark = [pytest.mark.llm, pytest.mark.browser, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def ui(demo_home: Path) -> Iterator[Stack]:
    with Stack(demo_home) as running:
        yield running


def test_materialize_in_the_browser(ui: Stack, demo_home: Path) -> None:
    """Lineage in one view, then Materialize on a partition whose setting changed; nothing above it changes."""
    versions = "SELECT asset, partition, data_version, finished_at FROM manifests ORDER BY ALL"
    before = {(row["asset"], row["partition"]): row for row in rows_of(demo_home, versions)}
    config = demo_home / "config/environments/demo.yaml"
    original = config.read_text()
    changed_config = original.replace("decontamination: {n: 10", "decontamination: {n: 11")
    assert changed_config != original
    with chromium() as browser:
        config.write_text(changed_config)
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
            config.write_text(original)
    after = {(row["asset"], row["partition"]): row for row in rows_of(demo_home, versions)}
    changed = {key[0] for key in before if before[key] != after[key]}
    assert changed == {"decontaminated_qa"}
    webinstruct(demo_home, "run", "--snapshot", "local-demo", "--select", "decontaminated_qa")


def test_a_partition_outside_the_environment_fails_at_once(ui: Stack) -> None:
    """A recipe whose data and model are not there: the run fails with an error that names what is missing."""
    run = ui.launch(["trained_checkpoint"], "mammoth2-7b")
    query = """query ($id: ID!) {
        runOrError(runId: $id) { ... on Run { status } }
        logsForRun(runId: $id) { ... on EventConnection { events {
            ... on ExecutionStepFailureEvent { error { message } failureMetadata { description } } } } } }"""

    def failed() -> Any:
        answer = ui.ask(query, id=run)
        return answer["logsForRun"]["events"] if answer["runOrError"]["status"] == "FAILURE" else None

    events = wait_for("the run's failure", 120, failed)
    assert any("mammoth2-7b" in str(event) and "fix: " in str(event) for event in events)


def test_a_backfill_of_two_snapshots(ui: Stack, demo_home: Path) -> None:
    """Two imported snapshots, one backfill through the daemon, both mined down to decontaminated pairs."""
    warcs = sorted((demo_home / "data/crawl/crawl-data/local-demo").rglob("*.warc.gz"))
    snapshots = ["local-one", "local-two"]
    for warc, snapshot in zip(warcs, snapshots, strict=False):
        webinstruct(demo_home, "import-warc", str(warc), "--snapshot", snapshot)
        webinstruct(demo_home, "run", "--snapshot", snapshot, "--model-from", "local-demo", "--to", "crawl_index")
    from webinstruct_assets.graph import STAGES

    assets = [stage.asset for stage in STAGES if stage.dimensions == ("snapshot",)]
    mined = assets[: assets.index("deduplicated_qa") + 1]
    assert ui.ended(ui.backfill(mined, snapshots), 900) == "COMPLETED_SUCCESS"
    rows = rows_of(demo_home, "SELECT partition, asset FROM manifests WHERE partition IN ('local-one', 'local-two')")
    assert {(row["partition"], row["asset"]) for row in rows} == {
        (snapshot, asset) for snapshot in snapshots for asset in mined
    }
