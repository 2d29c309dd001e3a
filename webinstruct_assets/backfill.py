"""What the scheduled backfill starts next, from manifests: which steps of which snapshots, within a budget per window.

No Dagster here; ``automation.py`` turns steps into runs and tells what was started before.
"""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta

from webinstruct_assets.core.errors import BadManifest, WebInstructError
from webinstruct_assets.core.keys import SNAPSHOT_PATTERN, PartitionKey, Ref, profile_of
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.graph import BY_ASSET, closure
from webinstruct_assets.stages.crawl.source import CrawlSource
from webinstruct_assets.stages.funnel.funnel import FUNNEL
from webinstruct_assets.stages.release.ancestry import cost
from webinstruct_assets.stages.release.webinstruct_release import WEBINSTRUCT_RELEASE

CONSOLE = logging.getLogger("webinstruct")
SIZED_FILES = 3  # WET files whose size is asked for, to estimate a snapshot's


@dataclass(frozen=True)
class Step:
    """Assets of one partition that can be built in one run: everything above them is there, or among them."""

    partition: str
    assets: tuple[str, ...]


@dataclass(frozen=True)
class Estimate:
    """WET files of a snapshot, their bytes, and dollars by the mined snapshots' price per file (None: none is mined)."""

    files: int
    bytes: int | None
    dollars: float | None


def window_at(window: str | None, now: datetime) -> str | None:
    """The name (date of its start) of the window that ``now`` lies in, None outside. Without a window, of the day."""
    if window is None:
        return f"{now:%Y-%m-%d}"
    start, end = (time.fromisoformat(part) for part in window.split("-"))
    clock = now.time()
    if start <= end:
        return f"{now:%Y-%m-%d}" if start <= clock < end else None
    if clock >= start:
        return f"{now:%Y-%m-%d}"
    return f"{now - timedelta(days=1):%Y-%m-%d}" if clock < end else None


def missing(ws: Workspace, snapshot: str) -> list[Ref]:
    """What has never been published of the snapshot, from its file list to the release, inputs first; then its funnel."""
    key = PartitionKey.of({"snapshot": snapshot})
    refs = [ref for ref in closure(ws, [WEBINSTRUCT_RELEASE.ref(key)], snapshot) if ws.lake.readable(ref) is None]
    # The funnel counts what is there, so it comes when all of it is.
    return refs or [ref for ref in [FUNNEL.ref(key)] if ws.lake.readable(ref) is None]


def steps(ws: Workspace, refs: Sequence[Ref]) -> list[Step]:
    """Which of ``refs`` (inputs first) can be built now, one step per partition."""
    found: dict[str, list[str]] = {}
    for ref in refs:
        together = found.get(str(ref.key), [])
        waiting = [item for item in BY_ASSET[ref.asset].inputs(ws, ref.key) if ws.lake.readable(item) is None]
        if all(item.key == ref.key and item.asset in together for item in waiting):
            found.setdefault(str(ref.key), []).append(ref.asset)
    return [Step(partition, tuple(assets)) for partition, assets in found.items()]


def estimate(ws: Workspace, snapshot: str, *, size: bool) -> Estimate:
    """What mining the snapshot would read, and cost. Sizes are asked of the source where ``size`` is set."""
    source = CrawlSource.of(ws, snapshot)
    paths = source.file_list(snapshot, "wet")
    files = min(len(paths), ws.config.crawl.max_wet_files or len(paths))
    some = paths[:: max(1, len(paths) // SIZED_FILES)][:SIZED_FILES] if size else []
    mean = sum(map(source.size, some)) / len(some) if some else None
    price = dollars_per_file(ws)
    return Estimate(files, None if mean is None else round(mean * files), None if price is None else price * files)


def dollars_per_file(ws: Workspace) -> float | None:
    """What the mined snapshots cost per WET file that they read, by the environment's prices."""
    unreadable: dict[Ref, BadManifest] = {}
    built = [manifest for asset in BY_ASSET for manifest in ws.lake.manifests(asset, unreadable)]
    for error in unreadable.values():
        CONSOLE.warning(f"left out of the price of a snapshot: {error.problem}; {error.fix}")
    released = [manifest.keys["snapshot"] for manifest in built if manifest.asset == WEBINSTRUCT_RELEASE.asset]
    mined = [snapshot for snapshot in released if not profile_of(snapshot)]  # a profile reads no files of its own
    own = [manifest for manifest in built if manifest.keys.get("snapshot") in mined and not manifest.reuses]
    files = sum(manifest.rows for manifest in own if manifest.asset == "crawl_index") // 2  # a WARC file for each
    return float(cost(own, ws.config.costs, 0)["dollars"]) / files if files else None


def choose(
    ws: Workspace, registered: Collection[str], chosen: Sequence[str], failed: Collection[str]
) -> tuple[list[str], str]:
    """Snapshots to work on in this window: those already ``chosen``, and the next unmined ones that the budget has room
    for, oldest first; and in words why no more. One that ``failed`` keeps its place and is left alone until the next window.
    """
    budget = ws.config.backfill
    taken = list(chosen)
    spent_bytes = spent_dollars = 0.0
    for snapshot in taken:
        cost_of = _estimate_or_none(ws, snapshot)
        spent_bytes += (cost_of and cost_of.bytes) or 0
        spent_dollars += (cost_of and cost_of.dollars) or 0
    reason = "every registered snapshot is mined"
    for snapshot in sorted(key for key in registered if SNAPSHOT_PATTERN.fullmatch(key) and key not in chosen):
        if len(taken) >= budget.snapshots:
            reason = f"this window's {budget.snapshots} snapshots are taken"
            break
        if not missing(ws, snapshot):
            continue
        found = _estimate_or_none(ws, snapshot)
        if found is None:
            reason = f"{snapshot} cannot be sized"
            continue
        if budget.bytes is not None and found.bytes and spent_bytes + found.bytes > budget.bytes:
            reason = (
                f"{snapshot} would read {found.bytes:,} bytes of WET files, {budget.bytes - spent_bytes:,.0f} are left"
            )
            break
        if budget.dollars is not None:
            if found.dollars is None and taken:
                reason = f"what {snapshot} would cost is known once a snapshot is mined"
                break
            if found.dollars is not None and spent_dollars + found.dollars > budget.dollars:
                left = budget.dollars - spent_dollars
                reason = f"{snapshot} would cost {found.dollars:.2f} dollars, {left:.2f} are left"
                break
        taken.append(snapshot)
        spent_bytes += found.bytes or 0
        spent_dollars += found.dollars or 0
    return [snapshot for snapshot in taken if snapshot not in failed], reason


def _estimate_or_none(ws: Workspace, snapshot: str) -> Estimate | None:
    """None where the source does not have the snapshot, or does not answer now: the next tick asks again."""
    try:
        return estimate(ws, snapshot, size=ws.config.backfill.bytes is not None)
    except WebInstructError:
        return None
