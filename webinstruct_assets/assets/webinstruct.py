"""The dataset of a snapshot."""

import dagster as dg

from webinstruct_assets.assets.decontaminated_qa import decontaminated_qa
from webinstruct_assets.assets.deduplicated_qa import deduplicated_qa
from webinstruct_assets.assets.extracted_qa import extracted_qa
from webinstruct_assets.assets.pages import pages
from webinstruct_assets.assets.plots import shares
from webinstruct_assets.assets.publishing import face, materialize
from webinstruct_assets.assets.recalled_urls import recalled_urls
from webinstruct_assets.assets.refined_qa import refined_qa
from webinstruct_assets.partitions import SNAPSHOT
from webinstruct_assets.resources import WorkspaceResource
from webinstruct_assets.stages.release.webinstruct import WEBINSTRUCT


@dg.asset(
    partitions_def=SNAPSHOT,
    deps=[recalled_urls, pages, extracted_qa, decontaminated_qa, deduplicated_qa, refined_qa],
    **face(WEBINSTRUCT, kinds={"parquet", "llm"}, pool="gpu"),
)
def webinstruct(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
    """The merged dataset of a snapshot: all refiners pooled, with subject and source type (paper §2.3, §2.4)."""
    return materialize(context, workspace, WEBINSTRUCT, plot=shares("by_subject", "Pairs by subject"))
