"""What an asset's page shows: its columns, and of a materialization counts, rejects by reason, plot, a few rows, parents.

Page text is untrusted: everything that reaches Markdown is escaped. Metadata lives in the event log, so it
stays small.
"""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from webinstruct_assets.core import markdown
from webinstruct_assets.core.config import read_yaml
from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.lake import manifest_name, ref_of
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.stage import Stage
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.review.filters import COLUMNS, on_gold, on_replies, recorded, replies_folder, table_rows

SAMPLE_ROWS = 5
CELL_CHARACTERS = 160


def cell(value: Any) -> str:
    """A value as inert Markdown table text: no HTML, no links or images, no row or column breaks."""
    text = " ".join((value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)).split())
    return markdown.inert(text if len(text) <= CELL_CHARACTERS else text[: CELL_CHARACTERS - 1] + "…")


def table(frame: pl.DataFrame) -> str:
    """A frame as a Markdown table of inert cells; *none* for one without rows."""
    if frame.is_empty():
        return "*none*"
    return markdown.table([cell(name) for name in frame.columns], (list(map(cell, row)) for row in frame.iter_rows()))


@cache
def _meanings() -> dict[str, str]:
    return dict(read_yaml(Path(__file__).with_name("columns.yaml")))


def columns(stage: Stage) -> dg.TableSchema:
    """The columns of an asset with their types and meanings (``columns.yaml``)."""
    told = {
        f"{name}{end}": f"{text}{of}"
        for name, text in _meanings().items()
        for end, of in (
            ("", ""),
            ("_low", ": lower end of its 95 % interval"),
            ("_high", ": upper end of its 95 % interval"),
        )
    }
    return dg.TableSchema(
        [
            dg.TableColumn(name, str(kind), description=told.get(f"{stage.asset}.{name}", told.get(name)))
            for name, kind in stage.schema.items()
        ]
    )


def metadata_of(
    ws: Workspace, stage: Stage, manifest: Manifest, plot: str | None, more: dict[str, Any]
) -> dict[str, Any]:
    """Everything shown on a materialization's page. ``more``: what only this asset shows."""
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
        "rows_in": manifest.rows_in,
        "rows": manifest.rows,
        "rejected": manifest.rejected_total,
        "rejected_by_reason": dg.MetadataValue.md(table(rejected)),
        "seconds": manifest.seconds,
        **({"note": manifest.metrics["note"]} if manifest.metrics.get("note") else {}),
        **({"plot": dg.MetadataValue.md(plot)} if plot else {}),
        **({"sample": dg.MetadataValue.md(table(sample(ws, manifest)))} if manifest.rows and manifest.parts else {}),
        **({"reuses": manifest.reuses} if manifest.reuses else {}),
        **more,
        **{
            name: dg.MetadataValue.md(table(pl.DataFrame(value)))
            for name, value in manifest.metrics.items()
            if isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value)
        },
        "parents": dg.MetadataValue.md(table(parents)),
        "manifest": dg.MetadataValue.path(ws.lake.address(manifest_name(ref_of(manifest)))),
        "metrics": dg.MetadataValue.json(manifest.metrics),
        **{
            f"metric/{name}": _number(value)
            for name, value in manifest.metrics.items()
            if isinstance(value, int | float)
        },
    }


def _number(value: float) -> float:
    return float(f"{value:.6g}") if isinstance(value, float) else value


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
    """The first rows of the first non-empty part, without spans and columns that these rows leave empty."""
    for part in manifest.parts:
        if part.rows:
            (path,) = ws.lake.fetched(manifest, [part])  # of a bucket, no more than this one
            frame = pl.read_parquet(path, n_rows=SAMPLE_ROWS, hive_partitioning=False)
            long = [name for name in frame.columns if name.endswith("_spans") or name == "markup_pairs"]
            empty = [column.name for column in frame if all(value in (None, "", []) for value in column.to_list())]
            return frame.drop([*long, *(name for name in empty if name not in long)])
    return pl.DataFrame()
