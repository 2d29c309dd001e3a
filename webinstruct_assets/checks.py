"""Asset checks: conservation, non-emptiness, schema. They re-read what is published, so each can be run alone.

For display and alerts only: across runs Dagster does not stop downstream work on a failed blocking check, so
whatever must not be published is refused inside the stage, before its manifest is written.
"""

import warnings
from collections.abc import Iterator
from typing import Any

import dagster as dg
import polars as pl

from webinstruct_assets.assets.publishing import key_of
from webinstruct_assets.core.stage import Stage
from webinstruct_assets.resources import WorkspaceResource


def checks_of(stage: Stage, partitions_def: dg.PartitionsDefinition[Any]) -> dg.AssetChecksDefinition:
    """The three checks of a stage's asset, one step, per partition."""
    names = ("conservation", "not_empty", "schema")
    with warnings.catch_warnings():  # partitioned checks are marked as preview in 1.13
        warnings.simplefilter("ignore", dg.PreviewWarning)
        specs = [dg.AssetCheckSpec(name, asset=stage.asset, partitions_def=partitions_def) for name in names]

    @dg.multi_asset_check(name=f"{stage.asset}_checks", specs=specs)
    def check(context: dg.AssetCheckExecutionContext, workspace: WorkspaceResource) -> Iterator[dg.AssetCheckResult]:
        ws, key = workspace.open(), key_of(context, stage)
        manifest = ws.lake.require(stage.ref(key), "asset check")
        listed = sum(pl.scan_parquet(path).select(pl.len()).collect().item() for path in ws.lake.reject_paths(manifest))
        balanced = (
            manifest.rows_in == manifest.rows_kept + manifest.rejected_total and listed == manifest.rejected_total
        )
        yield dg.AssetCheckResult(
            check_name="conservation",
            asset_key=stage.asset,
            passed=balanced,
            metadata={
                "rows_in": manifest.rows_in,
                "rows_kept": manifest.rows_kept,
                "rejected": manifest.rejected_total,
                "reject_rows": listed,
            },
        )
        yield dg.AssetCheckResult(
            check_name="not_empty",
            asset_key=stage.asset,
            passed=manifest.rows > 0 or stage.may_be_empty(ws, key),
            metadata={"rows": manifest.rows},
        )
        wrong = [
            path.name for path in ws.lake.part_paths(manifest) if pl.read_parquet_schema(path) != dict(stage.schema)
        ]
        yield dg.AssetCheckResult(
            check_name="schema",
            asset_key=stage.asset,
            passed=not wrong,
            metadata={"parts_with_other_columns": wrong},
        )

    return check
