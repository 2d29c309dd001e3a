"""The second sift over domains."""

import dagster as dg

from webinstruct_assets.assets.plots import domain_rates
from webinstruct_assets.assets.publishing import face, materialize
from webinstruct_assets.assets.round1_domains import round1_domains
from webinstruct_assets.assets.round1_recall import round1_recall
from webinstruct_assets.assets.round2_recall import round2_recall
from webinstruct_assets.partitions import SNAPSHOT
from webinstruct_assets.resources import WorkspaceResource
from webinstruct_assets.stages.recall.round2_domains import ROUND2_DOMAINS


@dg.asset(
    partitions_def=SNAPSHOT,
    deps=[round1_recall, round1_domains, round2_recall],
    **face(ROUND2_DOMAINS, kinds={"parquet", "llm"}, pool="gpu"),
)
def round2_domains(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
    """Domains of the second recall, judged again (paper: GPT-4)."""
    return materialize(context, workspace, ROUND2_DOMAINS, plot=domain_rates)
