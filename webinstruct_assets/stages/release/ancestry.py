"""Everything that a partition was made from, by the inputs that manifests pin; and what all of that cost.

In: manifests. Out: manifests of all ancestors, and costs by configured prices.
"""

from collections.abc import Iterable
from typing import Any

from webinstruct_assets.core.config import CostConfig
from webinstruct_assets.core.cost import Cost, cost_of_build
from webinstruct_assets.core.errors import BadInput
from webinstruct_assets.core.keys import Ref
from webinstruct_assets.core.lake import Lake
from webinstruct_assets.core.manifest import Manifest


def ancestors(lake: Lake, manifests: Iterable[Manifest], *, whole: bool = True) -> list[Manifest]:
    """``manifests`` and all that they pin, directly or not, each once, sorted by asset and partition.

    One that was made anew since, with other data, is not what went in: BadInput names it, or it is left out with all above
    it where the ``whole`` is not needed.
    """
    found: dict[str, Manifest] = {}
    there: dict[str, dict[str, Ref]] = {}
    current: dict[Ref, Manifest | None] = {}
    waiting = list(manifests)
    while waiting:
        manifest = waiting.pop()
        name = f"{manifest.asset}/{manifest.partition}"
        if name in found:
            continue
        found[name] = manifest
        for item in manifest.inputs:
            if item.asset not in there:
                there[item.asset] = {str(ref.key): ref for ref in lake.refs(item.asset)}
            ref = there[item.asset].get(item.partition)
            if ref and ref not in current:
                current[ref] = lake.manifest(ref)
            parent = current[ref] if ref else None
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

    CPU-seconds are those of the stages' own processes and of fastText's.
    """
    costs = [cost_of_build(manifest, prices) for manifest in manifests]
    total = Cost(
        sum(item.cpu_seconds for item in costs),
        sum(item.gpu_seconds for item in costs),
        sum(item.tokens_in for item in costs),
        sum(item.tokens_out for item in costs),
        sum(item.dollars for item in costs),
    ).as_dict()
    per_pair = {name: round(value / kept, 6) for name, value in total.items()} if kept else {}
    return {**total, "per_kept_pair": per_pair}
