"""Everything that a partition was made from, by the inputs that manifests pin; and what all of that cost.

In: manifests. Out: manifests of all ancestors, and costs by configured prices.
"""

from collections.abc import Iterable
from typing import Any

from webinstruct_assets.core.config import CostConfig
from webinstruct_assets.core.cost import cost_of
from webinstruct_assets.core.errors import BadInput
from webinstruct_assets.core.lake import Lake
from webinstruct_assets.core.manifest import Manifest


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


def cost(manifests: Iterable[Manifest], prices: CostConfig, kept: int) -> dict[str, Any]:
    """CPU-seconds, LLM-seconds and tokens of all given partitions, in dollars by ``prices``, and per kept pair.

    CPU-seconds are those of the stages' own processes and of fastText's; the LLM's seconds are the wall-clock of the
    stages that asked a model, which is what a server costs while it is up for them.
    """
    found = [manifest for manifest in manifests if not manifest.reuses]  # whose numbers are the other's
    asking = [item for item in found if item.metrics.get("tokens_out")]
    total = cost_of(
        sum(item.cpu_seconds for item in found),
        sum(item.seconds for item in asking),
        sum(int(item.metrics.get("tokens_in", 0)) for item in asking),
        sum(int(item.metrics["tokens_out"]) for item in asking),
        prices,
    ).as_dict()
    per_pair = {name: round(value / kept, 6) for name, value in total.items()} if kept else {}
    return {**total, "per_kept_pair": per_pair}
