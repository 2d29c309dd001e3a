"""Everything that a partition was made from, by the inputs that manifests pin; and what all of that cost.

In: manifests. Out: manifests of all ancestors, the snapshot's funnel, and costs by configured prices.
"""

from collections.abc import Iterable
from typing import Any

from webinstruct_assets.core.config import CostConfig
from webinstruct_assets.core.errors import BadInput
from webinstruct_assets.core.lake import Lake
from webinstruct_assets.core.manifest import Manifest

# Stages in which records of the crawl become pairs, in data-flow order: a record in, a record out or a reject.
FUNNEL = ("recalled_urls", "pages", "extracted_qa", "decontaminated_qa", "deduplicated_qa", "refined_qa", "webinstruct")


def ancestors(lake: Lake, manifests: Iterable[Manifest], *, whole: bool = True) -> list[Manifest]:
    """``manifests`` and all that they pin, directly or not, each once, sorted by asset and partition.

    One that was made anew since, with other data, is not what went in: BadInput names it, or it is left out with all above
    it where the ``whole`` is not needed.
    """
    found: dict[str, Manifest] = {}
    current: dict[str, dict[str, Manifest]] = {}
    waiting = list(manifests)
    while waiting:
        manifest = waiting.pop()
        name = f"{manifest.asset}/{manifest.partition}"
        if name in found:
            continue
        found[name] = manifest
        for item in manifest.inputs:
            above = current.setdefault(item.asset, {each.partition: each for each in lake.manifests(item.asset)})
            parent = above.get(item.partition)
            if parent is None or parent.data_version != item.data_version:
                if not whole:
                    continue
                raise BadInput(
                    f"{name} was made from another version of {item.asset}/{item.partition} than there is now",
                    f"materialize {name} again",
                )
            waiting.append(parent)
    return [manifest for _, manifest in sorted(found.items())]


def funnel(manifests: Iterable[Manifest]) -> list[dict[str, Any]]:
    """Records in, kept and rejected per asset of ``FUNNEL``, over its partitions."""
    steps = []
    for asset in FUNNEL:
        found = [manifest for manifest in manifests if manifest.asset == asset]
        if found:
            steps.append(
                {
                    "asset": asset,
                    "records_in": sum(item.rows_in for item in found),
                    "rows_out": sum(item.rows for item in found),
                    "rejected": sum(item.rejected_total for item in found),
                }
            )
    return steps


def rejected(manifests: Iterable[Manifest]) -> list[dict[str, Any]]:
    """Rejects by asset and reason over the assets of ``FUNNEL``, in its order, largest first."""
    total: dict[tuple[str, str], int] = {}
    for manifest in manifests:
        for reason, count in manifest.rejected.items() if manifest.asset in FUNNEL else ():
            total[manifest.asset, reason] = total.get((manifest.asset, reason), 0) + count
    ordered = sorted(total.items(), key=lambda entry: (FUNNEL.index(entry[0][0]), -entry[1], entry[0][1]))
    return [{"asset": asset, "reason": reason, "records": count} for (asset, reason), count in ordered]


def cost(manifests: Iterable[Manifest], prices: CostConfig, kept: int) -> dict[str, Any]:
    """CPU-seconds, LLM-seconds and tokens of all given partitions, in dollars by ``prices``, and per kept pair.

    CPU-seconds are those of the stages' own processes and of fastText's. LLM-seconds are the wall-clock of the stages that asked a model,
    times ``gpus``: what a GPU server costs while it is up for them. Where ``tokens_*_million`` are priced (an endpoint
    billed by token), tokens count instead.
    """
    found = list(manifests)
    asking = [item for item in found if item.metrics.get("tokens_out")]
    cpu = sum(item.cpu_seconds for item in found)
    gpu = prices.gpus * sum(item.seconds for item in asking)
    tokens_in = sum(int(item.metrics.get("tokens_in", 0)) for item in asking)
    tokens_out = sum(int(item.metrics["tokens_out"]) for item in asking)
    by_token = tokens_in / 1e6 * prices.tokens_in_million + tokens_out / 1e6 * prices.tokens_out_million
    dollars = cpu / 3600 * prices.cpu_core_hour + (by_token or gpu / 3600 * prices.gpu_hour)
    total = {
        "cpu_seconds": round(cpu, 1),
        "gpu_seconds": round(gpu, 1),
        "tokens_in": tokens_in,
        "tokens_out": tokens_out,
        "dollars": round(dollars, 6),
    }
    per_pair = {name: round(value / kept, 6) for name, value in total.items()} if kept else {}
    return {**total, "per_kept_pair": per_pair}
