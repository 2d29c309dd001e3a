"""Partitions made of given rows, published the way every stage is: the inputs of a stage under test."""

from collections.abc import Callable
from typing import Any

import polars as pl

from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.stage import Job, Stage, Unit, execute
from webinstruct_assets.core.workspace import Workspace


def publish(ws: Workspace, stage: Stage, key: PartitionKey, rows: list[dict[str, Any]]) -> Manifest:
    """A partition of ``stage`` that holds ``rows`` and was made from nothing."""

    def run(job: Job) -> None:
        job.unit("00000", lambda: Unit(rows=rows, rows_in=len(rows)))

    return execute(made(stage, run), key, ws, log=print, run_id="test")


def made(stage: Stage, run: Callable[[Job], None]) -> Stage:
    """``stage`` with another ``run``, made from nothing."""
    return Stage(
        asset=stage.asset, dimensions=stage.dimensions, prefix=stage.prefix, schema=stage.schema, run=run,
        inputs=lambda ws, key: [], settings=lambda ws, key: {}, sources=stage.sources,
    )  # fmt: skip


def filled(stage: Stage, **values: Any) -> dict[str, Any]:
    """A row of ``stage``: empty strings, zeros, False and empty lists where no value is given."""
    empty: dict[Any, Any] = {pl.String: "", pl.Boolean: False}
    return {
        name: values.get(name, empty.get(dtype, 0 if dtype.is_numeric() else []))
        for name, dtype in stage.schema.items()
    }
