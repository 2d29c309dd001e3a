"""A recipe's training set."""

import dagster as dg

from webinstruct_assets.assets.publishing import face, materialize
from webinstruct_assets.assets.webinstruct import webinstruct
from webinstruct_assets.partitions import RECIPE
from webinstruct_assets.resources import WorkspaceResource
from webinstruct_assets.stages.sft.sft_dataset import SFT_DATASET


@dg.asset(
    partitions_def=RECIPE,
    # A recipe pins its snapshots in its file and reads only those; Dagster has no mapping for that.
    deps=[dg.AssetDep(webinstruct, partition_mapping=dg.AllPartitionMapping())],
    **face(SFT_DATASET, kinds={"parquet"}),
)
def sft_dataset(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
    """Chat-formatted training set of a recipe: its snapshots, refiners, filters and size."""
    return materialize(context, workspace, SFT_DATASET)
