"""The metrics endpoint as Prometheus reads it, while a build goes on in another process."""

import subprocess
import sys
import time
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from webinstruct_assets import status
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.metrics import serve

BUILD = """
import sys, time
from dataclasses import replace
from pathlib import Path
from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.stage import Reject, Unit, execute
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.graph import stage_of

def run(job):
    job.progress.start(10, "pages")
    for number in range(4):
        job.progress.advance(1, {"too_short": 1})
    Path(sys.argv[1], "running").touch()
    time.sleep(float(sys.argv[2]))
    job.progress.advance(6)
    rejects = [Reject(str(number), "", "too_short") for number in range(4)]
    job.unit("all", lambda: Unit(rows=[], rows_in=4, rejects=rejects))
    job.rows = 6
    job.metrics |= {"tokens_in": 1000, "tokens_out": 500}

stage = replace(stage_of("pages"), run=run, inputs=lambda ws, key: [], settings=lambda ws, key: {})
execute(stage, PartitionKey.of({"snapshot": "local-test"}), Workspace.open(Path(sys.argv[1])), log=print, run_id="r")
"""


def scraped(port: int) -> dict[tuple[str, ...], float]:
    """(metric, partition, other label's value…) -> value, of the asset ``pages``."""
    text = httpx.get(f"http://127.0.0.1:{port}/metrics").raise_for_status().text
    return {
        (
            sample.name.removeprefix("webinstruct_"),
            *(sample.labels[name] for name in ("partition", "reason", "direction") if name in sample.labels),
        ): (sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("asset") == "pages"
    }


def child(workspace: Workspace, seconds: float) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        [sys.executable, "-c", BUILD, str(workspace.root), str(seconds)], stdout=subprocess.DEVNULL
    )
    running = Path(workspace.root, "running")
    while not running.exists():
        assert process.poll() is None
        time.sleep(0.05)
    return process


def test_builds_in_flight_and_what_they_published(workspace: Workspace) -> None:
    server = serve(workspace, 0)
    try:
        assert scraped(server.server_port) == {}
        killed = child(workspace, 600)
        seen = scraped(server.server_port)
        # The first record is told at once, later ones every few seconds.
        assert (seen["running_done", "local-test"], seen["running_total", "local-test"]) == (1, 10)
        assert seen["running_rejected_records", "local-test", "too_short"] == 1
        assert [standing.label for standing in status.builds(workspace)] == ["pages local-test"]
        killed.kill()
        killed.wait()
        assert scraped(server.server_port) == {} and status.builds(workspace) == []  # its file is still there
        assert child(workspace, 0).wait() == 0
        after = scraped(server.server_port)
        assert after["rows", "local-test"] == 6
        assert after["rejected_records", "local-test", "too_short"] == 4
        assert (after["build_tokens", "local-test", "in"], after["build_tokens", "local-test", "out"]) == (1000, 500)
        assert after["build_dollars", "local-test"] > 0
        assert not any(name.startswith("running") for name, *_ in after)
    finally:
        server.shutdown()
        server.server_close()
