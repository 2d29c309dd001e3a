"""Automation by real daemons: nobody clicks, snapshots appear on a mirror, datasets appear in the lake."""

import shutil
from collections.abc import Iterator

import psutil
import pytest

from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.workspace import PROJECT_ROOT, Workspace
from webinstruct_assets.graph import STAGES, States
from webinstruct_assets.stages.crawl.capture import Capture
from webinstruct_assets.stages.crawl.demo import build_demo_crawl
from webinstruct_assets.stages.crawl.writer import building, publish, write_snapshot
from webinstruct_assets_tests import answers
from webinstruct_assets_tests.conftest import make_home
from webinstruct_assets_tests.services import Stack, free_port, nginx, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
GOOD, POOR = ["CC-MAIN-2026-05", "CC-MAIN-2026-09"], "CC-MAIN-2026-13"
MINED = [stage.asset for stage in STAGES if stage.dimensions == ("snapshot",)][:14]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack without snapshots, its mirror empty but for a list of none, its models answered by a fixed function."""
    folder = tmp_path_factory.mktemp("daemons")
    home, mirror, port = make_home(folder / "home"), folder / "mirror", free_port()
    mirror.mkdir()
    (mirror / "collinfo.json").write_text("[]")
    with nginx(mirror, folder / "nginx") as url, answers.serving(home, folder / "asked", port):
        answers.configure(
            home, port, snapshots=[], recipes=[], refiners=["smollm2-format"], crawl={"source": url}, extraction={"llm": False}
        )  # fmt: skip
        with Stack(home) as running:
            yield running


def published(ws: Workspace, asset: str, **key: str) -> bool:
    return ws.lake.manifest(Ref(asset, PartitionKey.of(key))) is not None


def test_nothing_listens_beyond_loopback(stack: Stack) -> None:
    processes = [process for role in stack.processes().values() for process in role]
    listening = {
        connection.laddr.ip
        for process in processes
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert len(processes) >= 4 and listening == {"127.0.0.1"}


def test_new_snapshots_are_mined_with_no_click_and_a_poor_one_stops_alone(stack: Stack) -> None:
    stack.switch_on("recall", "extract")
    ticks = "query ($s: SensorSelector!) { sensorOrError(sensorSelector: $s) { ... on Sensor { sensorState { ticks { status } } } } }"

    def ticked(name: str) -> bool:
        selector = {"repositoryLocationName": "webinstruct", "repositoryName": "__repository__", "sensorName": name}
        return bool(stack.ask(ticks, s=selector)["sensorOrError"]["sensorState"]["ticks"])

    wait_for("the sensors' first look", 90, lambda: ticked("recall") and ticked("extract"))
    mirror = stack.home.parent / "mirror"
    for snapshot in GOOD:
        build_demo_crawl(PROJECT_ROOT / "data/demo", mirror, snapshot)
    pages = [
        Capture(f"https://site{n}.example/", "2026-03-20T00:00:00Z", (("Content-Type", "text/html"),), f"<p>Page {n}</p>".encode())
        for n in range(6)
    ]  # fmt: skip
    with building(mirror, POOR) as folder:
        write_snapshot(folder, POOR, pages, files=1)
        publish(folder, mirror, POOR, "six pages that nothing can be learnt from")
    stack.switch_on("new_snapshots")

    ws = Workspace.open(stack.home)
    wait_for("the datasets", 600, lambda: all(published(ws, "webinstruct_release", snapshot=key) for key in GOOD))
    states = States(ws)
    for stage in STAGES:
        if stage.asset in ("webinstruct", "recalled_urls", "decontaminated_qa"):
            assert all(states.of(stage.ref(PartitionKey.of({"snapshot": key}))).up_to_date for key in GOOD)
    assert published(ws, "refined_qa", refiner="smollm2-format", snapshot=GOOD[0])
    assert not published(ws, "refined_qa", refiner="smollm2-steps", snapshot=GOOD[0]), "not of this environment"
    assert published(ws, "crawl_index", snapshot=POOR) and not published(ws, "seed_set", snapshot=POOR)
    runs = stack.runs()
    assert {run["partition"] for run in runs if run["status"] == "FAILURE"} == {POOR}
    assert not [run for run in runs if {"sft_dataset", "trained_checkpoint", "benchmark_scores"} & set(run["assets"])]


def test_a_backfill_and_failed_and_missing_costs_only_what_is_missing(stack: Stack) -> None:
    """After the test before: all three again by a click, then without the poor one's reason to fail."""
    ws = Workspace.open(stack.home)
    before = {key: ws.lake.manifest(Ref("deduplicated_qa", PartitionKey.of({"snapshot": key}))) for key in GOOD}
    first = stack.backfill(MINED, [*GOOD, POOR])
    assert stack.ended(first, 400) == "COMPLETED_FAILED"
    after = {key: ws.lake.manifest(Ref("deduplicated_qa", PartitionKey.of({"snapshot": key}))) for key in GOOD}
    assert after == before, "a finished partition was built again"
    mirror = stack.home.parent / "mirror"
    build_demo_crawl(PROJECT_ROOT / "data/demo", mirror, POOR)
    # To the code a published Common Crawl snapshot never changes, so its file list has to be forgotten by hand.
    shutil.rmtree(ws.lake.folder(Ref("crawl_index", PartitionKey.of({"snapshot": POOR}))))
    assert stack.ended(stack.backfill(MINED, [POOR]), 400) == "COMPLETED_SUCCESS"
    assert published(ws, "deduplicated_qa", snapshot=POOR)
