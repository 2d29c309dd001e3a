"""`webinstruct push` with the hub's real client, against a server on loopback that speaks the hub's API."""

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.stage import execute
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.release.webinstruct import WEBINSTRUCT
from webinstruct_assets.stages.release.webinstruct_release import WEBINSTRUCT_RELEASE
from webinstruct_assets_tests.partitions import filled, publish

SNAPSHOT = PartitionKey.of({"snapshot": "local-demo"})
TOKEN = "hf_a-token-of-this-test"


class Hub:
    """What the hub was sent."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.created: list[dict[str, Any]] = []
        self.tokens: set[str | None] = set()

    def app(self) -> Starlette:
        async def create(request: Request) -> Response:
            self.tokens.add(request.headers.get("authorization"))
            self.created.append(await request.json())
            return JSONResponse({"url": f"{request.base_url}datasets/org/name", "name": "org/name"})

        async def preupload(request: Request) -> Response:
            files = (await request.json())["files"]
            return JSONResponse(
                {"files": [{"path": item["path"], "uploadMode": "regular", "shouldIgnore": False} for item in files]}
            )

        async def commit(request: Request) -> Response:
            self.tokens.add(request.headers.get("authorization"))
            for line in (await request.body()).splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    self.files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            return JSONResponse(
                {"success": True, "commitOid": "0" * 40, "commitUrl": f"{request.base_url}datasets/org/name/commit/0"}
            )

        async def fine(request: Request) -> Response:
            return JSONResponse({"errors": [], "warnings": [], "sha": "0" * 40, "id": "org/name", "siblings": []})

        return Starlette(
            routes=[
                Route("/api/repos/create", create, methods=["POST"]),
                Route("/api/validate-yaml", fine, methods=["POST"]),
                Route("/api/datasets/org/name/preupload/main", preupload, methods=["POST"]),
                Route("/api/datasets/org/name/commit/main", commit, methods=["POST"]),
                Route("/api/datasets/org/name{rest:path}", fine, methods=["GET"]),
            ]
        )


@pytest.fixture
def hub() -> Iterator[tuple[Hub, str]]:
    state = Hub()
    server = uvicorn.Server(uvicorn.Config(state.app(), host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield state, f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


def push(home: Path, endpoint: str, token: str | None = TOKEN) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name not in ("HF_TOKEN", "HF_HUB_OFFLINE")}
    env |= {
        "WEBINSTRUCT_HOME": str(home),
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home / "hf"),
        "NO_PROXY": "127.0.0.1",
    }
    if token:
        env["HF_TOKEN"] = token
    command = [sys.executable, "-m", "webinstruct_assets.cli", "push", "--snapshot", "local-demo", "--repo", "org/name"]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_a_release_is_sent_as_it_is(home: Path, hub: tuple[Hub, str]) -> None:
    state, endpoint = hub
    ws = Workspace.open(home)
    assert "webinstruct_release/local-demo, which has not been materialized" in push(home, endpoint).stderr
    row = filled(WEBINSTRUCT, id="wi-1", parent_id="rq-1", question="Why?", answer="So.", subject="Other", source_type="other",
                 level="secondary", domain="x.example", url="https://x.example/")  # fmt: skip
    publish(ws, WEBINSTRUCT, SNAPSHOT, [row])
    execute(WEBINSTRUCT_RELEASE, SNAPSHOT, ws, log=print, run_id="test")
    # The test's dataset was made from nothing, which is not what the real stage would do: not up to date, so refused.
    assert "is not up to date" in push(home, endpoint).stderr and state.files == {}


@pytest.mark.llm
@pytest.mark.timeout(1800)
def test_the_demo_is_sent_as_it_is(demo_home: Path, hub: tuple[Hub, str]) -> None:
    state, endpoint = hub
    assert "no credentials" in push(demo_home, endpoint, token=None).stderr and state.created == []
    answer = push(demo_home, endpoint)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip().endswith("/datasets/org/name/commit/0")
    ws = Workspace.open(demo_home)
    manifest = ws.lake.require(WEBINSTRUCT_RELEASE.ref(SNAPSHOT), "test")
    sent = {name: hashlib.sha256(data).hexdigest() for name, data in state.files.items()}
    assert sent == {part.file: part.sha256 for part in manifest.files}
    assert state.created[0]["type"] == "dataset" and state.tokens == {f"Bearer {TOKEN}"}
    assert TOKEN not in answer.stdout + answer.stderr
