"""What ``webinstruct status`` shows: a row per asset and partition, builds at work, and a snapshot's funnel.

From manifests, and from what builds say of themselves, on whatever machine.
"""

from collections import Counter
from collections.abc import Sequence
from textwrap import wrap
from typing import Any

from webinstruct_assets.core.cost import cost_of_build
from webinstruct_assets.core.keys import Ref
from webinstruct_assets.core.progress import builds
from webinstruct_assets.core.stage import Stage
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.graph import STAGES, Selection, State, States, partitions
from webinstruct_assets.stages.funnel.funnel import counted
from webinstruct_assets.stages.release.steps import rejected, steps


def refs_of(ws: Workspace, stage: Stage, snapshot: str | None = None) -> list[Ref]:
    """The active environment's partitions of an asset, or a snapshot's, then others that were materialized."""
    refs = [stage.ref(key) for key in partitions(stage, ws, Selection(snapshot))]
    return refs + [ref for ref in ws.lake.refs(stage.asset) if ref not in refs]


def rows(ws: Workspace, snapshot: str | None = None) -> list[dict[str, Any]]:
    """Partitions of the active environment and whatever else was materialized, in data-flow order.

    Keys: asset, partition, rows, rejected, bytes, code_version, data_version, finished_at, up_to_date,
    reason, cause (the partition that the reason is about, as ASSET/PARTITION), taken_down (rows that must go: see
    ``webinstruct takedown``). Partitions never materialized have nulls.
    """
    states = States(ws)
    answer = []
    for stage in STAGES:
        refs = refs_of(ws, stage, snapshot)
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
        "cause": None if state.up_to_date else str(state.cause),
        "taken_down": ws.lake.takedowns.rows_in(ref.asset, str(ref.key), manifest.data_version) if manifest else None,
    }


def report(ws: Workspace, snapshot: str | None, width: int) -> list[str]:
    """All of it as text of at most ``width`` columns, where names leave room for that."""
    found, running = rows(ws, snapshot), builds(ws.lake)
    lines = table(found, [standing.label for standing in running], width)
    if causes := why(found):
        lines += ["", "stale:", *_wrapped(causes, width)]
    if running:
        lines += ["", "being built now:", *_wrapped([standing.line() for standing in running], width)]
    for key in [snapshot] if snapshot else ws.config.snapshots:
        if steps := funnel(ws, key, width):
            lines += ["", f"funnel of {key}:", *steps]
    if advice := next_step(ws, found, snapshot):
        lines += ["", *_wrapped([advice], width)]
    return lines


def _wrapped(texts: Sequence[str], width: int) -> list[str]:
    return [line for text in texts for line in wrap(text, width, subsequent_indent="    ", break_long_words=False)]


def table(found: Sequence[dict[str, Any]], building: Sequence[str], width: int) -> list[str]:
    """A line per row; what does not fit into ``width`` is left out: first the time, then the version, then the size."""
    columns = {
        "asset": [row["asset"] for row in found],
        "partition": [row["partition"] for row in found],
        "state": [_state(row, building) for row in found],
        "rows": ["" if row["rows"] is None else f"{row['rows']:,}" for row in found],
        "rejected": ["" if row["rejected"] is None else f"{row['rejected']:,}" for row in found],
        "size": ["" if row["bytes"] is None else _size(row["bytes"]) for row in found],
        "version": [(row["data_version"] or "")[:12] for row in found],
        "finished": [(row["finished_at"] or "")[:16].replace("T", " ") for row in found],
    }
    widths = {name: max(map(len, [name, *cells])) for name, cells in columns.items()}
    for name in ("finished", "version", "size"):
        if sum(widths.values()) + 2 * len(widths) - 2 > width:
            del widths[name]
    lines = []
    for cells in zip(*([name, *columns[name]] for name in widths), strict=True):
        padded = [
            f"{cell:>{widths[name]}}" if name in ("rows", "rejected", "size") else f"{cell:<{widths[name]}}"
            for name, cell in zip(widths, cells, strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    return lines


def _state(row: dict[str, Any], building: Sequence[str]) -> str:
    if f"{row['asset']} {row['partition']}" in building:
        return "building"
    return {True: "up to date", False: "STALE", None: "missing"}[row["up_to_date"]]


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def why(found: Sequence[dict[str, Any]]) -> list[str]:
    """What makes partitions stale, each cause once, with how many others are stale for it."""
    own = {f"{row['asset']}/{row['partition']}".rstrip("/"): row["reason"] for row in found}
    below = Counter(row["cause"] for row in found if row["up_to_date"] is False)
    lines = []
    for cause, count in below.items():
        if cause in own:
            lines.append(f"{cause}: {own[cause]}" + (f" ({count - 1} more below it)" if count > 1 else ""))
        else:  # of another snapshot
            reason = next(row["reason"] for row in found if row["cause"] == cause)
            lines.append(f"{reason} ({count} below it)")
    return lines


def next_step(ws: Workspace, found: Sequence[dict[str, Any]], snapshot: str | None) -> str:
    """What to do about what is missing or stale; "" where all is up to date."""
    if all(row["up_to_date"] for row in found):
        return ""
    snapshots = [snapshot] if snapshot else ws.config.snapshots
    if not snapshots:
        return f"nothing to build: name snapshots in config/environments/{ws.config.environment}.yaml"
    if all(row["up_to_date"] is None for row in found):
        begin = "nothing is built yet; "
        if snapshots == ["local-demo"]:
            return begin + "next: webinstruct demo"
    else:
        begin = ""
    return begin + "next: " + ", ".join(f"webinstruct run --snapshot {key}" for key in snapshots)


def funnel(ws: Workspace, snapshot: str, width: int = 160) -> list[str]:
    """A line per step of the snapshot's funnel: a bar for the share that it kept, counts, cost, and rejects by reason."""
    manifests = counted(ws, snapshot)
    reasons, prices = rejected(manifests), ws.config.costs
    bar = 30 if width >= 120 else 12
    lines = []
    for step in steps(manifests):
        kept = (step["records_in"] - step["rejected"]) / step["records_in"] if step["records_in"] else 0.0
        dollars = sum(cost_of_build(item, prices).dollars for item in manifests if item.asset == step["asset"])
        filled = "█" * round(bar * kept)
        line = (
            f"{step['asset']:<17} {filled:░<{bar}} {kept:>4.0%} {step['records_in']:>11,} in {step['rows_out']:>11,} out"
            f"  ${dollars:.2f}"
        )
        own = ", ".join(f"{item['reason']} {item['records']:,}" for item in reasons if item["asset"] == step["asset"])
        lines += [line, *wrap(own, width, initial_indent=" " * 18, subsequent_indent=" " * 18)]
    return lines
