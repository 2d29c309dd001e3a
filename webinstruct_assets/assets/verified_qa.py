"""Pairs whose answer was found again."""

import dagster as dg

from webinstruct_assets.assets.plots import shares
from webinstruct_assets.assets.publishing import face, materialize
from webinstruct_assets.assets.webinstruct import webinstruct
from webinstruct_assets.partitions import SNAPSHOT
from webinstruct_assets.resources import WorkspaceResource
from webinstruct_assets.stages.verification.verified_qa import VERIFIED_QA


@dg.asset(partitions_def=SNAPSHOT, deps=[webinstruct], **face(VERIFIED_QA, kinds={"parquet", "llm"}, pool="gpu"))
def verified_qa(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
    """The verified subset: most of a model's own attempts end in the given answer (optional, off by default)."""
    return materialize(context, workspace, VERIFIED_QA, plot=shares("by_difficulty", "Verified pairs by difficulty"))
