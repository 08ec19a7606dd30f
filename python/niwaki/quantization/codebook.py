"""Codebooks: a layer's weights take few different values, which all lie on the int8 grid, so that the same kernels run.

Weight sharing as in Han et al., "Deep compression" (2016), https://arxiv.org/abs/1510.00149; but the entries are whole
numbers in units of each channel's scale, and are the best ones: in one dimension, k-means has an exact solution by
dynamic programming (Wang & Song, "Ckmeans.1d.dp", The R Journal 3/2, 2011).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from niwaki.layerwise.levels import Book

Floats = NDArray[np.floating]
Indices = NDArray[np.signedinteger]
CodebookKind = Literal["kmeans", "power_of_two"]

_LARGEST = 127
# Values are counted in so many bins between two whole numbers: a middle of two entries is a border of bins.
_BINS = 8


def power_of_two() -> Book:
    """0 and plus or minus 1, 2, 4, ... 64: fifteen entries."""
    powers = [float(2**k) for k in range(7)]
    return Book(torch.tensor([-p for p in reversed(powers)] + [0.0, *powers]))


def kmeans(x: torch.Tensor, importance: torch.Tensor, entries: int) -> Book:
    """The whole numbers, 0 among them, with the least weighted squared distance to the values.

    Args:
        x: values, in units of their scales; what lies outside of -127 to 127 counts as its end.
        importance: of each value, of the same shape, not negative.
        entries: how many there are, 2 to 255. There may be fewer, where fewer do.
    """
    moments = _moments(x, importance)
    count = min(entries, 2 * _LARGEST + 1)
    return Book(torch.tensor(_best(_costs(*moments), count) - _LARGEST, dtype=torch.float32))


def _moments(x: torch.Tensor, importance: torch.Tensor) -> tuple[Floats, ...]:
    """Sums of w, w x and w x^2 of all values below each border of bins."""
    flat = x.detach().reshape(-1).double().clamp_(-_LARGEST, _LARGEST)
    weight = importance.reshape(-1).double()
    bins = 2 * _LARGEST * _BINS
    index = ((flat + _LARGEST) * _BINS).long().clamp_(max=bins - 1)
    sums = []
    for power in range(3):
        binned = torch.zeros(bins, dtype=torch.float64).index_add_(0, index, weight * flat**power)
        sums.append(np.concatenate([[0.0], np.cumsum(binned.numpy())]))
    return tuple(sums)


def _costs(n: Floats, m: Floats, s: Floats) -> Floats:
    """costs[i, j]: of the values between entries i and j, both included, where there is none between them.

    Row 0 and the last column stand for the ends: nothing lies before the first entry's own values.
    """
    size = 2 * _LARGEST + 1
    values = np.arange(size, dtype=np.float64) - _LARGEST
    at = np.arange(size) * _BINS

    def inside(entry: Floats, begin: Indices, end: Indices) -> Floats:
        return (s[end] - s[begin]) - 2 * entry * (m[end] - m[begin]) + entry**2 * (n[end] - n[begin])

    left, right = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    middle = (left + right) * _BINS // 2
    between = inside(values[left], at[left], middle) + inside(values[right], middle, at[right])
    # 0 is always an entry: no two neighbours have it between them, and it is not before the first or after the last.
    allowed = (left < right) & ~((left < _LARGEST) & (right > _LARGEST))
    costs = np.full((size + 2, size + 2), np.inf)
    costs[1:-1, 1:-1] = np.where(allowed, between, np.inf)
    inner = np.arange(size)
    first = inside(values, np.zeros_like(at), at)
    last = inside(values, at, np.full_like(at, at[-1]))
    costs[0, 1:-1] = np.where(inner <= _LARGEST, first, np.inf)
    costs[1:-1, -1] = np.where(inner >= _LARGEST, last, np.inf)
    return costs


def _best(costs: Floats, count: int) -> Indices:
    """The path from the first row to the last column over `count` entries, or fewer, that costs least."""
    reached = costs[0].copy()
    came: list[Indices] = []
    ends: list[tuple[float, int, int]] = []  # cost, entries, the last of them
    for used in range(1, count + 1):
        total = reached + costs[:, -1]
        ends.append((float(total.min()), used, int(total.argmin())))
        steps = reached[:, None] + costs[:, :]
        steps[:, -1] = np.inf
        came.append(steps.argmin(0))
        reached = steps.min(0)
    _, used, at = min(ends)
    path = [at]
    for step in reversed(came[: used - 1]):
        path.append(int(step[path[-1]]))
    return np.array(path[::-1]) - 1
