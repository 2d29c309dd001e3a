"""Provenance of rows that have no row above them, of texts in WET files, and of what is not from the crawl."""

from dataclasses import replace
from typing import Any

import pytest

from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.stage import Job, Stage, Unit, execute
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.benchmarks.benchmark_items import BENCHMARK_ITEMS
from webinstruct_assets.stages.crawl.crawl_index import CRAWL_INDEX
from webinstruct_assets.stages.crawl.source import CrawlSource
from webinstruct_assets.stages.crawl.wet import read_wet, wet_files
from webinstruct_assets.stages.funnel.funnel import FUNNEL
from webinstruct_assets.stages.recall.round2_recall import ROUND2_RECALL
from webinstruct_assets.stages.seeds.seed_set import SEED_SET
from webinstruct_assets.trace import Tracer, origins
from webinstruct_assets_tests.crawls import crawl
from webinstruct_assets_tests.partitions import filled, made

KEY = PartitionKey.of({"snapshot": "local-test"})


def build(ws: Workspace, stage: Stage, key: PartitionKey, rows: list[dict[str, Any]], *above: Stage) -> None:
    """A partition of ``stage`` with these rows, made from that of the stages ``above``."""

    def run(job: Job) -> None:
        job.unit("00000", lambda: Unit(rows=rows, rows_in=len(rows)))

    from_above = replace(made(stage, run), inputs=lambda ws, key: [Ref(item.asset, key) for item in above])
    execute(from_above, key, ws, log=print, run_id="test")


@pytest.fixture
def recalled(workspace: Workspace) -> Workspace:
    """Five pages in a WET file, one of them recalled; a seed set of a page of the user's and one of the crawl's."""
    crawl(workspace, "local-test", [(f"https://site{n}.example/", f"Page number {n}") for n in range(5)], files=1)
    manifest = workspace.lake.require(CRAWL_INDEX.ref(KEY), "test")
    (file,) = wet_files(workspace.lake.read(manifest))
    page = list(read_wet(CrawlSource.of(workspace, "local-test"), file, "r2", []))[3]
    place = {"parent_id": file.id, "offset": page.offset, "url": page.url}
    build(workspace, ROUND2_RECALL, KEY, [filled(ROUND2_RECALL, id="r2-1", date=page.date, **place)], CRAWL_INDEX)
    own = filled(SEED_SET, id="sd-1", source="user:mine.jsonl") | {"offset": None}
    build(workspace, SEED_SET, KEY, [own, filled(SEED_SET, id="sd-2", **place)], CRAWL_INDEX)
    return workspace


def test_a_page_above_recalled_urls_leads_to_its_text_in_a_wet_file(recalled: Workspace) -> None:
    tracer = Tracer(recalled)
    links, [chain] = tracer.provenance("round2_recall/local-test", False)
    assert [link.ref for link in links] == ["round2_recall/local-test", "crawl_index/local-test"]
    place = tracer.warc_record(chain)
    assert place and place["warc_filename"].endswith(".warc.wet.gz") and place["warc_record_length"] is None
    record = tracer.raw_record(place)
    assert record.startswith(b"WARC/1.0") and b"WARC-Type: conversion" in record and b"Page number 3" in record
    assert record.count(b"WARC-Type") == 1 and place["url"].encode() in record


def test_a_row_of_a_whole_has_the_examples_of_its_partition(recalled: Workspace) -> None:
    build(recalled, FUNNEL, KEY, [filled(FUNNEL, id="fu-1")], ROUND2_RECALL)
    tracer = Tracer(recalled)
    links, [own, example] = tracer.provenance("fu-1", False)
    assert [link.ref for link in links] == [f"{name}/local-test" for name in ("funnel", "round2_recall", "crawl_index")]
    assert [step.id for step in own] == ["fu-1"] and example[0].id == "r2-1" and tracer.warc_record(example)
    assert tracer.provenance("funnel/local-test", False) == (links, [example])


def test_examples_are_rows_from_the_crawl_and_what_is_not_says_where_it_begins(recalled: Workspace) -> None:
    tracer = Tracer(recalled)
    assert [chain[0].id for chain in tracer.provenance("seed_set/local-test", False)[1]] == ["sd-2"]
    assert [chain[0].id for chain in tracer.provenance("seed_set/local-test", True)[1]] == ["sd-1", "sd-2"]
    links, chains = tracer.provenance("sd-1", False)
    assert not tracer.warc_record(*chains) and origins(links, chains) == ["seed_set/local-test"]
    items = PartitionKey.of({"benchmark": "demo-stem"})
    build(recalled, BENCHMARK_ITEMS, items, [filled(BENCHMARK_ITEMS, id="bi-1")])
    links, chains = tracer.provenance("benchmark_items/demo-stem", False)
    assert not tracer.warc_record(*chains) and origins(links, chains) == ["benchmark_items/demo-stem"]
