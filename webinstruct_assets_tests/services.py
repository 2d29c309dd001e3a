"""Servers that tests run beside the code under test: web applications and a browser for them, nginx, ``webinstruct ui``."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest
import uvicorn
from starlette.applications import Starlette

from webinstruct_assets.core.workspace import PROJECT_ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = Path("/usr/bin/chromium")
NGINX = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")


def free_port() -> int:
    """A port of loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, seconds: float) -> None:
    """Until somebody listens there."""
    wait_for(f"a server at port {port}", seconds, lambda: _listens(port), every=0.05)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(what: str, seconds: float, found: Callable[[], Any], every: float = 0.5) -> Any:
    """The first true answer of ``found``; servers that are not there yet are asked again."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if result := found():
                return result
        except httpx.TransportError:
            pass
        time.sleep(every)
    raise AssertionError(f"{what}: not within {seconds:.0f} s")


@contextmanager
def serving(app: Starlette) -> Iterator[str]:
    """A web application in a thread, at a free port of loopback; its URL."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for("the application", 30, lambda: server.started, every=0.02)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def chromium() -> Iterator["Browser"]:
    """Debian's browser, without a window."""
    if not CHROMIUM.exists():
        pytest.skip("Debian's chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def nginx(root: Path, folder: Path) -> Iterator[str]:
    """``root`` behind a real web server, whose own files lie in ``folder``; the URL."""
    if not NGINX:
        pytest.skip("no nginx")
    folder.mkdir()
    port = free_port()
    temporary = "\n".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log;\n"
        + ("user root;\n" if root.owner() == "root" else "")
        + f"events {{}}\nhttp {{ {temporary}\naccess_log off;\n"
        f"server {{ listen 127.0.0.1:{port}; location / {{ alias {root}/; }} }} }}\n"
    )
    server = subprocess.Popen([NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf")], stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port, 10)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)


class Stack:
    """``webinstruct ui`` on a root, by GraphQL and by its processes."""

    def __init__(self, home: Path):
        self.home, self.port = home, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Stack":
        """Starts it and waits until the code location is loaded."""
        with (self.home / "ui.log").open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "webinstruct_assets.cli", "ui", "--port", str(self.port)],
                env={**os.environ, "WEBINSTRUCT_HOME": str(self.home), "PYTHONPATH": str(PROJECT_ROOT)},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for("the code location", 120, self.loaded)
        return self

    def __enter__(self) -> "Stack":
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """As Ctrl-C does."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(60)

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """GraphQL."""
        answer = httpx.post(f"{self.url}/graphql", json={"query": query, "variables": variables}, timeout=60).json()
        assert "errors" not in answer, answer
        return dict(answer["data"])

    def loaded(self) -> bool:
        """Whether the webserver has the code location."""
        assert self.process and self.process.poll() is None, (self.home / "ui.log").read_text()[-3000:]
        answer = self.ask(
            "{workspaceOrError{... on Workspace{locationEntries{name loadStatus locationOrLoadError{__typename}}}}}"
        )
        entries = answer["workspaceOrError"]["locationEntries"]
        return any(entry["locationOrLoadError"] == {"__typename": "RepositoryLocation"} for entry in entries)

    def switch_on(self, *names: str) -> None:
        """Starts sensors."""
        for name in names:
            selector = {
                "repositoryLocationName": "webinstruct",
                "repositoryName": "__repository__",
                "sensorName": name,
            }
            answer = self.ask(
                "mutation ($s: SensorSelector!) { startSensor(sensorSelector: $s) { __typename } }", s=selector
            )
            assert answer["startSensor"]["__typename"] == "Sensor", answer

    def backfill(self, assets: list[str], partitions: list[str]) -> str:
        """What the UI's Materialize does over several partitions; the backfill's id."""
        answer = self.ask(
            """mutation ($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) {
            __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }""",
            p={"assetSelection": [{"path": [asset]} for asset in assets], "partitionNames": partitions},
        )["launchPartitionBackfill"]
        assert answer["__typename"] == "LaunchBackfillSuccess", answer
        return str(answer["backfillId"])

    def ended(self, backfill: str, seconds: float) -> str:
        """The backfill's status once it ended."""
        query = (
            "query ($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } } }"
        )

        def status() -> str | None:
            found = str(self.ask(query, id=backfill)["partitionBackfillOrError"]["status"])
            return found if found.startswith(("COMPLETED", "FAILED", "CANCELED")) else None

        return str(wait_for("the backfill", seconds, status))

    def launch(self, assets: list[str], partition: str) -> str:
        """What the UI's Materialize does on one partition; the run's id."""
        answer = self.ask(
            """mutation ($p: ExecutionParams!) { launchPipelineExecution(executionParams: $p) {
            __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }""",
            p={
                "selector": {
                    "repositoryLocationName": "webinstruct",
                    "repositoryName": "__repository__",
                    "pipelineName": "__ASSET_JOB",
                    "assetSelection": [{"path": [asset]} for asset in assets],
                    "assetCheckSelection": [],
                },
                "runConfigData": "{}",
                "mode": "default",
                "executionMetadata": {"tags": [{"key": "dagster/partition", "value": partition}]},
            },
        )["launchPipelineExecution"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return str(answer["run"]["runId"])

    def status(self, run: str) -> str:
        """A run's status."""
        query = "query ($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
        return str(self.ask(query, id=run)["runOrError"]["status"])

    def slots(self) -> list[dict[str, Any]]:
        """Places in pools that runs hold."""
        query = "{instance{concurrencyLimits{concurrencyKey claimedSlots{runId}}}}"
        return [slot for limit in self.ask(query)["instance"]["concurrencyLimits"] for slot in limit["claimedSlots"]]

    def runs(self) -> list[dict[str, Any]]:
        """Runs, newest first: id, status, partition, assets."""
        query = "{runsOrError{... on Runs{results{runId status tags{key value} assetSelection{path}}}}}"
        return [
            {
                "id": run["runId"],
                "status": run["status"],
                "partition": {tag["key"]: tag["value"] for tag in run["tags"]}.get("dagster/partition"),
                "assets": [key["path"][0] for key in run["assetSelection"] or []],
            }
            for run in self.ask(query)["runsOrError"]["results"]
        ]

    def processes(self) -> dict[str, list[psutil.Process]]:
        """Its processes by role: supervisor, code-server, webserver, daemon, and run workers."""
        assert self.process
        found: dict[str, list[psutil.Process]] = {"supervisor": [psutil.Process(self.process.pid)]}
        for child in found["supervisor"][0].children(recursive=True):
            try:
                line = " ".join(child.cmdline())
            except psutil.NoSuchProcess:
                continue
            for role, mark in (
                ("webserver", "dagster_webserver"), ("daemon", "dagster._daemon"), ("code-server", "code-server"),
                ("grpc", "api grpc"), ("run", "spawn_main"),
            ):  # fmt: skip
                if mark in line:
                    found.setdefault(role, []).append(child)
                    break
        return found
