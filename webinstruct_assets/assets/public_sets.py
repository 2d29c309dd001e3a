"""Public instruction sets."""

import dagster as dg

from webinstruct_assets.assets.benchmark_items import benchmark_items
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
    return materialize(context, workspace, PUBLIC_SETS)
