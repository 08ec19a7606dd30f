"""Pruning one layer: its quadratic form, its pattern, and the search for its zeros."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence

import torch

from niwaki.layerwise.allocate import SHARES
from niwaki.layerwise.gram import LowRank
from niwaki.layerwise.moments import SAMPLES, Moments, deficiency, parted_moments
from niwaki.layerwise.solve import DAMPING, MaskSearch, Project, Quadratic, quadratic, solve
from niwaki.layerwise.walk import Visit
from niwaki.modules.layer import Layer
from niwaki.pruning.select import BLOCK, drop_in_sets, drop_smallest, keep_n_of_m, n_of_m

_log = logging.getLogger("niwaki")
# Columns that the covariance of a layer is made of where it sees further versions of its inputs.
_SAMPLES_OF_VERSIONS = 1 << 14


def units_of(layer: Layer, pattern: str) -> int:
    """How many weights or blocks there are to choose from."""
    return _units(layer.weight, pattern)


def _units(weight: torch.Tensor, pattern: str) -> int:
    return weight.numel() // (BLOCK if pattern == "block4" else 1)


class Problem:
    """One layer: the form, what its rows count, the pattern, and whether the lists of its sets balance.

    Attributes:
        moments, form: of its inputs, and the error that follows.
        allowed: bool [G, O / G, K], the weights that are not zero already.
        best: the scaled weights of least error without more zeros.
        note: that the covariance of the inputs is singular, and why; empty where it is not.
    """

    def __init__(
        self,
        seen: Visit,
        pattern: str,
        rows: torch.Tensor | None,
        quick: bool = False,
        damping: float = DAMPING,
        known: Moments | None = None,
        balance: bool = False,
    ) -> None:
        self.seen = seen
        self._pattern, self._balance = pattern, balance
        layer = seen.layer
        self._before = layer.matrix(seen.weight)
        self.moments = moments_of(seen) if known is None else known
        self.note = deficiency(layer, seen.inputs, self.moments.covariance)
        self.form: Quadratic = quadratic(self._before, self.moments.covariance, self.moments.cross, damping)
        self.allowed = self._before != 0
        self.best = solve(self.form, self.allowed, self._before * self.form.scale)
        energy = -self.form.error(self.best)
        self._energy = float(energy.clamp_min(0).sum())
        if rows is None:
            rows = torch.full((len(seen.weight),), 1 / max(self._energy, 1e-30))
        # A channel that counts for nothing would be pruned at random.
        self._rows = (rows + 1e-3 * rows.mean() + 1e-30).reshape(energy.shape)
        stages, steps = (4, 4) if quick else (None, None)
        self._masks = MaskSearch(self.form, stages, steps, seen.name)

    def search(self, count: int) -> torch.Tensor:
        """The mask [G, O / G, K] with `count` weights or blocks pruned; where sets balance, the nearest number."""
        if count == 0 and n_of_m(self._pattern) is None:
            return self.allowed
        if count >= _units(self.seen.weight, self._pattern):
            return torch.zeros_like(self.allowed)
        return self._masks.search(self.best, self._project(count), self._rows)

    def _project(self, count: int) -> Project:
        shape, pattern, allowed = self.seen.weight.shape, self._pattern, self.allowed
        pair = n_of_m(pattern)
        full = bool(allowed.all())

        gone = ~self._units(allowed.reshape(shape))

        def drop(scores: torch.Tensor) -> torch.Tensor:
            if not self._balance:
                return drop_smallest([scores], count)[0]
            scores, inputs = torch.where(gone, -torch.inf, scores), 1 if pattern == "block4" else BLOCK
            return drop_in_sets([scores], [self.seen.layer.groups], count, inputs=inputs)[0]

        def project(importance: torch.Tensor) -> torch.Tensor:
            importance = (importance if full else torch.where(allowed, importance, 0)).reshape(shape)
            if pair is not None:
                keep = keep_n_of_m(importance, *pair)
            elif pattern == "block4":
                blocks = importance.reshape(shape[0], -1, BLOCK, *shape[2:])
                keep = drop(blocks.sum(2))
                keep = keep[:, :, None].expand(blocks.shape).reshape(shape)
            else:
                keep = drop(importance)
            keep = keep.reshape(allowed.shape)
            return keep if full else keep & allowed

        return project

    def solve(self, keep: torch.Tensor, steps: int = 30) -> torch.Tensor:
        """The scaled weights of least error within a mask."""
        return solve(self.form, keep, self.best, steps)

    def keep_inverses(self) -> None:
        """For more than one search."""
        self._masks.keep_inverses()

    def loss(self, v: torch.Tensor) -> float:
        """What the error costs at the network's output, beyond that of the best weights without more zeros."""
        return max(0.0, self.weighted(self.form.error(v) - self.form.error(self.best)))

    def weighted(self, errors: torch.Tensor) -> float:
        """The sum of errors of output channels, [G, O / G], each by what it counts."""
        return float((self._rows * errors).sum())

    def solutions(self) -> Iterator[torch.Tensor]:
        """Scaled weights with each of SHARES of zeros, and with nothing else at last."""
        self._masks.keep_inverses()
        units = _units(self.seen.weight, self._pattern)
        for share in SHARES:
            yield solve(self.form, self.search(round(share * units)), self.best, steps=10)
        yield torch.zeros_like(self.best)

    def zeros(self) -> int:
        """Weights or blocks that are zero already."""
        return int((~self._units(self.allowed.reshape(self.seen.weight.shape))).sum())

    def _units(self, mask: torch.Tensor) -> torch.Tensor:
        """Which weights or blocks hold anything of a mask of the weight's shape."""
        return mask.reshape(len(mask), -1, BLOCK, *mask.shape[2:]).any(2) if self._pattern == "block4" else mask

    def relative_error(self, v: torch.Tensor) -> float:
        if self._energy <= 0:
            return 0.0
        change = float((self.form.error(v) - self.form.error(self.best)).sum())
        return math.sqrt(max(change, 0.0) / self._energy)

    def parameters(self, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The layer's weight and bias from weights [G, O / G, K]: a bias takes the mean of what they change."""
        layer, bias = self.seen.layer, self.seen.bias
        if layer.bias is not None and bias is not None:
            bias = bias + self.moments.lost(self._before, weight)
        return weight.reshape(layer.weight.shape), bias

    def write(self, weight: torch.Tensor) -> None:
        """Puts weights [G, O / G, K] into the layer."""
        layer = self.seen.layer
        found, bias = self.parameters(weight)
        layer.weight.copy_(found)
        if layer.bias is not None and bias is not None:
            layer.bias.copy_(bias)


def moments_of(seen: Visit) -> Moments:
    """The moments of a layer's inputs, finite."""
    return parted_moments_of(seen, [(seen.inputs, seen.references)])[1]


def parted_moments_of(
    seen: Visit, parts: Sequence[tuple[Sequence[torch.Tensor], Sequence[torch.Tensor]]]
) -> tuple[list[Moments], Moments]:
    """The moments of parts of a layer's inputs and references, and of all of them, finite."""
    # Positions of an image are much alike: of more images, fewer are enough.
    samples = _SAMPLES_OF_VERSIONS if seen.varied else SAMPLES
    centered = seen.layer.bias is not None
    apart, together = parted_moments(seen.layer, parts, centered=centered, samples=samples)
    together = _finite(together, seen.name)
    return [_finite(one, "") for one in apart], together


def _finite(found: Moments, name: str) -> Moments:
    """The moments; where they are not finite, those of inputs that know nothing of each other."""
    means = (found.mean, found.reference_mean)
    probe = found.cross(torch.ones_like(found.mean)[:, None])
    if found.covariance.is_finite() and all(bool(torch.isfinite(part).all()) for part in (*means, probe)):
        return found
    if name:  # of several parts, it is said once
        _log.warning(
            "layer '%s': its inputs are NaN, infinite or too large to square, so it is pruned by magnitude; "
            "look at the network's activations on the calibration inputs",
            name,
        )
    groups, size = found.mean.shape
    identity = LowRank(torch.zeros(groups, size, 0), torch.ones(groups, size))
    nothing = torch.zeros_like(found.mean)
    return Moments(identity, identity.times, nothing, nothing)
