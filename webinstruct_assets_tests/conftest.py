"""Fixtures that every test may use: a workspace of its own, and where the shared real data lies."""

import shutil
from pathlib import Path

import pytest

from webinstruct_assets.core.workspace import PROJECT_ROOT, Workspace

SHARED_REAL = PROJECT_ROOT.parent / "shared/real"


def make_home(root: Path) -> Path:
    """A project root with its own config and data, and the demo's sources linked in."""
    shutil.copytree(PROJECT_ROOT / "config", root / "config")
    for name in ("dagster.yaml", "workspace.yaml"):
        (root / name).symlink_to(PROJECT_ROOT / name)
    (root / "data").mkdir()
    for name in ("demo", "benchmarks"):
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
