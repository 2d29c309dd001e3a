"""Benchmark items."""

import dagster as dg

from webinstruct_assets.assets.plots import counted
from webinstruct_assets.assets.publishing import face, materialize
from webinstruct_assets.partitions import BENCHMARK
from webinstruct_assets.resources import WorkspaceResource
from webinstruct_assets.stages.benchmarks.benchmark_items import BENCHMARK_ITEMS


@dg.asset(partitions_def=BENCHMARK, **face(BENCHMARK_ITEMS, kinds={"parquet"}))
def benchmark_items(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
    """Questions, answers and solutions of a benchmark: what evaluation asks and decontamination looks for."""
    return materialize(context, workspace, BENCHMARK_ITEMS, plot=counted("subject", "Items by subject"))
