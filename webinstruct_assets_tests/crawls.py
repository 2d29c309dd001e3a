"""A small crawl in a workspace: files made of given pages, and the ``crawl_index`` that lists them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.stage import execute
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.crawl.capture import Capture
from webinstruct_assets.stages.crawl.crawl_index import CRAWL_INDEX
from webinstruct_assets.stages.crawl.writer import building, publish, write_snapshot


def crawl(ws: Workspace, snapshot: str, pages: Sequence[tuple[str, str]], files: int) -> PartitionKey:
    """A snapshot of (url, text) pages in ``files`` WARC/WET pairs, indexed."""
    root = Path(ws.crawl_root(snapshot))
    captures = [
        Capture(url, "2026-01-02T03:04:05Z", (("Content-Type", "text/html; charset=utf-8"),), f"<p>{text}</p>".encode())
        for url, text in pages
    ]
    with building(root, snapshot) as folder:
        write_snapshot(folder, snapshot, captures, files=files)
        publish(folder, root, snapshot, "a test's crawl")
    key = PartitionKey.of({"snapshot": snapshot})
    execute(CRAWL_INDEX, key, ws, log=print, run_id="test")
    return key


def configured(ws: Workspace, **sections: dict[str, Any]) -> Workspace:
    """The workspace with fields of its environment's sections changed, in its file as a user would."""
    path = ws.root / "config/environments/demo.yaml"
    content = yaml.safe_load(path.read_text())
    for section, fields in sections.items():
        content[section] = {**content.get(section, {}), **fields}
    path.write_text(yaml.safe_dump(content))
    return Workspace.open(ws.root)
