"""The first round's domains."""

import dagster as dg

from webinstruct_assets.assets.plots import domain_rates
from webinstruct_assets.assets.publishing import face, materialize
from webinstruct_assets.assets.round1_recall import round1_recall
from webinstruct_assets.partitions import SNAPSHOT
from webinstruct_assets.resources import WorkspaceResource
from webinstruct_assets.stages.recall.round1_domains import ROUND1_DOMAINS


@dg.asset(
    partitions_def=SNAPSHOT,
    deps=[round1_recall],
    **face(ROUND1_DOMAINS, kinds={"parquet", "llm"}, pool="gpu"),
)
def round1_domains(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
    """Domains of the first recall, judged by allow-list, recall rate and, for the rest, the LLM (paper: GPT-3.5)."""
    return materialize(context, workspace, ROUND1_DOMAINS, plot=domain_rates)
