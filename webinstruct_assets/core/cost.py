"""What work cost: CPU-seconds, the seconds that a GPU was up, tokens, and dollars by an environment's prices."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from webinstruct_assets.core.config import CostConfig
from webinstruct_assets.core.manifest import Manifest


@dataclass(frozen=True)
class Cost:
    """``gpu_seconds``: wall-clock in which a model was asked or trained, times the GPUs that were at it."""

    cpu_seconds: float
    gpu_seconds: float
    tokens_in: int
    tokens_out: int
    dollars: float

    def as_dict(self) -> dict[str, Any]:
        """Rounded, for manifests and metadata."""
        return {name: round(value, 6 if name == "dollars" else 1) for name, value in asdict(self).items()}


def cost_of(cpu_seconds: float, gpu_seconds: float, tokens_in: int, tokens_out: int, prices: CostConfig) -> Cost:
    """The cost of some work; where tokens are priced (an endpoint billed by token) they count instead of the GPU."""
    by_token = tokens_in / 1e6 * prices.tokens_in_million + tokens_out / 1e6 * prices.tokens_out_million
    dollars = cpu_seconds / 3600 * prices.cpu_core_hour + (by_token or gpu_seconds / 3600 * prices.gpu_hour)
    return Cost(cpu_seconds, gpu_seconds, tokens_in, tokens_out, dollars)


def cost_of_build(manifest: Manifest, prices: CostConfig) -> Cost:
    """Of one published partition: nothing for one that reuses another, whose numbers its manifest repeats.

    A model's time is the wall-clock of a stage that asked one: what a server costs while it is up for it.
    """
    if manifest.reuses:
        return cost_of(0.0, 0.0, 0, 0, prices)
    tokens_in, tokens_out = (int(manifest.metrics.get(name) or 0) for name in ("tokens_in", "tokens_out"))
    cpu_seconds, gpu_seconds = training_seconds(manifest.metrics)
    cpu_seconds += manifest.cpu_seconds
    gpu_seconds += prices.gpus * manifest.seconds if tokens_out else 0.0
    return cost_of(cpu_seconds, gpu_seconds, tokens_in, tokens_out, prices)


def training_seconds(metrics: Mapping[str, Any]) -> tuple[float, float]:
    """CPU-seconds and GPU-seconds of a training by its metrics: wall-clock times processes, on what they ran on."""
    if "training_seconds" not in metrics:
        return 0.0, 0.0
    machine = metrics.get("training_environment", metrics)
    spent = float(metrics["training_seconds"]) * int(machine["world_size"])
    return (spent, 0.0) if str(machine["device"]).startswith("cpu") else (0.0, spent)
