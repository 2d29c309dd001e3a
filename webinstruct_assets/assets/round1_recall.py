"""The first recall."""

import dagster as dg

from webinstruct_assets.assets.crawl_index import crawl_index
from webinstruct_assets.assets.fasttext_model import fasttext_model
from webinstruct_assets.assets.plots import score_histogram
from webinstruct_assets.assets.publishing import face, materialize
from webinstruct_assets.partitions import SNAPSHOT
from webinstruct_assets.resources import WorkspaceResource
from webinstruct_assets.stages.recall.round1_recall import ROUND1_RECALL


@dg.asset(
    partitions_def=SNAPSHOT,
    deps=[crawl_index, fasttext_model],
    **face(ROUND1_RECALL, kinds={"parquet", "fasttext"}),
)
def round1_recall(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
    """Pages of the snapshot that the first model recalls; they only serve to train the second (paper §2.1)."""
    return materialize(context, workspace, ROUND1_RECALL, plot=score_histogram)
