"""The asset ``recalled_urls``: index files as units, pages that no index holds, servers that go away in between."""

import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from webinstruct_assets.core.errors import Unavailable, UnitsFailed
from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.stage import Unit, execute
from webinstruct_assets.core.workspace import PROJECT_ROOT, Workspace
from webinstruct_assets.stages.crawl.crawl_index import CRAWL_INDEX
from webinstruct_assets.stages.crawl.demo import build_demo_crawl
from webinstruct_assets.stages.crawl.source import CrawlSource
from webinstruct_assets.stages.recall import recalled_urls
from webinstruct_assets.stages.recall.recalled_urls import RECALLED_URLS
from webinstruct_assets.stages.recall.scan import SCHEMA as RECALL_SCHEMA

KEY = PartitionKey.of({"snapshot": "local-demo"})


def split_index(root: Path, parts: int) -> pl.DataFrame:
    """Makes the demo's index of several files, as a real one is; returns its rows."""
    import gzip

    source = CrawlSource(str(root))
    (path,) = source.file_list("local-demo", "cc-index-table")
    rows = pl.read_parquet(root / path, hive_partitioning=False)
    size = -(-rows.height // parts)
    paths = [path.replace("part-00000", f"part-{number:05d}") for number in range(parts)]
    for number, name in enumerate(paths):
        rows.slice(number * size, size).write_parquet(root / name, compression="gzip")
    listing = root / "crawl-data/local-demo/cc-index-table.paths.gz"
    listing.write_bytes(gzip.compress("".join(f"{name}\n" for name in paths).encode(), mtime=0))
    return rows


def test_units_conservation_and_resumption(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(workspace.crawl_root("local-demo"))
    shutil.rmtree(root, ignore_errors=True)
    build_demo_crawl(PROJECT_ROOT / "data/demo", root)
    index = split_index(root, 3)
    captured = index.select(
        "url", pl.col("warc_filename").alias("warc_path"),
        pl.col("fetch_time").dt.strftime("%Y-%m-%dT%H:%M:%SZ").alias("date"),
    ).to_dicts()  # fmt: skip
    pages: list[dict[str, Any]] = []
    for number, capture in enumerate(captured[::5]):
        pages.append({**capture, "domain": "no.example" if number % 10 == 0 else "yes.example"})
    pages.append({**captured[0], "date": "2001-01-01T00:00:00Z", "domain": "yes.example"})
    pages.append({**captured[0], "url": "https://gone.example/", "domain": "yes.example"})
    for number, page in enumerate(pages):
        page |= {"id": f"r2-{number}", "parent_id": "ci-x", "title": "", "score": 0.5, "offset": 0, "text": ""}

    def give(asset: str, schema: dict[str, Any], rows: list[dict[str, Any]]) -> None:
        from dataclasses import replace

        stage = replace(
            RECALLED_URLS, asset=asset, prefix="x", schema=schema, inputs=lambda ws, key: [],
            run=lambda job: job.unit("rows", lambda: Unit(rows=rows, rows_in=len(rows))),
        )  # fmt: skip
        execute(stage, KEY, workspace, log=print, run_id="t")

    execute(CRAWL_INDEX, KEY, workspace, log=print, run_id="t")
    give("round2_recall", dict(RECALL_SCHEMA), pages)
    domains = {"id": pl.String(), "parent_id": pl.String(), "domain": pl.String(), "selected": pl.Boolean()}
    give("round2_domains", domains, [
        {"id": "d-1", "parent_id": "", "domain": "yes.example", "selected": True},
        {"id": "d-2", "parent_id": "", "domain": "no.example", "selected": False},
    ])  # fmt: skip

    real, asked = recalled_urls.lookup, []

    def away(source: CrawlSource, path: str, wanted: pl.DataFrame) -> pl.DataFrame:
        asked.append(path)
        if "part-00001" in path and len(asked) <= 3:
            raise Unavailable("the server does not answer", "wait")
        return real(source, path, wanted)

    monkeypatch.setattr(recalled_urls, "lookup", away)
    with pytest.raises(UnitsFailed, match="1 of 3 units failed"):
        execute(RECALLED_URLS, KEY, workspace, log=print, run_id="t")
    assert len(asked) == 3  # one that is away does not stop the others
    manifest = execute(RECALLED_URLS, KEY, workspace, log=print, run_id="t")
    assert [path for path in asked[3:] if "part-00001" not in path] == []  # and only that one is asked again
    assert len(asked) == 4
    rows = workspace.lake.read(manifest)
    dropped = sum(page["domain"] == "no.example" for page in pages)
    assert manifest.rejected == {"domain_not_selected": dropped, "not_in_index": 2}
    assert manifest.rows_in == len(pages) == rows.height + dropped + 2
    assert rows["id"].is_unique().all()
    place = {(row["url"], row["warc_filename"]): row for row in index.iter_rows(named=True)}
    for row in rows.iter_rows(named=True):
        truth = place[row["url"], row["warc_filename"]]
        assert row["warc_record_offset"] == truth["warc_record_offset"]
        assert row["content_digest"] == truth["content_digest"]
    assert manifest.metrics["index_files"] == 3
