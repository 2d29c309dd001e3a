"""The dataset of a snapshot, as files to publish."""

import dagster as dg

from webinstruct_assets.assets.plots import shares
from webinstruct_assets.assets.publishing import face, materialize
from webinstruct_assets.assets.webinstruct import webinstruct
from webinstruct_assets.partitions import SNAPSHOT
from webinstruct_assets.resources import WorkspaceResource
from webinstruct_assets.stages.release.webinstruct_release import WEBINSTRUCT_RELEASE


@dg.asset(
    partitions_def=SNAPSHOT,
    deps=[webinstruct],
    **face(WEBINSTRUCT_RELEASE, kinds={"parquet", "markdown"}),
)
def webinstruct_release(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
    """Parquet, chat and ShareGPT files with a dataset card; `webinstruct push` sends them to a hub."""
    return materialize(context, workspace, WEBINSTRUCT_RELEASE, plot=shares("rows_by_stage", "Rows by stage"))
