"""The demo crawl, built once for all tests of this folder; they only read it."""

from pathlib import Path

import pytest

from webinstruct_assets.core.workspace import PROJECT_ROOT
from webinstruct_assets.stages.crawl.demo import build_demo_crawl


@pytest.fixture(scope="session")
def demo_dir() -> Path:
    return PROJECT_ROOT / "data/demo"


@pytest.fixture(scope="session")
def demo_root(demo_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("crawl")
    build_demo_crawl(demo_dir, root)
    return root
