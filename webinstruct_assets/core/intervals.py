"""Intervals of measured shares, for whatever counts right ones among some."""

import math

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
