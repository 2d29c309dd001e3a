"""The report of all results."""

import base64
from typing import Any

import dagster as dg

from webinstruct_assets.assets.benchmark_scores import benchmark_scores
from webinstruct_assets.assets.plots import MAX_BYTES
from webinstruct_assets.assets.publishing import face, materialize
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.resources import WorkspaceResource
from webinstruct_assets.stages.results.results_report import RESULTS_REPORT

MAX_FIGURES = 8  # in the event log; the others are in the HTML file


@dg.asset(deps=[benchmark_scores], **face(RESULTS_REPORT, kinds={"markdown", "html"}))
def results_report(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
    """Tables and figures of the paper from whatever scores there are, with differences between data versions and costs."""
    return materialize(context, workspace, RESULTS_REPORT, more=_shown)


def _shown(ws: Workspace, manifest: Manifest) -> dict[str, Any]:
    pictures = []
    for name in manifest.metrics["figures"]:
        for kind, mime in (("png", "image/png"), ("svg", "image/svg+xml")):
            data = ws.lake.file(manifest, f"{name}.{kind}").read_bytes()
            if len(data) <= MAX_BYTES:
                pictures.append(f"![{name}](data:{mime};base64,{base64.b64encode(data).decode()})")
                break
    text = ws.lake.file(manifest, "report.md").read_text(encoding="utf-8")
    return {
        "report": dg.MetadataValue.path(ws.lake.file_address(manifest, "report.html")),
        "figures_shown": dg.MetadataValue.md("\n\n".join(pictures[:MAX_FIGURES])),
        "tables": dg.MetadataValue.md(text if len(text) <= MAX_BYTES else text[:MAX_BYTES].rpartition("\n### ")[0]),
    }
