"""What a point cost: everything spent on a checkpoint's data and training, by configured prices, per point gained.

In: manifests of all that a checkpoint was made from. Out: a record per recipe. Evaluation is no part of it, benchmarks
that the data was decontaminated by are.
"""

from dataclasses import dataclass

from webinstruct_assets.core.config import CostConfig
from webinstruct_assets.core.errors import BadInput
from webinstruct_assets.core.lake import Lake
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
        answer.append(
            Cost(
                recipe=model.recipe,
                cpu_seconds=data["cpu_seconds"],
                gpu_seconds=data["gpu_seconds"],
                tokens_in=data["tokens_in"],
                tokens_out=data["tokens_out"],
                dollars=data["dollars"],
                points=round(100 * sum(gains) / len(gains), 4) if gains else None,
                benchmarks=len(gains),
            )
        )
    return answer
