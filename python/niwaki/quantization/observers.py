"""Ranges of activations from streams of values: all of them, all but outliers, or with the least squared error."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray

from niwaki.quantization.config import QuantizeConfig

BINS = 2048
# A histogram of so many values of a batch says enough; lowest and highest are always exact.
SAMPLES = 1 << 16


class NotFiniteError(ValueError):
    """A value that was observed is NaN or infinite."""


class Observer(ABC):
    """Sees batches of a value, one after the other, and then says its range."""

    def __init__(self) -> None:
        self.low = math.inf
        self.high = -math.inf
        self.symmetric = False
        self.bounds = (-math.inf, math.inf)  # of what values there may be at all

    @property
    def empty(self) -> bool:
        """Whether nothing was seen yet."""
        return self.low > self.high

    def observe(self, x: torch.Tensor) -> None:
        """Takes a float32 tensor of any shape into account.

        Raises:
            NotFiniteError: it holds NaN or infinity.
        """
        if x.numel() == 0:
            return
        low, high = (end.item() for end in torch.aminmax(x))
        if not (math.isfinite(low) and math.isfinite(high)):
            raise NotFiniteError("NaN or infinity")
        self.low, self.high = min(self.low, low), max(self.high, high)
        self._observe(x)

    def range(self) -> tuple[float, float]:
        """(low, high). Symmetric ones go from -128 to 127 steps, where a value is negative.

        Raises:
            ValueError: nothing was seen.
        """
        if self.empty:
            raise ValueError("nothing was observed; calibrate with at least one input that is not empty.")
        return self._placed(*self._range())

    def candidates(self) -> dict[str, tuple[float, float]]:
        """The ranges to choose from by what they cost, by the names of observers: one, where the observer is given."""
        return {"": self.range()}

    def _placed(self, low: float, high: float) -> tuple[float, float]:
        low, high = max(low, self.bounds[0]), min(high, self.bounds[1])
        if not self.symmetric or low >= 0:
            return low, high
        step = max(-low, high) / 127
        return -128 * step, 127 * step

    def _observe(self, x: torch.Tensor) -> None:  # noqa: B027  min-max needs no more than the ends
        pass

    @abstractmethod
    def _range(self) -> tuple[float, float]: ...


class MinMaxObserver(Observer):
    """All values that were seen."""

    def _range(self) -> tuple[float, float]:
        return self.low, self.high


class HistogramObserver(Observer):
    """Counts values in bins of equal width. Where values fall outside, bins are merged in pairs until they fit.

    Exact zeros, which a ReLU makes many of, are counted apart: every range holds them exactly.
    """

    def __init__(self) -> None:
        super().__init__()
        self._counts: NDArray[np.float64] = np.zeros(BINS)
        self._begin = 0.0
        self._width = 0.0

    def _observe(self, x: torch.Tensor) -> None:
        x = x.detach().reshape(-1)
        stride = max(1, x.numel() // SAMPLES)
        # Odd, so that it does not walk along one column of an image or one of 2^k channels.
        x = x[:: stride | 1] if stride > 1 else x
        x = x[x != 0]
        if x.numel() == 0:
            return
        low, high = (end.item() for end in torch.aminmax(x))
        if self._width == 0.0:
            self._begin = low
            self._width = max((high - low) / BINS, abs(low) * 1e-6, 1e-300)
        self._cover(low, high)
        # Bin numbers in float64: bins far from 0 may be narrower than float32 can tell apart.
        index = ((x.double() - self._begin) / self._width).floor_().clamp_(0, BINS - 1).to(torch.int64)
        self._counts += torch.bincount(index, minlength=BINS).numpy() * float(stride | 1 if stride > 1 else 1)

    def _cover(self, low: float, high: float) -> None:
        while low < self._begin or high > self._begin + self._width * BINS * (1 + 1e-9):
            merged = self._counts.reshape(-1, 2).sum(1)
            self._counts = np.zeros(BINS)
            if low < self._begin:
                self._counts[BINS // 2 :] = merged
                self._begin -= self._width * BINS
            else:
                self._counts[: BINS // 2] = merged
            self._width *= 2

    @property
    def _centers(self) -> NDArray[np.float64]:
        return np.clip(self._begin + self._width * (np.arange(BINS) + 0.5), self.low, self.high)


class PercentileObserver(HistogramObserver):
    """All values but the outermost on either side. Zeros do not count: a ReLU's would hide the share of outliers."""

    def __init__(self, percentile: float = 99.99) -> None:
        super().__init__()
        self.percentile = percentile

    def _range(self) -> tuple[float, float]:
        total = self._counts.sum()
        if total == 0:
            return self.low, self.high
        outside = (1 - self.percentile / 100) * total
        below = np.cumsum(self._counts)
        above = np.cumsum(self._counts[::-1])[::-1]
        first = int(np.searchsorted(below, outside, side="right"))
        last = BINS - 1 - int(np.searchsorted(above[::-1], outside, side="right"))
        first, last = min(first, BINS - 1), max(last, 0)
        low = max(self.low, self._begin + first * self._width)
        high = min(self.high, self._begin + (last + 1) * self._width)
        return (low, high) if low <= high else (self.low, self.high)


