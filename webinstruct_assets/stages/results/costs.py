"""What a point cost: everything spent on a checkpoint's data and training, by configured prices, per point gained.

In: manifests of all that a checkpoint was made from. Out: a record per recipe. Evaluation is no part of it, benchmarks
that the data was decontaminated by are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from webinstruct_assets.core.config import CostConfig
from webinstruct_assets.core.errors import BadInput
from webinstruct_assets.core.lake import Lake
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.stages.release.ancestry import ancestors, cost
from webinstruct_assets.stages.results.scores import Results


@dataclass(frozen=True)
class Cost:
    """Of one recipe's data and training. ``points``: mean gain over its base model in percentage points, by the corrected
    grader, over ``benchmarks``; None where that was not measured.
    """

    recipe: str
    cpu_seconds: float
    gpu_seconds: float
    tokens_in: int
    tokens_out: int
    dollars: float
    points: float | None
    benchmarks: int

    def per_point(self, amount: float) -> float | None:
        """``amount`` per point gained; None where nothing was."""
        return amount / self.points if self.points is not None and self.points > 0 else None


def costs(lake: Lake, found: Results, prices: CostConfig) -> list[Cost]:
    """A record per evaluated recipe that is no base model; without those whose ancestors were made anew since."""
    answer = []
    for model in found.models:
        scores = [score for score in found.scores if score.recipe == model.recipe and score.trainings]
        if not scores:
            continue
        try:
            behind = ancestors(lake, [training.checkpoint for score in scores for training in score.trainings or ()])
        except BadInput:
            continue
        gains = [delta.value for score in scores if (delta := score.delta("corrected"))]
        data = cost(behind, prices, 0)
        cpu, gpu = _training(behind)
        answer.append(
            Cost(
                recipe=model.recipe,
                cpu_seconds=round(data["cpu_seconds"] + cpu, 1),
                gpu_seconds=round(data["gpu_seconds"] + gpu, 1),
                tokens_in=data["tokens_in"],
                tokens_out=data["tokens_out"],
                dollars=round(data["dollars"] + (cpu * prices.cpu_core_hour + gpu * prices.gpu_hour) / 3600, 6),
                points=round(100 * sum(gains) / len(gains), 4) if gains else None,
                benchmarks=len(gains),
            )
        )
    return answer


def _training(behind: Sequence[Manifest]) -> tuple[float, float]:
    """CPU-seconds and GPU-seconds of the trainings: wall-clock times processes, on what they ran on."""
    cpu = gpu = 0.0
    for item in behind:
        if item.asset == "trained_checkpoint" and "training_seconds" in item.metrics:
            machine = item.metrics.get("training_environment", item.metrics)
            spent = float(item.metrics["training_seconds"]) * int(machine["world_size"])
            if str(machine["device"]).startswith("cpu"):
                cpu += spent
            else:
                gpu += spent
    return cpu, gpu
