"""Asset ``funnel``: crawl → recalled → pages → pairs → clean → refined of one snapshot, a row per partition.

In: manifests of whatever the snapshot has of these, its recall at least; as more is materialized the funnel is stale.
Out, columns: ``id``, ``parent_id`` ("": a step has no one row above it), ``step`` (its place in the flow), ``asset``,
``partition``, ``records_in``, ``rows_out``, ``rejected``. What the steps cost stands in the metrics only: it differs from
run to run.
"""

from collections.abc import Sequence

import polars as pl

from webinstruct_assets.core.config import settings_of
from webinstruct_assets.core.cost import cost_of_build
from webinstruct_assets.core.ids import row_id
from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.stage import Job, Stage, Unit
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.release.steps import AFTER_RECALL, order, rejected, steps

PREFIX = "fu"
SCHEMA: dict[str, pl.DataType] = {
    "id": pl.String(),
    "parent_id": pl.String(),
    "step": pl.Int32(),
    "asset": pl.String(),
    "partition": pl.String(),
    "records_in": pl.Int64(),
    "rows_out": pl.Int64(),
    "rejected": pl.Int64(),
}


def refs(ws: Workspace, snapshot: str) -> list[Ref]:
    """Partitions that a snapshot's funnel counts, in data-flow order, whether they are there or not."""
    key = PartitionKey.of({"snapshot": snapshot})
    found = [Ref(f"round{ws.config.recall.rounds}_recall", key)]
    for asset in AFTER_RECALL:
        if asset == "refined_qa":
            found += [
                Ref(asset, PartitionKey.of({"snapshot": snapshot, "refiner": refiner}))
                for refiner in ws.config.refiners
            ]
        else:
            found.append(Ref(asset, key))
    return found


def counted(ws: Workspace, snapshot: str) -> list[Manifest]:
    """Manifests of the snapshot's funnel that are there and readable; one that reuses another's data is counted as that."""
    found = [manifest for ref in refs(ws, snapshot) if (manifest := ws.lake.readable(ref))]
    return [ws.lake.source(manifest, "funnel") for manifest in found]


def run(job: Job) -> None:
    """Counts what the manifests say."""
    manifests = [job.ws.lake.source(manifest, job.stage.asset) for manifest in job.inputs.values()]
    places = order(manifests)
    rows = [
        {
            "id": row_id(PREFIX, item.asset, item.partition, item.data_version),
            "parent_id": "",
            "step": places.index(item.asset),
            "asset": item.asset,
            "partition": item.partition,
            "records_in": item.rows_in,
            "rows_out": item.rows,
            "rejected": item.rejected_total,
        }
        for item in manifests
    ]
    job.unit("steps", lambda: Unit(rows=rows, rows_in=len(manifests)))
    found, prices = steps(manifests), job.ws.config.costs
    job.metrics |= {
        "steps": found,
        "rejects": rejected(manifests),
        "yield": found[-1]["rows_out"] / found[0]["records_in"] if found[0]["records_in"] else 0.0,
        "costs": [
            {
                "asset": item.asset,
                "partition": item.partition,
                "seconds": item.seconds,
                **cost_of_build(item, prices).as_dict(),
            }
            for item in manifests
        ],
    }


def inputs(ws: Workspace, key: PartitionKey) -> Sequence[Ref]:
    """The recall, and what else is there."""
    recall, *others = refs(ws, key["snapshot"])
    return [recall, *(ref for ref in others if ws.lake.manifest(ref))]


FUNNEL = Stage(
    asset="funnel",
    dimensions=("snapshot",),
    whole=True,
    by_profile=True,
    prefix=PREFIX,
    schema=SCHEMA,
    run=run,
    inputs=inputs,
    settings=lambda ws, key: {"prices": settings_of(ws.config.costs)},
    sources=("stages/funnel/*.py", "stages/release/steps.py", "stages/release/chain.py", "core/cost.py"),
)
