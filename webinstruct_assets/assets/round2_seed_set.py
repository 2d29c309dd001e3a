"""The second round's training pages."""

import dagster as dg

from webinstruct_assets.assets.crawl_index import crawl_index
from webinstruct_assets.assets.plots import counted
from webinstruct_assets.assets.publishing import face, materialize
from webinstruct_assets.assets.round1_domains import round1_domains
from webinstruct_assets.assets.round1_recall import round1_recall
from webinstruct_assets.partitions import SNAPSHOT
from webinstruct_assets.resources import WorkspaceResource
from webinstruct_assets.stages.recall.round2_seed_set import ROUND2_SEED_SET


@dg.asset(
    partitions_def=SNAPSHOT,
    deps=[crawl_index, round1_recall, round1_domains],
    **face(ROUND2_SEED_SET, kinds={"parquet"}),
)
def round2_seed_set(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
    """Pages of selected domains against pages of the others and random pages (paper §2.1, second round)."""
    return materialize(context, workspace, ROUND2_SEED_SET, plot=counted("source", "Pages by source"))