class MseObserver(HistogramObserver):
    """The range with the least squared error: of rounding inside, of cutting off outside.

    Rounding to steps of s costs s^2 / 12 on average; a value cut off costs its squared distance from the end. To the
    values that were seen come a few on each side that were not, further out than all of them, as far as their tail
    says: among many they count for nothing, and of a few the range reaches beyond what they happened to be.
    """

    CANDIDATES, BEYOND = 128, 24
    UNSEEN = 4.0  # not one: values of an input are alike, so another input has several

    def _range(self) -> tuple[float, float]:
        if self._counts.sum() == 0:
            return self.low, self.high
        highs, high_errors, inside_high = self._side(self.high, self._centers)
        lows, low_errors, inside_low = self._side(-self.low, -self._centers)
        inside = inside_low[:, None] + inside_high[None, :] - self._counts.sum()
        step = (highs[None, :] + lows[:, None]) / 255
        error = low_errors[:, None] + high_errors[None, :] + inside * step**2 / 12
        i, j = np.unravel_index(int(np.argmin(error)), error.shape)
        low = -float(lows[i]) if self.low < 0 else self.low
        high = float(highs[j]) if self.high > 0 else self.high
        return low, high

    def _side(self, last: float, centers: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """On one side of 0, with `last` its outermost value: ends, what they cut off, and how many they do not."""
        if last <= 0:
            return np.zeros(1), *self._cut(np.zeros(1), centers)
        tail = self._tail(last, centers)
        beyond = last + tail * np.linspace(8.0, 0.0, self.BEYOND, endpoint=False)
        ends = np.concatenate([beyond, last * np.linspace(1.0, 0.05, self.CANDIDATES)])
        error, inside = self._cut(ends, centers)
        if tail > 0:
            error += self.UNSEEN * 2 * tail**2 * np.exp(-np.maximum(ends - last, 0.0) / tail)
        return ends, error, inside

    def _tail(self, last: float, centers: NDArray[np.float64]) -> float:
        """How far the outermost values lie beyond the least of them, on average: how slowly a tail falls off."""
        order = np.argsort(-centers, kind="stable")
        centers, counts = centers[order], self._counts[order]
        upto = np.minimum(np.cumsum(counts), min(20.0, max(counts.sum() / 2, 2.0)))
        least = centers[int(np.searchsorted(upto, upto[-1]))]
        return float(min((np.diff(upto, prepend=0.0) * (centers - least)).sum() / upto[-1], last))

    def _cut(
        self, ends: NDArray[np.float64], centers: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """For each end: summed squared distance of the values beyond it, and the number of those that are not."""
        order = np.argsort(centers, kind="stable")
        centers, counts = centers[order], self._counts[order]
        # Sums over the values from each bin on, so that an end's error is a lookup.
        n, m, s = (np.append(np.cumsum((counts * centers**k)[::-1])[::-1], 0.0) for k in range(3))
        at = np.searchsorted(centers, ends, side="right")
        error = s[at] - 2 * ends * m[at] + ends**2 * n[at]
        return np.maximum(error, 0.0), n[0] - n[at]


class AutoObserver(MseObserver):
    """Min-max or least squared error, whichever costs less at the network's results; where nobody says, the latter.

    Both reach beyond what was seen where that was little: what is measured on the same inputs would not show it.
    """

    def candidates(self) -> dict[str, tuple[float, float]]:
        low, high = self._range()
        return {"minmax": self._placed(min(low, self.low), max(high, self.high)), "mse": self.range()}


class EntropyObserver(HistogramObserver):
    """The range whose rounded values are distributed most like the values: the least Kullback-Leibler divergence.

    The calibration of TensorRT (Migacz, 2017), for each end in turn. What lies beyond an end counts to the last bin
    inside; a level holds its values in equal shares of the bins that are not empty.
    """

    CANDIDATES = 64
    LEVELS = 256

    def _range(self) -> tuple[float, float]:
        if self._counts.sum() == 0:
            return self.low, self.high
        low, high = self.low, self.high
        shrink = np.linspace(1.0, 0.1, self.CANDIDATES)
        if high > 0:
            high = min((high * share for share in shrink), key=lambda end: self._divergence(low, end))
        if low < 0:
            low = min((low * share for share in shrink), key=lambda end: self._divergence(end, high))
        return float(low), float(high)

    def _divergence(self, low: float, high: float) -> float:
        centers = self._centers
        inside = (centers >= low) & (centers <= high)
        if not inside.any():
            return math.inf
        counts = self._counts[inside]
        p = counts.copy()
        p[0] += self._counts[centers < low].sum()
        p[-1] += self._counts[centers > high].sum()
        begin, end = min(low, 0.0), max(high, 0.0)
        level = np.clip(np.round((centers[inside] - begin) / max((end - begin) / 255, 1e-300)), 0, 255).astype(np.int64)
        filled = counts > 0
        totals = np.bincount(level, weights=counts, minlength=self.LEVELS)
        bins = np.bincount(level, weights=filled.astype(np.float64), minlength=self.LEVELS)
        q = np.where(filled, (totals / np.maximum(bins, 1.0))[level], 0.0)
        p, q = p / p.sum(), q / max(q.sum(), 1e-300)
        # A bin with outliers alone has no share in q: it counts as one that is all but empty.
        return float((p[p > 0] * np.log(p[p > 0] / np.maximum(q[p > 0], 1e-9))).sum())


def make_observer(config: QuantizeConfig) -> Observer:
    """The observer that a config names."""
    found: Observer
    if config.observer == "minmax":
        found = MinMaxObserver()
    elif config.observer == "percentile":
        found = PercentileObserver(config.percentile)
    elif config.observer == "entropy":
        found = EntropyObserver()
    elif config.observer == "mse":
        found = MseObserver()
    else:
        found = AutoObserver()
    found.symmetric = config.activations == "symmetric"
    return found
