"""Fixtures that every test may use: a workspace of its own, and where the shared real data lies."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from webinstruct_assets.core.workspace import PROJECT_ROOT, Workspace

SHARED_REAL = PROJECT_ROOT.parent / "shared/real"


def make_home(root: Path) -> Path:
    """A project root with its own config and lake; sources, converted models and LLM servers are the checkout's.

    Models and servers are shared so that a session converts once and tests meet a server that is up; answered
    requests are not, so every test asks the model itself.
    """
    shutil.copytree(PROJECT_ROOT / "config", root / "config")
    for name in ("dagster.yaml", "workspace.yaml"):
        (root / name).symlink_to(PROJECT_ROOT / name)
    (root / "data").mkdir()
    for name in ("models", "llm/servers"):
        (PROJECT_ROOT / "data" / name).mkdir(parents=True, exist_ok=True)
    (root / "data/llm").mkdir()
    for name in ("demo", "benchmarks", "models", "llm/servers"):
        (root / "data" / name).symlink_to(PROJECT_ROOT / "data" / name)
    return root


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A fresh project root."""
    return make_home(tmp_path / "home")


@pytest.fixture
def workspace(home: Path) -> Workspace:
    """The demo environment in a fresh root with an empty lake."""
    return Workspace.open(home)


@pytest.fixture(scope="session")
def shared_real() -> Path:
    """Real data that lies beside a checkout; tests on it are skipped where it is absent."""
    if not SHARED_REAL.exists():
        pytest.skip("no ../shared/real beside this checkout")
    return SHARED_REAL


def webinstruct(home: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs the console script as a user would, on a root of its own."""
    command = [sys.executable, "-m", "webinstruct_assets.cli", *arguments]
    answer = subprocess.run(
        command,
        env={**os.environ, "WEBINSTRUCT_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    if check and answer.returncode:
        raise AssertionError(
            f"webinstruct {' '.join(arguments)} ended with {answer.returncode}:\n{answer.stdout[-4000:]}\n{answer.stderr[-4000:]}"
        )
    return answer


def rows_of(home: Path, query: str) -> list[dict[str, Any]]:
    """``webinstruct sql --json``."""
    return json.loads(webinstruct(home, "sql", "--json", query).stdout)


@pytest.fixture(scope="session")
def demo_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole demo, once per session: every stage on its real engine."""
    home = make_home(tmp_path_factory.mktemp("demo") / "home")
    answer = webinstruct(home, "demo")
    print(answer.stdout[-6000:])
    return home
