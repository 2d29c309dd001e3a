"""Page text."""

import dagster as dg

from webinstruct_assets.assets.plots import shares
from webinstruct_assets.assets.publishing import face, materialize
from webinstruct_assets.assets.recalled_urls import recalled_urls
from webinstruct_assets.partitions import SNAPSHOT
from webinstruct_assets.resources import WorkspaceResource
from webinstruct_assets.stages.pages.pages import PAGES


@dg.asset(partitions_def=SNAPSHOT, deps=[recalled_urls], **face(PAGES, kinds={"parquet"}))
def pages(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
    """Cleaned text of the recalled pages: mathematics as TeX, boilerplate dropped, marked-up pairs kept with their spans."""
    return materialize(context, workspace, PAGES, plot=shares("dropped_by_reason", "Blocks dropped by reason"))
