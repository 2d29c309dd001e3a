"""The dataset of a snapshot, as files to publish."""

import base64
from typing import Any

import dagster as dg

from webinstruct_assets.assets.plots import MAX_BYTES, shares
from webinstruct_assets.assets.publishing import face, materialize
from webinstruct_assets.assets.webinstruct import webinstruct
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.partitions import SNAPSHOT
from webinstruct_assets.resources import WorkspaceResource
from webinstruct_assets.stages.release.webinstruct_release import WEBINSTRUCT_RELEASE


@dg.asset(
    partitions_def=SNAPSHOT,
    deps=[webinstruct],
    **face(WEBINSTRUCT_RELEASE, kinds={"parquet", "markdown"}),
)
def webinstruct_release(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
    """Parquet, chat and ShareGPT files with a dataset card; `webinstruct push` sends them to a hub."""
    return materialize(
        context, workspace, WEBINSTRUCT_RELEASE, plot=shares("rows_by_stage", "Rows by stage"), more=_card
    )


def _card(ws: Workspace, manifest: Manifest) -> dict[str, Any]:
    """The dataset card as it will be read, its charts inside the text; without the header that only a hub reads."""
    _, _, text = ws.lake.file(manifest, "README.md").read_text(encoding="utf-8").split("---\n", 2)
    for name in ("subjects.svg", "source_types.svg"):
        chart = base64.b64encode(ws.lake.file(manifest, name).read_bytes()).decode()
        text = text.replace(f"]({name})", f"](data:image/svg+xml;base64,{chart})")
    return {
        "dataset_card": dg.MetadataValue.md(
            text if len(text) <= 2 * MAX_BYTES else text[: 2 * MAX_BYTES].rpartition("\n## ")[0]
        )
    }
