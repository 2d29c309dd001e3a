"""The second recall."""

import dagster as dg

from webinstruct_assets.assets.crawl_index import crawl_index
from webinstruct_assets.assets.plots import score_histogram
from webinstruct_assets.assets.publishing import face, materialize
from webinstruct_assets.assets.round2_model import round2_model
from webinstruct_assets.partitions import SNAPSHOT
from webinstruct_assets.resources import WorkspaceResource
from webinstruct_assets.stages.recall.round2_recall import ROUND2_RECALL


@dg.asset(
    partitions_def=SNAPSHOT,
    deps=[crawl_index, round2_model],
    **face(ROUND2_RECALL, kinds={"parquet", "fasttext"}),
)
def round2_recall(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
    """Pages of the snapshot that the second model recalls."""
    return materialize(context, workspace, ROUND2_RECALL, plot=score_histogram)
