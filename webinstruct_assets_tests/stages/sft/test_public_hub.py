"""A public set from the hub, by the real client, at its pinned revision: a server on loopback speaks the hub's API."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from webinstruct_assets_tests.services import serving

PINNED, OTHER = "1" * 40, "2" * 40
ROWS = [{"instruction": f"What is {number}?", "output": "A number."} for number in range(5)]
FILES = {PINNED: "\n".join(map(json.dumps, ROWS)).encode(), OTHER: b'{"instruction": "Newer?", "output": "Yes."}'}
NAME = "data.jsonl"
READ = """
import json
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.sft.public_rows import records
print(json.dumps(list(records(Workspace.open(), "trial", lambda line: None))))
"""


def app() -> Starlette:
    async def info(request: Request) -> Response:
        revision = request.path_params.get("revision", OTHER)
        return JSONResponse({"id": "org/name", "sha": revision, "siblings": [{"rfilename": NAME}], "private": False})

    def entry(revision: str) -> dict[str, object]:
        return {"type": "file", "path": NAME, "size": len(FILES[revision]), "oid": revision}

    async def tree(request: Request) -> Response:
        return JSONResponse([entry(request.path_params["revision"])])

    async def paths(request: Request) -> Response:
        asked = (await request.form()).getlist("paths") or (await request.json()).get("paths", [])
        return JSONResponse([entry(request.path_params["revision"])] if NAME in asked else [])

    async def missing(request: Request) -> Response:
        return JSONResponse({"error": "not found"}, 404, {"X-Error-Code": "EntryNotFound"})

    async def file(request: Request) -> Response:
        revision = request.path_params["revision"]
        if request.path_params["path"] != NAME:
            return await missing(request)
        return Response(FILES[revision], headers={"ETag": f'"{revision}"', "X-Repo-Commit": revision})

    api = "/api/datasets/org/name"
    return Starlette(
        routes=[
            Route(api, info),
            Route(f"{api}/revision/{{revision}}", info),
            Route(f"{api}/tree/{{revision}}", tree),
            Route(f"{api}/tree/{{revision}}/{{folder:path}}", missing),
            Route(f"{api}/paths-info/{{revision}}", paths, methods=["POST"]),
            Route("/datasets/org/name/resolve/{revision}/{path:path}", file, methods=["GET", "HEAD"]),
        ]
    )


@pytest.fixture
def hub() -> Iterator[str]:
    with serving(app()) as url:
        yield url


@pytest.mark.slow
def test_rows_of_the_pinned_revision(home: Path, hub: str) -> None:
    config = {"description": "t", "source": "hub:org/name", "pair": {"question": "instruction", "answer": "output"}}
    for revision, rows in ((PINNED, ROWS), (OTHER, [json.loads(FILES[OTHER])])):
        (home / "config/datasets/trial.yaml").write_text(yaml.safe_dump({**config, "revision": revision}))
        env = {name: value for name, value in os.environ.items() if name not in ("HF_TOKEN", "HF_HUB_OFFLINE")}
        env |= {"WEBINSTRUCT_HOME": str(home), "HF_ENDPOINT": hub, "HF_HOME": str(home / "hf"), "NO_PROXY": "127.0.0.1"}
        answer = subprocess.run([sys.executable, "-c", READ], env=env, capture_output=True, text=True, check=False)
        assert answer.returncode == 0, answer.stderr[-2000:]
        assert json.loads(answer.stdout.splitlines()[-1]) == rows
