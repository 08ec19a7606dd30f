"""One option for each layer, so that the sum of losses is least and the sums of costs stay within limits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Steps of the grid on which costs are counted: for one limit, and for each of two.
STEPS = {1: 8192, 2: 384}


def choose(losses: Sequence[Sequence[float]], costs: Sequence[Floats], limits: Sequence[float]) -> list[int] | None:
    """The multiple-choice knapsack problem, by dynamic programming over the layers.

    Costs are rounded up to a grid, so what is chosen keeps the limits; on the grid it is the best there is (Kellerer,
    Pferschy & Pisinger, "Knapsack problems", 2004, chapter 11).

    Args:
        losses: of each option of each layer; at least one option for each.
        costs: for each layer, float64 [options, limits], not negative.
        limits: one or two.

    Returns:
        The index of the option of each layer; None where even the cheapest ones are too dear.
    """
    limits = [float(limit) for limit in limits]
    if any(limit < 0 for limit in limits):
        return None
    shape = (STEPS[len(limits)] + 1,) * len(limits)
    # What a layer's cheapest option costs is paid at once, exactly: only what comes on top is rounded.
    base = [sum(float(cost[:, k].min()) for cost in costs) for k in range(len(limits))]
    if any(paid > limit for paid, limit in zip(base, limits, strict=True)):
        return None
    steps = [max(limit - paid, 1e-30) / (cells - 1) for limit, paid, cells in zip(limits, base, shape, strict=True)]
    best = np.zeros(shape)
    picked: list[NDArray[np.int16]] = []
    moves: list[NDArray[np.int64]] = []
    for loss, cost in zip(losses, costs, strict=True):
        # Beyond the grid is beyond the limit.
        move = np.minimum(np.ceil((cost - cost.min(0)) / np.array(steps) - 1e-9), max(shape)).astype(np.int64)
        best, index = _layer(best, np.asarray(loss, dtype=np.float64), move)
        picked.append(index)
        moves.append(move)
    return _trace(best, picked, moves)


def _layer(best: Floats, loss: Floats, move: NDArray[np.int64]) -> tuple[Floats, NDArray[np.int16]]:
    """best[c], the least loss of the layers so far at a cost of at most c, with one layer more; and its option."""
    after = np.full(best.shape, np.inf)
    index = np.full(best.shape, -1, dtype=np.int16)
    for option, (more, shift) in enumerate(zip(loss, move, strict=True)):
        if any(s >= cells for s, cells in zip(shift, best.shape, strict=True)):
            continue
        to = tuple(slice(int(s), None) for s in shift)
        of = tuple(slice(None, cells - int(s)) for s, cells in zip(shift, best.shape, strict=True))
        tried = best[of] + more
        better = tried < after[to]
        after[to] = np.where(better, tried, after[to])
        index[to] = np.where(better, option, index[to])
    return after, index


def _trace(best: Floats, picked: list[NDArray[np.int16]], moves: list[NDArray[np.int64]]) -> list[int] | None:
    at = tuple(cells - 1 for cells in best.shape)
    if not np.isfinite(best[at]):
        return None
    chosen: list[int] = []
    for index, move in zip(reversed(picked), reversed(moves), strict=True):
        option = int(index[at])
        chosen.append(option)
        at = tuple(int(place - shift) for place, shift in zip(at, move[option], strict=True))
    return chosen[::-1]
