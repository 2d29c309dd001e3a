"""How two models differ on the same items, for any two versions of the data that they were trained on.

In: verdicts per item. Out: differences with intervals and p-values. Verdicts of data versions that the lake has replaced
since live on in the report's own ``verdicts.parquet``: what was compared once can be compared again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl

from webinstruct_assets.core.lake import Lake
from webinstruct_assets.stages.results.scores import Measured, Results

RESAMPLES = 10_000
SIGNIFICANT = 0.05
COLUMNS = {"corrected": "score", "paper": "paper_score"}

CAUSES = ("data", "training", "protocol")  # of a difference
# One row per item of every (benchmark, recipe, data_version). data, training, protocol: digests of what the checkpoint was
# trained on, how, and how it was evaluated      scores_version: of the partition of benchmark_scores
# score, paper_score: 1 or 0 by each grader, of a judged item the share of the best verdict; weight: of the item
VERDICTS: dict[str, Any] = {
    "benchmark": pl.String(),
    "recipe": pl.String(),
    "base_model": pl.String(),
    "data_version": pl.String(),
    "scores_version": pl.String(),
    **dict.fromkeys(CAUSES, pl.String()),
    "item_id": pl.String(),
    **dict.fromkeys(("score", "weight", "paper_score"), pl.Float64()),
}
VERSION = ["benchmark", "recipe", "data_version"]


@dataclass(frozen=True)
class Difference:
    """A difference with its 95 % interval and the two-sided p-value of no difference."""

    delta: Measured
    p: float


@dataclass(frozen=True)
class Comparison:
    """``b`` minus ``a`` on the items of a benchmark that both answered. ``differs``: those of ``CAUSES`` that do.

    ``p_holm``: the corrected grader's p-value, adjusted for all comparisons of the report (S. Holm, A simple sequentially
    rejective multiple test procedure, 1979).
    """

    benchmark: str
    recipe_a: str
    version_a: str
    recipe_b: str
    version_b: str
    items: int
    corrected: Difference
    paper: Difference
    differs: str
    p_holm: float = 1.0

    @property
    def is_significant(self) -> bool:
        """Whether the corrected grader's difference holds among that many comparisons."""
        return self.p_holm < SIGNIFICANT


def paired_bootstrap(pairs: pl.DataFrame) -> Difference:
    """The difference ``b`` - ``a`` of weighted means under the percentile bootstrap over items, seeded.

    ``pairs``: columns a, weight_a, b, weight_b, a row per item. Drawing n items with replacement is a multinomial draw over
    the few distinct rows there are, so its cost does not depend on n. p: twice the smaller share of resampled means on either side of zero, those at zero on both,
    with one added to counts, never 0. Source: B. Efron and R. Tibshirani, An Introduction to the Bootstrap (1993), §15-16.
    """
    distinct, counts = np.unique(pairs.select("a", "weight_a", "b", "weight_b").to_numpy(), axis=0, return_counts=True)
    a, weight_a, b, weight_b = distinct.T
    total = int(counts.sum())

    def difference(drawn: np.ndarray) -> np.ndarray:
        return drawn @ (b * weight_b) / (drawn @ weight_b) - drawn @ (a * weight_a) / (drawn @ weight_a)

    means = difference(np.random.default_rng(0).multinomial(total, counts / total, size=RESAMPLES))
    low, high = np.quantile(means, (0.025, 0.975))
    tail = min(int((means <= 0).sum()), int((means >= 0).sum()))
    return Difference(
        Measured(float(difference(counts)), float(low), float(high)), min(1.0, 2 * (tail + 1) / (RESAMPLES + 1))
    )


def verdicts(lake: Lake, found: Results, earlier: pl.DataFrame) -> pl.DataFrame:
    """Verdicts of all current scores whose data version is known, then ``earlier`` ones of other data versions."""
    frames = [pl.DataFrame(schema=VERDICTS)]
    for score in found.scores:
        if score.data_version:
            frames.append(
                _scored(lake.read(score.manifest)).select(
                    pl.lit(score.benchmark).alias("benchmark"),
                    pl.lit(score.recipe).alias("recipe"),
                    pl.lit(score.model.base_model).alias("base_model"),
                    pl.lit(score.data_version).alias("data_version"),
                    pl.lit(score.manifest.data_version[:12]).alias("scores_version"),
                    *(pl.lit(getattr(score, name)).alias(name) for name in CAUSES),
                    "item_id",
                    "score",
                    "weight",
                    "paper_score",
                )
            )
    current = pl.concat(frames)
    return pl.concat([current, earlier.join(current, on=VERSION, how="anti")]).sort([*VERSION, "item_id"])


def _scored(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of ``benchmark_scores`` with score, weight and paper_score; verdicts from before judged benchmarks have none."""
    graded = [
        pl.col(name).cast(pl.Float64).alias(to) for name, to in (("correct", "score"), ("paper_correct", "paper_score"))
    ]
    if "score" not in rows.columns:
        return rows.with_columns(*graded, pl.lit(1.0).alias("weight"))
    judged = pl.col("judgements").is_not_null()  # a judge is no grader: by both the score is the judge's
    return rows.with_columns(pl.when(judged).then("score").otherwise(graded[1]).alias("paper_score"))


def comparisons(rows: pl.DataFrame) -> list[Comparison]:
    """Every two data versions under one base model on one benchmark, of one recipe or of two."""
    found = []
    for (benchmark, _), group in rows.group_by("benchmark", "base_model", maintain_order=True):
        versions = [frame for _, frame in group.group_by("recipe", "data_version", maintain_order=True)]
        for a, b in combinations(versions, 2):
            first, second = a.row(0, named=True), b.row(0, named=True)
            both = a.join(b, on="item_id", suffix="_b").drop_nulls(["score", "score_b"])
            if both.is_empty():
                continue
            corrected, as_paper = (
                paired_bootstrap(both.select(a=name, weight_a="weight", b=f"{name}_b", weight_b="weight_b"))
                for name in COLUMNS.values()
            )
            found.append(
                Comparison(
                    benchmark=str(benchmark),
                    recipe_a=first["recipe"],
                    version_a=first["data_version"],
                    recipe_b=second["recipe"],
                    version_b=second["data_version"],
                    items=both.height,
                    corrected=corrected,
                    paper=as_paper,
                    differs=", ".join(name for name in CAUSES if first[name] != second[name]),
                )
            )
    return holm(found)


def holm(found: Sequence[Comparison]) -> list[Comparison]:
    """The same comparisons with their adjusted p-values."""
    adjusted: dict[int, float] = {}
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(found)), key=lambda index: found[index].corrected.p)):
        highest = max(highest, min(1.0, found[index].corrected.p * (len(found) - rank)))
        adjusted[index] = highest
    return [Comparison(**{**item.__dict__, "p_holm": adjusted[index]}) for index, item in enumerate(found)]
