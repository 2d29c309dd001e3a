"""Recalled pages with their place in the crawl."""

import dagster as dg

from webinstruct_assets.assets.crawl_index import crawl_index
from webinstruct_assets.assets.later_rounds import LAST
from webinstruct_assets.assets.plots import recall_funnel
from webinstruct_assets.assets.publishing import face, materialize
from webinstruct_assets.partitions import SNAPSHOT
from webinstruct_assets.resources import WorkspaceResource
from webinstruct_assets.stages.recall.recalled_urls import RECALLED_URLS


@dg.asset(
    partitions_def=SNAPSHOT,
    deps=[crawl_index, LAST.recall, LAST.domains],
    **face(RECALLED_URLS, kinds={"parquet"}),
)
def recalled_urls(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
    """URL, domain, score, WARC file, offset, length and digest of each recalled page of a selected domain."""
    return materialize(context, workspace, RECALLED_URLS, plot=recall_funnel)
