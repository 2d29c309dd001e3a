"""How far reviewers agree: Cohen's κ of two reviewers, and one verdict out of several.

In: category per pair and reviewer. Out: numbers. Source: J. Cohen, A coefficient of agreement for nominal scales (1960).
"""

from collections import Counter
from collections.abc import Mapping, Sequence


def kappa(one: Mapping[str, str], other: Mapping[str, str]) -> tuple[float | None, int]:
    """Cohen's κ over the pairs that both judged, and how many these are.

    κ is None without a shared pair, and where chance agreement is 1 (both always gave the same one category).
    """
    shared = sorted(one.keys() & other.keys())
    if not shared:
        return None, 0
    total = len(shared)
    observed = sum(one[pair] == other[pair] for pair in shared) / total
    first, second = Counter(one[pair] for pair in shared), Counter(other[pair] for pair in shared)
    chance = sum(first[category] * second[category] for category in first) / total**2
    return (None if chance == 1 else (observed - chance) / (1 - chance)), total


def consensus(categories: Sequence[str]) -> str:
    """The category that more reviewers gave than any other; "" without a verdict, ``disputed`` at a tie."""
    ranked = Counter(categories).most_common(2)
    if not ranked:
        return ""
    return "disputed" if len(ranked) == 2 and ranked[0][1] == ranked[1][1] else ranked[0][0]
