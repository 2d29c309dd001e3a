"""Metadata of a materialization: counts, rejects by reason, schema, a few rows, links to parents.

Page text is untrusted: everything that reaches Markdown is escaped. Metadata lives in the event log, so it
stays small.
"""

import json
from collections.abc import Callable
from typing import Any

import dagster as dg
import polars as pl

from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.lake import manifest_name, ref_of
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.markdown import inert
from webinstruct_assets.core.stage import Stage
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.review.filters import COLUMNS, on_gold, on_replies, recorded, replies_folder, table_rows

SAMPLE_ROWS = 5
CELL_CHARACTERS = 160


def cell(value: Any) -> str:
    """A value as inert Markdown table text: no HTML, no links or images, no row or column breaks."""
    text = " ".join((value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)).split())
    return inert(text if len(text) <= CELL_CHARACTERS else text[: CELL_CHARACTERS - 1] + "…")


def table(frame: pl.DataFrame) -> str:
    """A frame as a Markdown table of inert cells."""
    lines = ["| " + " | ".join(cell(name) for name in frame.columns) + " |", "|" + " --- |" * frame.width]
    lines += ["| " + " | ".join(cell(value) for value in row) + " |" for row in frame.iter_rows()]
    return "\n".join(lines)


def metadata_of(ws: Workspace, stage: Stage, manifest: Manifest, plot: str | None) -> dict[str, Any]:
    """Everything shown on a materialization's page."""
    schema = dg.TableSchema([dg.TableColumn(name, str(kind)) for name, kind in stage.schema.items()])
    rejected = pl.DataFrame(
        {"reason": list(manifest.rejected), "records": list(manifest.rejected.values())},
        schema={"reason": pl.String, "records": pl.Int64},
    )
    parents = pl.DataFrame(
        [(item.asset, item.partition, item.data_version[:12], item.manifest_sha256[:12]) for item in manifest.inputs],
        schema={name: pl.String for name in ("asset", "partition", "data version", "manifest sha256")},
        orient="row",
    )
    return {
        "dagster/partition_row_count" if stage.dimensions else "dagster/row_count": manifest.rows,
        "dagster/column_schema": schema,
        "rows_in": manifest.rows_in,
        "rows": manifest.rows,
        "rejected": manifest.rejected_total,
        "rejected_by_reason": dg.MetadataValue.md(table(rejected)),
        "seconds": manifest.seconds,
        **({"plot": dg.MetadataValue.md(plot)} if plot else {}),
        **({"sample": dg.MetadataValue.md(table(sample(ws, manifest)))} if manifest.parts else {}),
        **({"reuses": manifest.reuses} if manifest.reuses else {}),
        **{
            name: dg.MetadataValue.md(table(pl.DataFrame(value)))
            for name, value in manifest.metrics.items()
            if isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value)
        },
        "parents": dg.MetadataValue.md(table(parents)),
        "manifest": dg.MetadataValue.path(ws.lake.address(manifest_name(ref_of(manifest)))),
        "metrics": dg.MetadataValue.json(manifest.metrics),
        **{f"metric/{name}": value for name, value in manifest.metrics.items() if isinstance(value, int | float)},
    }


def filters(*reasons: str, replies: bool = False) -> Callable[[Workspace, Manifest], dict[str, Any]]:
    """Metadata ``filters``: what those whose name begins with one of ``reasons`` drop rightly and wrongly.

    On gold, where the snapshot has some; with ``replies`` on recorded replies too.
    """

    def more(ws: Workspace, manifest: Manifest) -> dict[str, Any]:
        rows = on_gold(ws, PartitionKey.of({"snapshot": manifest.keys["snapshot"]}))
        rows += on_replies(recorded(replies_folder(ws))) if replies else []
        cells = list(table_rows(row for row in rows if row["reason"].startswith(reasons)))
        frame = pl.DataFrame(cells, schema=list(COLUMNS), orient="row", strict=False)
        return {"filters": dg.MetadataValue.md(table(frame))} if cells else {}

    return more


def sample(ws: Workspace, manifest: Manifest) -> pl.DataFrame:
    """The first rows of the first non-empty part, spans left out."""
    for path, part in zip(ws.lake.part_paths(manifest), manifest.parts, strict=True):
        if part.rows:
            frame = pl.read_parquet(path, n_rows=SAMPLE_ROWS, hive_partitioning=False)
            return frame.drop([name for name in frame.columns if name.endswith("_spans") or name == "markup_pairs"])
    return pl.DataFrame()
