"""Scores."""

import dagster as dg

from webinstruct_assets.assets.benchmark_items import benchmark_items
from webinstruct_assets.assets.plots import score_bars
from webinstruct_assets.assets.publishing import face, materialize
from webinstruct_assets.assets.trained_checkpoint import trained_checkpoint
from webinstruct_assets.partitions import BENCHMARK_RECIPE
from webinstruct_assets.resources import WorkspaceResource
from webinstruct_assets.stages.evaluation.benchmark_scores import BENCHMARK_SCORES


@dg.asset(
    partitions_def=BENCHMARK_RECIPE,
    deps=[benchmark_items, trained_checkpoint],
    **face(BENCHMARK_SCORES, kinds={"lm-eval", "llm"}, pool="gpu"),
)
def benchmark_scores(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
    """Score of a recipe on a benchmark with its confidence interval, per-item predictions, the base model beside it."""
    return materialize(context, workspace, BENCHMARK_SCORES, plot=score_bars)
