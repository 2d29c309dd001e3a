"""A recipe's training set."""

import dagster as dg

from webinstruct_assets.assets.benchmark_items import benchmark_items
from webinstruct_assets.assets.deduplicated_qa import deduplicated_qa
from webinstruct_assets.assets.pages import pages
from webinstruct_assets.assets.plots import counted
from webinstruct_assets.assets.public_sets import public_sets
from webinstruct_assets.assets.publishing import face, materialize
from webinstruct_assets.assets.webinstruct import webinstruct
from webinstruct_assets.partitions import RECIPE
from webinstruct_assets.resources import WorkspaceResource
from webinstruct_assets.stages.sft.sft_dataset import SFT_DATASET


@dg.asset(
    partitions_def=RECIPE,
    # A recipe pins in its file what it takes, and reads only that; Dagster has no mapping for it.
    deps=[
        dg.AssetDep(asset, partition_mapping=dg.AllPartitionMapping())
        for asset in (webinstruct, deduplicated_qa, pages, public_sets, benchmark_items)
    ],
    **face(SFT_DATASET, kinds={"parquet"}),
)
def sft_dataset(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
    """Chat-formatted training set of a recipe: pages, extracted or refined pairs of its snapshots, and public sets."""
    return materialize(context, workspace, SFT_DATASET, plot=counted("subject", "Conversations by subject"))
