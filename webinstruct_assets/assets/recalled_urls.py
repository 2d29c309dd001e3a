"""Recalled pages with their place in the crawl."""

import dagster as dg

from webinstruct_assets.assets.crawl_index import crawl_index
from webinstruct_assets.assets.publishing import face, materialize
from webinstruct_assets.assets.round2_domains import round2_domains
from webinstruct_assets.assets.round2_recall import round2_recall
from webinstruct_assets.partitions import SNAPSHOT
from webinstruct_assets.resources import WorkspaceResource
from webinstruct_assets.stages.recall.recalled_urls import RECALLED_URLS


@dg.asset(
    partitions_def=SNAPSHOT,
    deps=[crawl_index, round2_recall, round2_domains],
    **face(RECALLED_URLS, kinds={"parquet"}),
)
def recalled_urls(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
    """URL, domain, score, WARC file, offset, length and digest of each recalled page of a selected domain."""
    return materialize(context, workspace, RECALLED_URLS)
