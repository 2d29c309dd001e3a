"""What ``webinstruct status`` shows: a row per asset and partition, builds in flight, and a snapshot's funnel.

From manifests, and from the progress files of builds.
"""

from typing import Any

from webinstruct_assets.core.keys import Ref
from webinstruct_assets.core.progress import FILE, Standing, standing_of
from webinstruct_assets.core.stage import Stage
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.graph import STAGES, Selection, State, States, partitions
from webinstruct_assets.stages.funnel.funnel import counted
from webinstruct_assets.stages.release.steps import rejected, steps


def refs_of(ws: Workspace, stage: Stage) -> list[Ref]:
    """The active environment's partitions of an asset, then others that were materialized."""
    refs = [stage.ref(key) for key in partitions(stage, ws, Selection())]
    return refs + [ref for ref in ws.lake.refs(stage.asset) if ref not in refs]


def rows(ws: Workspace, snapshot: str | None = None) -> list[dict[str, Any]]:
    """Partitions of the active environment and whatever else was materialized, in data-flow order.

    Keys: asset, partition, rows, rejected, bytes, code_version, data_version, finished_at, up_to_date,
    reason, taken_down (rows that must go: see ``webinstruct takedown``). Partitions never materialized have nulls.
    """
    states = States(ws)
    answer = []
    for stage in STAGES:
        refs = refs_of(ws, stage)
        if snapshot:
            refs = [
                ref
                for ref in refs
                if ref.key.as_dict().get("snapshot") == snapshot or "snapshot" not in ref.key.as_dict()
            ]
        answer += [row(ws, states.of(ref), ref) for ref in refs]
    return answer


def row(ws: Workspace, state: State, ref: Ref) -> dict[str, Any]:
    """One partition's row."""
    manifest = state.manifest
    return {
        "asset": ref.asset,
        "partition": str(ref.key),
        "rows": manifest.rows if manifest else None,
        "rejected": manifest.rejected_total if manifest else None,
        "bytes": manifest.bytes if manifest else None,
        "code_version": manifest.code_version if manifest else None,
        "data_version": manifest.data_version if manifest else None,
        "finished_at": manifest.finished_at if manifest else None,
        "up_to_date": state.up_to_date if manifest else None,
        "reason": state.reason or None,
        "taken_down": ws.lake.takedowns.rows_in(ref.asset, str(ref.key), manifest.data_version) if manifest else None,
    }


def builds(ws: Workspace) -> list[Standing]:
    """Where everything stands that is being built now; ``label`` is "ASSET PARTITION"."""
    found = (standing_of(path.parent) for path in sorted(ws.lake.root.glob(f"*/**/{FILE}")))
    return [standing for standing in found if standing]


BAR = 30  # characters of a full bar


def funnel(ws: Workspace, snapshot: str) -> list[str]:
    """A line per step of the snapshot's funnel: a bar for the share that it kept, counts, and rejects by reason."""
    manifests = counted(ws, snapshot)
    reasons = rejected(manifests)
    lines = []
    for step in steps(manifests):
        kept = (step["records_in"] - step["rejected"]) / step["records_in"] if step["records_in"] else 0.0
        own = ", ".join(f"{item['reason']} {item['records']:,}" for item in reasons if item["asset"] == step["asset"])
        bar = "█" * round(BAR * kept)
        lines.append(
            f"{step['asset']:<20} {bar:░<{BAR}} {step['records_in']:>11,} in {step['rows_out']:>11,} out"
            + (f"  rejected: {own}" if own else "")
        )
    return lines
