"""How a number of zeros is spread over layers, so that the sum of what they cost is least."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Shares of zeros at which a layer's loss is measured; between them it is interpolated.
SHARES = (0.3, 0.5, 0.65, 0.75, 0.85, 0.92, 0.97)
_POINTS = 401


def allocate(sizes: Sequence[int], losses: Sequence[Sequence[float]], floors: Sequence[int], count: int) -> list[int]:
    """Zeros for each layer, `count` in all.

    Args:
        sizes: how many weights or blocks each layer has.
        losses: for each layer, its loss at each of SHARES, and at 1 last; it is 0 at 0.
        floors: how many are zero already.
        count: at least the sum of floors, at most that of sizes.
    """
    grid = np.linspace(0.0, 1.0, _POINTS)
    curves = [_curve(grid, np.asarray(loss, dtype=np.float64)) for loss in losses]
    low, high = -1.0, 1.0
    most = max((float(curve[-1]) for curve in curves), default=1.0)
    # A price for each zero, that is found by bisection: every layer takes the share at which its own is least.
    low, high = np.log(1e-12 * max(most, 1e-30)), np.log(1e3 * max(most, 1e-30) + 1e-30)
    chosen = list(floors)
    for _ in range(80):
        price = float(np.exp((low + high) / 2))
        found = [
            max(floor, round(size * float(grid[np.argmin(curve - price * size / max(1, sum(sizes)) * grid)])))
            for size, curve, floor in zip(sizes, curves, floors, strict=True)
        ]
        if sum(found) > count:
            high = (low + high) / 2
        else:
            low = (low + high) / 2
            chosen = found
    return _fill(chosen, sizes, count)


def _curve(grid: NDArray[np.float64], losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """The convex hull from below of the loss at each point of the grid."""
    shares = np.array([0.0, *SHARES, 1.0])
    values = np.maximum.accumulate(np.maximum(np.array([0.0, *losses]), 0.0))
    # Losses grow by orders of magnitude: straight in their square roots is closer than straight in themselves.
    curve = np.interp(grid, shares, np.sqrt(values)) ** 2
    hull: list[int] = []
    for i in range(len(grid)):
        while len(hull) >= 2 and (curve[hull[-1]] - curve[hull[-2]]) * (i - hull[-2]) >= (
            curve[i] - curve[hull[-2]]
        ) * (hull[-1] - hull[-2]):
            hull.pop()
        hull.append(i)
    return np.interp(grid, grid[hull], curve[hull])


def _fill(chosen: list[int], sizes: Sequence[int], count: int) -> list[int]:
    """The rest, which is small, in proportion to what is left of each layer."""
    rest = count - sum(chosen)
    left = [size - taken for size, taken in zip(sizes, chosen, strict=True)]
    while rest > 0 and sum(left) > 0:
        total = sum(left)
        for i in sorted(range(len(sizes)), key=lambda i: -left[i]):
            more = min(left[i], max(1, rest * left[i] // total), rest)
            chosen[i] += more
            left[i] -= more
            rest -= more
    return chosen
