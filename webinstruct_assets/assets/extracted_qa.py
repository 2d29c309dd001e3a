"""Pairs found in pages."""

import dagster as dg

from webinstruct_assets.assets.pages import pages
from webinstruct_assets.assets.plots import shares
from webinstruct_assets.assets.publishing import face, materialize
from webinstruct_assets.partitions import SNAPSHOT
from webinstruct_assets.resources import WorkspaceResource
from webinstruct_assets.stages.extraction.extracted_qa import EXTRACTED_QA


@dg.asset(partitions_def=SNAPSHOT, deps=[pages], **face(EXTRACTED_QA, kinds={"parquet", "llm"}, pool="gpu"))
def extracted_qa(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
    """Natural question-answer pairs found in the pages, verbatim spans of their text; pages without one are void (paper §2.2)."""
    return materialize(context, workspace, EXTRACTED_QA, plot=shares("pairs_by_rule", "Pairs by rule"))
