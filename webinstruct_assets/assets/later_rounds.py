"""Recall rounds after the second, as many as the environment asks for (``recall.rounds``)."""

import dagster as dg

from webinstruct_assets.assets.plots import counted, domain_rates, score_histogram
from webinstruct_assets.assets.publishing import Plot, face, materialize
from webinstruct_assets.core.stage import Stage
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.partitions import SNAPSHOT
from webinstruct_assets.resources import WorkspaceResource
from webinstruct_assets.stages.recall.later_stages import later_stages
from webinstruct_assets.stages.recall.rounds import Round, last_round

LAST = last_round(Workspace.open())
STOP = "Stands for the round before once that one's pages had been collected already (DeepSeekMath)."


def _asset(
    stage: Stage, deps: list[str], kinds: set[str], description: str, plot: Plot | None = None, pool: str | None = None
) -> dg.AssetsDefinition:
    @dg.asset(
        partitions_def=SNAPSHOT, deps=deps, description=f"{description} {STOP}", **face(stage, kinds=kinds, pool=pool)
    )
    def build(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
        return materialize(context, workspace, stage, plot=plot)

    return build


later_rounds: list[dg.AssetsDefinition] = []
for number, (labelled, model, recall, domains) in enumerate(later_stages(LAST.number), start=3):
    before = Round(number - 1)
    later_rounds += [
        _asset(
            labelled,
            ["crawl_index", before.recall, before.domains],
            {"parquet"},
            f"Round {number}: pages of selected domains against pages of the others and random pages.",
            counted("source", "Pages by source"),
        ),
        _asset(model, [labelled.asset], {"fasttext"}, f"Round {number}: fastText model.", score_histogram),
        _asset(
            recall,
            ["crawl_index", model.asset],
            {"parquet", "fasttext"},
            f"Round {number}: pages that its model recalls.",
            score_histogram,
        ),
        _asset(
            domains,
            [recall.asset, before.recall, before.domains],
            {"parquet", "llm"},
            f"Round {number}: domains of its pages, judged.",
            domain_rates,
            "gpu",
        ),
    ]
