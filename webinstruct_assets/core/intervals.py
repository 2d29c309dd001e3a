"""Intervals of measured shares and averages, for whatever counts right ones among some."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Z_95 = 1.959963984540054


def wilson(hits: int, total: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a proportion; it stays within 0..1 at both ends, (0, 1) of nothing.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference (JASA 1927).
    """
    if not total:
        return 0.0, 1.0
    share, z2 = hits / total, Z_95 * Z_95
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = Z_95 / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total * total))
    return max(0.0, middle - half), min(1.0, middle + half)


RESAMPLES = 2000


def bootstrap(groups: Mapping[str, Sequence[float]]) -> tuple[float, float]:
    """The percentile bootstrap's 95 % interval of the mean over ``groups`` of each group's mean; seeded.

    Values are drawn again within their group, since the groups (a benchmark's subjects) are what they are. One group
    gives the interval of a plain mean; paired differences of two models are values like any others.
    Source: B. Efron, Bootstrap methods: another look at the jackknife (Annals of Statistics 1979).
    """
    import numpy as np

    random = np.random.default_rng(0)
    means = np.zeros(RESAMPLES)
    for _, values in sorted(groups.items()):
        drawn = np.asarray(values, dtype=np.float64)
        for number in range(RESAMPLES):
            means[number] += drawn[random.integers(0, len(drawn), len(drawn))].mean() / len(groups)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def bootstrap_items(statistic: Callable[[Any], float], items: int, resamples: int = RESAMPLES) -> tuple[float, float]:
    """The percentile bootstrap's 95 % interval of any statistic of ``items`` items; seeded.

    ``statistic`` is given numpy indices of the items that were drawn, each as often as it was.
    """
    import numpy as np

    random = np.random.default_rng(0)
    drawn = [statistic(random.integers(0, items, items)) for _ in range(resamples)]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(low), float(high)
