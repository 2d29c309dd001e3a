"""A snapshot's funnel, from the manifests of whatever it has."""

import dagster as dg

from webinstruct_assets.assets.decontaminated_qa import decontaminated_qa
from webinstruct_assets.assets.deduplicated_qa import deduplicated_qa
from webinstruct_assets.assets.extracted_qa import extracted_qa
from webinstruct_assets.assets.later_rounds import LAST
from webinstruct_assets.assets.pages import pages
from webinstruct_assets.assets.plots import snapshot_funnel
from webinstruct_assets.assets.publishing import face, materialize
from webinstruct_assets.assets.recalled_urls import recalled_urls
from webinstruct_assets.assets.refined_qa import refined_qa
from webinstruct_assets.assets.webinstruct import webinstruct
from webinstruct_assets.partitions import SNAPSHOT
from webinstruct_assets.resources import WorkspaceResource
from webinstruct_assets.stages.funnel.funnel import FUNNEL


@dg.asset(
    partitions_def=SNAPSHOT,
    deps=[LAST.recall, recalled_urls, pages, extracted_qa, decontaminated_qa, deduplicated_qa, refined_qa, webinstruct],
    **face(FUNNEL, kinds={"parquet"}),
)
def funnel(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
    """Crawl to recalled, pages, pairs, clean and refined: records in, rows out, rejects by reason, and cost per step."""
    return materialize(context, workspace, FUNNEL, plot=snapshot_funnel)
