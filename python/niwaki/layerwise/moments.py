"""Means and covariances of what a layer multiplies its weights with."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from niwaki.layerwise.gram import Apply, Cross, Dense, Gram, LowRank
from niwaki.modules.layer import Layer

# Columns of inputs that a layer's covariance is made of. More change it little and cost as much as running the layer.
SAMPLES = 1 << 16
# Values of unfolded inputs held at a time.
_CHUNK = 1 << 22
# Where there are fewer samples than inputs by this factor, and not few inputs, samples are kept instead of a matrix. So
# they are for more inputs than the widest, whose matrices would be too large; only as many are taken.
_FEW, _NARROW, _WIDEST = 4, 1024, 16384

# Inputs of a layer and what it had in the reference network, [G, K, columns] each.
_Columns = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Moments:
    """Second moments of a layer's inputs.

    x are inputs as the layer has them now, r what it had in the reference network, at the same positions: columns of
    K = channels / groups * kernel height * kernel width, for each of G groups.

    Attributes:
        covariance: float32 [G, K, K], E[x x'], less the means' share where `centered`.
        cross: multiplies rows [G, rows, K] by E[r x'], centered in the same way.
        mean: float32 [G, K], of x.
        reference_mean: float32 [G, K], of r.
    """

    covariance: Gram
    cross: Apply
    mean: torch.Tensor
    reference_mean: torch.Tensor

    def lost(self, before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        """What the means of the outputs lose, float32 [O], from weights before and after, [G, O / G, K] each."""
        was = torch.einsum("gok,gk->go", before, self.reference_mean)
        now = torch.einsum("gok,gk->go", after, self.mean)
        return (was - now).reshape(-1)


def moments(
    layer: Layer,
    inputs: Sequence[torch.Tensor],
    references: Sequence[torch.Tensor],
    *,
    centered: bool,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Moments:
    """Moments of a layer's inputs. Positions are sampled where there are more than `samples`.

    Args:
        layer: whose inputs they are.
        inputs, references: float32, of each batch, of equal shapes.
        centered: whether means are taken off: a bias can hold them.
        samples: how many columns to use at most, about.
        seed: of the choice of positions.
    """
    return parted_moments(layer, [(inputs, references)], centered=centered, samples=samples, seed=seed)[1]


def parted_moments(
    layer: Layer,
    parts: Sequence[tuple[Sequence[torch.Tensor], Sequence[torch.Tensor]]],
    *,
    centered: bool,
    samples: int = SAMPLES,
    seed: int = 0,
) -> tuple[list[Moments], Moments]:
    """Moments of each of several parts of a layer's inputs, and of all of them: little more work than the latter alone.

    Args:
        layer: whose inputs they are.
        parts: inputs and references of each.
        centered, samples, seed: as for `moments`, of all parts together.
    """
    size = layer.weight[0].numel()
    pairs = [list(zip(inputs, references, strict=True)) for inputs, references in parts]
    same = all(x is r for part in pairs for x, r in part)
    generator = torch.Generator().manual_seed(seed)
    total = columns_of(layer, [x for part in pairs for x, _ in part])
    if size > _WIDEST:
        samples = min(samples, size // _FEW)
    share = min(1.0, samples / max(1, total))

    def columns(part: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for x, r in part:
            for now, before in zip(layer.parts(x, _CHUNK), layer.parts(r, _CHUNK), strict=True):
                chosen = None
                if share < 1:
                    places = layer.places(now)
                    chosen = torch.randperm(places, generator=generator)[: max(1, round(share * places))]
                found = layer.columns(now, chosen)
                yield found, found if same else layer.columns(before, chosen)

    if size >= _NARROW and _FEW * min(total, samples) <= size:
        return _moments([_Samples(same, columns(part)) for part in pairs], centered)
    sums: list[_Sums] = []
    for part in pairs:
        sums.append(_Sums(layer.groups, size, same, columns(part), sums[0] if sums else None))
    return _moments(sums, centered)


def _moments(parts: list[_Kept], centered: bool) -> tuple[list[Moments], Moments]:
    """Of each part, and of all."""
    together = functools.reduce(operator.add, parts).moments(centered)
    return [together] if len(parts) == 1 else [part.moments(centered) for part in parts], together


class _Sums:
    """Adds up the products of inputs, less a constant near their means.

    In float32, E[x x'] - m m' is nothing but rounding where inputs vary little around large means: 300 +- 0.05, say.
    """

    def __init__(
        self, groups: int, size: int, same: bool, columns: Iterable[_Columns] = (), like: _Sums | None = None
    ) -> None:
        """Of inputs and references, [G, K, columns] each; the constant is that of `like`, if there is one."""
        self._same = same
        self._second = torch.zeros(groups, size, size)
        self._cross = self._second if same else torch.zeros(groups, size, size)
        self._mean, self._reference_mean = torch.zeros(2, groups, size, dtype=torch.float64).unbind(0)
        self._shift = self._reference_shift = torch.zeros(groups, size)
        if like is not None:
            self._shift, self._reference_shift = like._shift, like._reference_shift
        self._count = 0
        for x, r in columns:
            if not self._count and like is None:
                self._shift = x.mean(2, dtype=torch.float64).float()
                self._reference_shift = self._shift if same else r.mean(2, dtype=torch.float64).float()
            self._add(x, r)

    def _add(self, x: torch.Tensor, r: torch.Tensor) -> None:
        self._count += x.shape[2]
        x = x - self._shift[:, :, None]
        self._second.baddbmm_(x, x.transpose(1, 2))
        self._mean += x.sum(2, dtype=torch.float64)
        if not self._same:
            r = r - self._reference_shift[:, :, None]
            self._cross.baddbmm_(r, x.transpose(1, 2))
            self._reference_mean += r.sum(2, dtype=torch.float64)

    def __add__(self, other: _Sums) -> _Sums:
        """Of both, whose constant is the same."""
        groups, size = self._mean.shape
        both = _Sums(groups, size, self._same, like=self)
        both._count = self._count + other._count
        both._second = self._second + other._second
        both._cross = both._second if self._same else self._cross + other._cross
        both._mean = self._mean + other._mean
        both._reference_mean = self._reference_mean + other._reference_mean
        return both

    def moments(self, centered: bool) -> Moments:
        """Once: the sums become the moments, for the matrices of a wide layer are large."""
        count = max(1, self._count)
        now = (self._mean / count, self._shift.double())
        before = now if self._same else (self._reference_mean / count, self._reference_shift.double())
        covariance = Dense(_moved(self._second.div_(count), now, now, centered))
        crossed = covariance if self._same else Dense(_moved(self._cross.div_(count), before, now, centered))
        means = [(mean + shift).float() for mean, shift in (now, before)]
        return Moments(covariance, crossed.times, *means)


class _Samples:
    """Keeps the inputs, for there are few."""

    def __init__(self, same: bool, columns: Iterable[_Columns] = ()) -> None:
        """Of inputs and references, [G, K, columns] each."""
        self._same = same
        self._x: list[torch.Tensor] = []
        self._r: list[torch.Tensor] = []
        for x, r in columns:
            self._x.append(x.contiguous())
            if not same:
                self._r.append(r.contiguous())

    def __add__(self, other: _Samples) -> _Samples:
        both = _Samples(self._same)
        both._x, both._r = self._x + other._x, self._r + other._r
        return both

    def moments(self, centered: bool) -> Moments:
        x, mean = _scaled(torch.cat(self._x, 2), centered)
        r, reference_mean = (x, mean) if self._same else _scaled(torch.cat(self._r, 2), centered)
        return Moments(LowRank(x), Cross(r, x), mean, reference_mean)


_Kept = TypeVar("_Kept", _Sums, _Samples)


def _scaled(samples: torch.Tensor, centered: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Samples [G, K, N] less their mean, over the root of their number; and the mean [G, K]."""
    mean = samples.mean(2, dtype=torch.float64).float()
    if centered:
        samples = samples - mean[:, :, None]
    return samples / max(1, samples.shape[2]) ** 0.5, mean


def deficiency(layer: Layer, inputs: Sequence[torch.Tensor], covariance: Gram) -> str:
    """That a covariance [G, K, K] of a layer's inputs is singular, and why; empty where nothing says that it is."""
    diagonal = covariance.diagonal()
    still = int((diagonal <= 1e-10 * diagonal.mean().clamp_min(1e-30)).sum())
    if still:
        return f"the covariance of its inputs is singular: {still} of {diagonal.numel()} never vary"
    columns = min(columns_of(layer, inputs), SAMPLES)
    if columns < diagonal.shape[1]:
        return f"the covariance of its inputs is singular: {columns} samples of {diagonal.shape[1]}"
    return ""


def columns_of(layer: Layer, inputs: Sequence[torch.Tensor]) -> int:
    """Columns that the inputs of all batches make."""
    return sum(layer.images(x) * layer.places(x) for x in inputs)


def _moved(
    second: torch.Tensor,
    left: tuple[torch.Tensor, torch.Tensor],
    right: tuple[torch.Tensor, torch.Tensor],
    centered: bool,
) -> torch.Tensor:
    """E[a b'] of inputs from that of inputs less a shift, or without the means' share.

    `left` and `right` are the mean of what the shift left, and the shift, [G, K] each.
    """
    (mean, shift), (other_mean, other_shift) = left, right
    if centered:
        return second.sub_((mean[:, :, None] * other_mean[:, None, :]).float())
    whole = (mean + shift)[:, :, None] * (other_mean + other_shift)[:, None, :]
    return second.add_((whole - mean[:, :, None] * other_mean[:, None, :]).float())
