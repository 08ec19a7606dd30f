"""How far shares that were counted on some inputs may be off."""

from __future__ import annotations

import math

# Of a normal distribution, 95 % lies within so many standard deviations.
_Z = 1.96


def interval(share: float, count: int) -> tuple[float, float]:
    """Where the share of all inputs lies, at 95 %, that is `share` of `count` of them.

    The interval of Wilson (1927), which is right for few inputs and for shares near 0 and 1, too.

    Args:
        share: 0 to 1.
        count: at least 1.

    Returns:
        The ends of the interval, 0 to 1.
    """
    spread = _Z * _Z / count
    middle = (share + spread / 2) / (1 + spread)
    half = _Z * math.sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


def difference_margin(first: float, second: float, count: int) -> float:
    """What two shares of `count` inputs may differ by from chance alone, at 95 %, as if they were of two samples.

    Of the same inputs, answered by two networks, chance makes less: the margin is on the safe side.

    Args:
        first, second: shares, 0 to 1.
        count: inputs, at least 1.
    """
    return _Z * math.sqrt((first * (1 - first) + second * (1 - second)) / count)
