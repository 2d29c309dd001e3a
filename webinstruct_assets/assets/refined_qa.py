"""Refined pairs."""

import dagster as dg

from webinstruct_assets.assets.decontaminated_qa import decontaminated_qa
from webinstruct_assets.assets.deduplicated_qa import deduplicated_qa
from webinstruct_assets.assets.extracted_qa import extracted_qa
from webinstruct_assets.assets.metadata import filters
from webinstruct_assets.assets.pages import pages
from webinstruct_assets.assets.plots import shares
from webinstruct_assets.assets.publishing import face, materialize
from webinstruct_assets.partitions import SNAPSHOT_REFINER
from webinstruct_assets.resources import WorkspaceResource
from webinstruct_assets.stages.refinement.refined_qa import REFINED_QA


@dg.asset(
    partitions_def=SNAPSHOT_REFINER,
    deps=[pages, extracted_qa, decontaminated_qa, deduplicated_qa],
    **face(REFINED_QA, kinds={"parquet", "llm"}, pool="gpu"),
)
def refined_qa(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
    """Pairs refined by one refiner LLM: layout, missing context and reasoning; a changed answer is a reject (paper §2.3)."""
    return materialize(
        context,
        workspace,
        REFINED_QA,
        plot=shares("by_status", "Refined pairs by status"),
        more=filters("defect", "question", "answer", replies=True),
    )
