"""The metrics endpoint as Prometheus reads it, while a build goes on in another process."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from webinstruct_assets import status
from webinstruct_assets.core.progress import builds
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.metrics import serve

BUILD = """
import sys, time
from dataclasses import replace
from pathlib import Path
from webinstruct_assets.core import progress
from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.stage import Reject, Unit, execute
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.graph import stage_of

def run(job):
    progress.EVERY_SECONDS = 0.0
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
    families = list(text_string_to_metric_families(text))
    for family in families:
        assert family.documentation and family.type == "gauge"
        assert family.name.startswith("webinstruct_") and not family.name.endswith(("_total", "_count", "_sum"))
        for sample in family.samples:
            assert {"asset", "partition"} <= set(sample.labels)
    if promtool := shutil.which("promtool"):  # Debian's prometheus
        check = subprocess.run([promtool, "check", "metrics"], input=text, text=True, capture_output=True, check=False)
        assert check.returncode == 0, check.stdout + check.stderr
    return {
        (
            sample.name.removeprefix("webinstruct_"),
            *(sample.labels[name] for name in ("partition", "reason", "direction", "phase") if name in sample.labels),
        ): (sample.value)
        for family in families
        for sample in family.samples
        if sample.labels["asset"] == "pages"
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
        phase = ("local-test", "pages")
        assert (seen["running_records_done", *phase], seen["running_records_expected", *phase]) == (4, 10)
        assert seen["running_records_per_second", *phase] > 0 and seen["running_left_seconds", *phase] > 0
        assert seen["running_rejected_records", "local-test", "too_short"] == 4
        assert seen["running_dollars", "local-test"] >= 0
        assert time.time() - 60 < seen["running_told_timestamp_seconds", "local-test"] < time.time() + 1
        shown = status.report(workspace, "local-test", 200)
        row, line = (line for line in shown if line.startswith("pages "))
        assert row.split() == ["pages", "local-test", "building"]
        assert line.startswith("pages local-test: 4/10 pages, ") and line.endswith("rejected: too_short 4")
        killed.kill()
        killed.wait()
        assert scraped(server.server_port) == {} and builds(workspace.lake) == []  # its file is still there
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
