"""The funnel's steps, from manifests alone: nothing is read or counted again.

Put here what a step is; a release counts those of exactly its ancestors, the asset ``funnel`` those of a snapshot.
"""

import re
from collections.abc import Iterable
from typing import Any

from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.stages.release.chain import CHAIN

# Stages in which records of the crawl become pairs, in data-flow order: a record in, a record out or a reject.
# Before them comes the last round's recall, whatever its number.
AFTER_RECALL = (*reversed(list(CHAIN)), "refined_qa", "webinstruct")
LAST_RECALL = re.compile(r"round(\d+)_recall")


def order(manifests: Iterable[Manifest]) -> tuple[str, ...]:
    """Assets of the funnel, the last recall round among ``manifests`` first."""
    rounds = sorted({int(found[1]) for item in manifests if (found := LAST_RECALL.fullmatch(item.asset))})
    return (*(f"round{number}_recall" for number in rounds[-1:]), *AFTER_RECALL)


def steps(manifests: Iterable[Manifest]) -> list[dict[str, Any]]:
    """Per asset of the funnel, over its partitions: ``records_in``, ``rows_out``, ``rejected``."""
    items = list(manifests)
    answer = []
    for asset in order(items):
        found = [manifest for manifest in items if manifest.asset == asset]
        if found:
            answer.append(
                {
                    "asset": asset,
                    "records_in": sum(item.rows_in for item in found),
                    "rows_out": sum(item.rows for item in found),
                    "rejected": sum(item.rejected_total for item in found),
                }
            )
    return answer


def rejected(manifests: Iterable[Manifest]) -> list[dict[str, Any]]:
    """``asset``, ``reason``, ``records`` of the rejects in the funnel, in its order, largest first."""
    items = list(manifests)
    assets = order(items)
    total: dict[tuple[str, str], int] = {}
    for manifest in items:
        for reason, count in manifest.rejected.items() if manifest.asset in assets else ():
            total[manifest.asset, reason] = total.get((manifest.asset, reason), 0) + count
    ordered = sorted(total.items(), key=lambda entry: (assets.index(entry[0][0]), -entry[1], entry[0][1]))
    return [{"asset": asset, "reason": reason, "records": count} for (asset, reason), count in ordered]
