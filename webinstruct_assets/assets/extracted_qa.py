"""Pairs found in pages."""

from typing import Any

import dagster as dg
import polars as pl

from webinstruct_assets.assets.metadata import table
from webinstruct_assets.assets.pages import pages
from webinstruct_assets.assets.plots import counted
from webinstruct_assets.assets.publishing import face, materialize
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.partitions import SNAPSHOT
from webinstruct_assets.resources import WorkspaceResource
from webinstruct_assets.stages.extraction.extracted_qa import EXTRACTED_QA
from webinstruct_assets.stages.extraction.quality import ACCURACY_COLUMNS, accuracy_rows


@dg.asset(partitions_def=SNAPSHOT, deps=[pages], **face(EXTRACTED_QA, kinds={"parquet", "llm"}, pool="gpu"))
def extracted_qa(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
    """Natural question-answer pairs found in the pages, verbatim spans of their text; pages without one are void (paper §2.2)."""
    return materialize(context, workspace, EXTRACTED_QA, plot=counted("rule", "Pairs by rule"), more=_report)


def _report(ws: Workspace, manifest: Manifest) -> dict[str, Any]:
    """The command that shows pages and pairs side by side, and the accuracy on gold where there is some."""
    command = f"webinstruct report {manifest.keys['snapshot']}"
    rows = list(accuracy_rows(manifest.metrics.get("gold")))
    frame = pl.DataFrame(rows, schema=["of", *ACCURACY_COLUMNS[1:]], orient="row") if rows else None
    return {
        "report": dg.MetadataValue.md(f"Source, text and pairs side by side: `{command}`"),
        **({"accuracy_on_gold": dg.MetadataValue.md(table(frame))} if frame is not None else {}),
    }
