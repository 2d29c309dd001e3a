"""A real stage cut into many small units, with a side log of what was computed where; and runs of it to kill.

The stage is ``pages`` itself, on a crawl written here. Around its function stands ``logged``, which appends a line to
the side log, so a test can see each computation, whichever process did it:

    python -m webinstruct_assets_tests.core.engine.program HOME KIND ADDRESS LOG PAUSE
"""

import io
import os
import shutil
import sys
import time
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from webinstruct_assets.core.config import EngineConfig
from webinstruct_assets.core.ids import row_id
from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.stage import Job, Stage, Unit, execute
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.pages import pages
from webinstruct_assets.stages.recall.recalled_urls import RECALLED_URLS
from webinstruct_assets_tests.partitions import publish

KEY = PartitionKey.of({"snapshot": "local-test"})
FILE = "crawl-data/local-test/segments/1/warc/CC-MAIN-1.warc.gz"
PAGES = 192
UNIT_PAGES = 8
UNITS = PAGES // UNIT_PAGES


@dataclass(frozen=True)
class Line:
    """One computation: of which unit, in which process, on which Ray node (empty elsewhere)."""

    unit: str
    pid: int
    node: str


def read_log(log: Path) -> list[Line]:
    """The computations so far, oldest first."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [Line(unit, int(pid), node) for unit, pid, node in (line.split("\t") for line in lines)]


def logged(function: Any, log: Path, pause: float, named: tuple[str, Any]) -> Unit:
    """``function(argument)``, after a line in the side log and ``pause`` seconds."""
    name, argument = named
    ray = sys.modules.get("ray")
    node = ray.get_runtime_context().get_node_id() if ray and ray.is_initialized() else ""
    with log.open("a") as stream:
        stream.write(f"{name}\t{os.getpid()}\t{node}\n")
    time.sleep(pause)
    return function(argument)


def with_engine(ws: Workspace, kind: str, workers: int | None = 2, address: str | None = None) -> Workspace:
    """The same workspace on another engine."""
    engine = EngineConfig.model_validate({"kind": kind, "workers": workers, "address": address})
    files = copy(ws.files)
    files.environment = files.environment.model_copy(update={"engine": engine})
    return replace(ws, files=files)


def stage(log: Path, pause: float = 0.0) -> Stage:
    """The stage ``pages``, its every computation logged."""

    def run(job: Job) -> None:
        plain = job.map

        def map_logged(function: Any, units: Any, **options: Any) -> None:
            plain(partial(logged, function, log, pause), {name: (name, units[name]) for name in units}, **options)

        job.map = map_logged  # type: ignore[method-assign]
        pages.UNIT_PAGES = UNIT_PAGES
        pages.run(job)

    return replace(pages.PAGES, run=run)


def make_crawl(ws: Workspace) -> None:
    """A WARC of ``PAGES`` records, every seventh of them no page, and the partition of ``recalled_urls`` that lists them."""
    from warcio.statusandheaders import StatusAndHeaders
    from warcio.warcwriter import WARCWriter

    from webinstruct_assets.core.warc import payload_digest

    path = Path(ws.crawl_root("local-test")) / FILE
    path.parent.mkdir(parents=True)
    rows = []
    with path.open("wb") as stream:
        writer = WARCWriter(stream, gzip=True)
        for number in range(PAGES):
            url, offset = f"https://site{number}.example/", stream.tell()
            html = f"<html lang=en><title>Page {number}</title><body><h2>What is {number} plus one?</h2><p>It is {number + 1}.</p><h2>Is {number} a number?</h2><p>Yes, it is."
            html += "".join(f"<p>Paragraph {index} about the number {number * index}.</p>" for index in range(30))
            payload = b"%PDF-1.7" if number % 7 == 3 else html.encode()
            headers = StatusAndHeaders("200 OK", [("Content-Type", "text/html; charset=utf-8")], protocol="HTTP/1.1")
            record = writer.create_warc_record(url, "response", payload=io.BytesIO(payload), http_headers=headers)
            writer.write_record(record)
            rows.append({
                "id": row_id("ur", number), "parent_id": "r2-x", "url": url, "domain": f"site{number}.example", "score": 0.9,
                "warc_filename": FILE, "warc_record_offset": offset, "warc_record_length": stream.tell() - offset,
                "content_digest": payload_digest(payload).removeprefix("sha1:"), "fetch_time": "2024-01-01T00:00:00Z",
            })  # fmt: skip
    publish(ws, RECALLED_URLS, KEY, rows)


def build(ws: Workspace, log: Path, pause: float = 0.0) -> Manifest:
    """Runs the stage to its end."""
    return execute(stage(log, pause), KEY, ws, log=lambda line: None, run_id="test")


def rebuilt(ws: Workspace, log: Path, pause: float = 0.0) -> Manifest:
    """Runs the stage from nothing."""
    shutil.rmtree(ws.lake.folder(pages.PAGES.ref(KEY)), ignore_errors=True)
    log.unlink(missing_ok=True)
    return build(ws, log, pause)


def committed(ws: Workspace) -> set[str]:
    """Names of the units that have a ledger entry."""
    entries = ws.lake.folder(pages.PAGES.ref(KEY)).glob("*/unit-*.json")
    return {path.stem.removeprefix("unit-") for path in entries}


def digests(ws: Workspace, manifest: Manifest) -> list[tuple[str, bytes]]:
    """Every published file with its bytes."""
    files = [*manifest.parts, *manifest.rejects, *manifest.files]
    return [(part.file, (ws.lake.data_folder(manifest) / part.file).read_bytes()) for part in files]


def main(home: str, kind: str, address: str, log: str, pause: str) -> None:
    """A run in a process of its own."""
    build(with_engine(Workspace.open(Path(home)), kind, 2, address or None), Path(log), float(pause))


if __name__ == "__main__":
    # Functions of __main__ have no name that a worker could import them by.
    from webinstruct_assets_tests.core.engine import program

    program.main(*sys.argv[1:])
