"""Pairs without benchmark items."""

import dagster as dg

from webinstruct_assets.assets.benchmark_items import benchmark_items
from webinstruct_assets.assets.extracted_qa import extracted_qa
from webinstruct_assets.assets.metadata import filters
from webinstruct_assets.assets.pages import pages
from webinstruct_assets.assets.plots import contamination
from webinstruct_assets.assets.publishing import face, materialize
from webinstruct_assets.partitions import SNAPSHOT
from webinstruct_assets.resources import WorkspaceResource
from webinstruct_assets.stages.decontamination.decontaminated_qa import DECONTAMINATED_QA


@dg.asset(
    partitions_def=SNAPSHOT,
    deps=[pages, extracted_qa, dg.AssetDep(benchmark_items, partition_mapping=dg.AllPartitionMapping())],
    **face(DECONTAMINATED_QA, kinds={"parquet"}),
)
def decontaminated_qa(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
    """Pairs left after the 10-gram check against all enabled benchmarks, hits listed (paper §2.2)."""
    return materialize(context, workspace, DECONTAMINATED_QA, plot=contamination, more=filters("contaminated"))
