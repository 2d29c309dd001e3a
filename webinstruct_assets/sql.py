"""DuckDB over the lake: one view per asset with its partition keys as columns, plus ``rejects`` and ``manifests``.

Views list exactly the files that manifests publish; a partition that reuses another's data adds no rows.
"""

import re
from collections.abc import Iterable
from pathlib import Path

import duckdb

from webinstruct_assets.core.errors import BadManifest
from webinstruct_assets.core.keys import Ref
from webinstruct_assets.core.lake import REJECT_SCHEMA
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.stage import Stage
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.graph import BY_ASSET, STAGES


class Database:
    """An in-memory database with all views. One is filled when a query first names it: parts may have to be fetched."""

    def __init__(self, ws: Workspace):
        self._ws = ws
        self._connection = duckdb.connect()
        self.unreadable: dict[Ref, BadManifest] = {}  # partitions that are in no view
        self._manifests = {stage.asset: ws.lake.manifests(stage.asset, self.unreadable) for stage in STAGES}
        self._open = {*self._manifests, "rejects"}
        for stage in STAGES:
            self._connection.execute(f"CREATE VIEW {stage.asset} AS {_empty(stage)}")
        empty = ", ".join(f"NULL::VARCHAR AS {name}" for name in ("asset", "partition", *REJECT_SCHEMA))
        self._connection.execute(f"CREATE VIEW rejects AS SELECT {empty} WHERE false")
        self._connection.execute(
            "CREATE TABLE manifests (asset VARCHAR, partition VARCHAR, rows_in BIGINT, rows BIGINT, rejected BIGINT,"
            " metrics JSON, code_version VARCHAR, data_version VARCHAR, finished_at TIMESTAMPTZ)"
        )
        published = [_summary(manifest) for manifests in self._manifests.values() for manifest in manifests]
        if published:
            self._connection.executemany("INSERT INTO manifests VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", published)

    def sql(self, query: str) -> duckdb.DuckDBPyRelation | None:
        """The query's result; None for a statement that has none. Raises duckdb.Error."""
        for view in sorted(self._open & set(re.findall(r"\w+", query.lower()))):
            selects = self._rejects() if view == "rejects" else self._rows(view)
            if selects:
                self._connection.execute(f"CREATE OR REPLACE VIEW {view} AS {' UNION ALL BY NAME '.join(selects)}")
            self._open.remove(view)
        return self._connection.sql(query)

    def _rows(self, asset: str) -> list[str]:
        selects = []
        for manifest in self._manifests[asset]:
            if paths := self._ws.lake.part_paths(manifest):
                schema = BY_ASSET[asset].schema
                keys = "".join(
                    f", {quote(value)} AS {name}" for name, value in manifest.keys.items() if name not in schema
                )
                selects.append(f"SELECT *{keys} FROM {scan(paths)}")
        return selects

    def _rejects(self) -> list[str]:
        return [
            f"SELECT {quote(asset)} AS asset, {quote(manifest.partition)} AS partition,"
            f" id, parent_id, reason, detail FROM {scan(paths)}"
            for asset, manifests in self._manifests.items()
            for manifest in manifests
            if (paths := self._ws.lake.reject_paths(manifest))
        ]


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
