"""Public instruction sets."""

import dagster as dg
import polars as pl

from webinstruct_assets.assets.benchmark_items import benchmark_items
from webinstruct_assets.assets.plots import counted
from webinstruct_assets.assets.publishing import face, materialize
from webinstruct_assets.partitions import DATASET
from webinstruct_assets.resources import WorkspaceResource
from webinstruct_assets.stages.sft.public_sets import PUBLIC_SETS


@dg.asset(
    partitions_def=DATASET,
    deps=[dg.AssetDep(benchmark_items, partition_mapping=dg.AllPartitionMapping())],
    **face(PUBLIC_SETS, kinds={"parquet"}),
)
def public_sets(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
    """Conversations of a public instruction set without benchmark items, for recipes that take them (paper §2.5)."""
    messages = pl.col("messages").list.len()
    return materialize(context, workspace, PUBLIC_SETS, plot=counted(messages, "Conversations by messages"))
