"""DuckDB over the lake: one view per asset with its partition keys as columns, plus ``rejects`` and ``manifests``.

Views list exactly the files that manifests publish; a partition that reuses another's data adds no rows.
"""

from collections.abc import Iterable
from pathlib import Path

import duckdb

from webinstruct_assets.core.lake import REJECT_SCHEMA
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.stage import Stage
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.graph import STAGES


def connect(ws: Workspace) -> duckdb.DuckDBPyConnection:
    """An in-memory database with all views."""
    connection = duckdb.connect()
    rejects = []
    published: list[tuple[str, str, int, int, int, str, str, str, str]] = []
    for stage in STAGES:
        manifests = ws.lake.manifests(stage.asset)
        selects = []
        for manifest in manifests:
            if paths := ws.lake.part_paths(manifest):
                keys = "".join(
                    f", {quote(value)} AS {name}" for name, value in manifest.keys.items() if name not in stage.schema
                )
                selects.append(f"SELECT *{keys} FROM {scan(paths)}")
            if paths := ws.lake.reject_paths(manifest):
                rejects.append(
                    f"SELECT {quote(stage.asset)} AS asset, {quote(manifest.partition)} AS partition,"
                    f" id, parent_id, reason, detail FROM {scan(paths)}"
                )
            published.append(_summary(manifest))
        connection.execute(f"CREATE VIEW {stage.asset} AS {' UNION ALL BY NAME '.join(selects) or _empty(stage)}")
    empty = ", ".join(f"NULL::VARCHAR AS {name}" for name in ("asset", "partition", *REJECT_SCHEMA))
    connection.execute(f"CREATE VIEW rejects AS {' UNION ALL '.join(rejects) or f'SELECT {empty} WHERE false'}")
    connection.execute(
        "CREATE TABLE manifests (asset VARCHAR, partition VARCHAR, rows_in BIGINT, rows BIGINT, rejected BIGINT,"
        " metrics JSON, code_version VARCHAR, data_version VARCHAR, finished_at TIMESTAMPTZ)"
    )
    if published:
        connection.executemany("INSERT INTO manifests VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", published)
    return connection


def _summary(manifest: Manifest) -> tuple[str, str, int, int, int, str, str, str, str]:
    import json

    return (
        manifest.asset,
        manifest.partition,
        manifest.rows_in,
        manifest.rows,
        manifest.rejected_total,
        json.dumps(manifest.metrics),
        manifest.code_version,
        manifest.data_version,
        manifest.finished_at,
    )


def _empty(stage: Stage) -> str:
    """A view without rows, for an asset that nobody materialized yet."""
    import polars as pl

    frame = pl.DataFrame(schema={**stage.schema, **{name: pl.String() for name in stage.dimensions}})
    arrow = frame.to_arrow().schema
    types = {
        "large_string": "VARCHAR",
        "string": "VARCHAR",
        "string_view": "VARCHAR",
        "int64": "BIGINT",
        "int32": "INTEGER",
        "float": "FLOAT",
        "double": "DOUBLE",
        "bool": "BOOLEAN",
    }
    columns = ", ".join(f"NULL::{types.get(str(field.type), 'JSON')} AS {field.name}" for field in arrow)
    return f"SELECT {columns} WHERE false"


def quote(text: str) -> str:
    """A string as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def scan(paths: Iterable[Path]) -> str:
    """DuckDB's reader of exactly these Parquet files (hive columns off: keys come from the manifest)."""
    return f"read_parquet([{', '.join(quote(str(path)) for path in paths)}], hive_partitioning = false)"
