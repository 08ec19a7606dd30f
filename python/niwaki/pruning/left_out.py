"""What a layer's zeros and weights are worth on inputs that did not choose them.

With few inputs, the weights that are left follow them instead of what they stand for: the error falls on these, and
grows on all others. So a layer's losses are measured on inputs that were left out, and so is how far its weights may
move to make good what zeros cost: damping pulls them towards the trained ones; with much of it, they stay as they are.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch

from niwaki.layerwise.allocate import SHARES
from niwaki.layerwise.exact import Exact
from niwaki.layerwise.moments import Moments, columns_of
from niwaki.layerwise.solve import DAMPING, quadratic
from niwaki.layerwise.spread import reads_tokens
from niwaki.layerwise.walk import Visit
from niwaki.modules.layer import Layer
from niwaki.pruning.problem import Problem, parted_moments_of
from niwaki.pruning.select import SET
from niwaki.quantization.inputs import Batch

# With fewer columns of inputs than so many for each weight of an output, weights are pulled towards the trained ones;
# with fewer than one, how much is chosen.
_FEW, _TRIED = 8, (1.0, 10.0)
# Where there are further versions of the inputs, these.
_VARIED = (DAMPING, 0.1, 1.0, 10.0)
# Output channels, of each group, that choose the damping: they tell of the others, and time goes with their number.
_CHANNELS = 64
# Of so many inputs, one is left out.
_ONE_OF = 4
_ALL = (*SHARES, 1.0)


class LeftOut:
    """Some inputs of a layer, by which its zeros and weights are judged, and the others, which decide them.

    Attributes:
        fitted: the visit with the others.
        moments: of these.
        all_moments: of all of the inputs.
        few: there are too few to leave any out.
    """

    def __init__(self, seen: Visit) -> None:
        layer = seen.layer
        kept, left = _parts(seen, seen.inputs)
        same = all(x is r for x, r in zip(seen.inputs, seen.references, strict=True))
        kept_references, left_references = (kept, left) if same else _parts(seen, seen.references)
        self.fitted = dataclasses.replace(seen, inputs=kept, references=kept_references)
        self.few = not left
        parts = [(kept, kept_references), (left, left_references)]
        apart, self.all_moments = parted_moments_of(seen, parts[:1] if self.few else parts)
        self.moments = apart[0]
        if left:
            self._before = layer.matrix(seen.weight)
            self._held = quadratic(self._before, apart[1].covariance, apart[1].cross, 0.0)

    def loss(self, problem: Problem, v: torch.Tensor) -> float:
        """What scaled weights of a problem cost at the network's output, beyond what the trained ones do."""
        return problem.loss(v) if self.few else problem.weighted(self._errors(problem, v) - self._trained())

    def relative_error(self, problem: Problem, v: torch.Tensor) -> float:
        """What they change of the layer's outputs, root of the mean square over that of the outputs."""
        if self.few:
            return problem.relative_error(v)
        energy = float((-self._trained()).clamp_min(0).sum())
        change = float((self._errors(problem, v) - self._trained()).sum())
        return math.sqrt(max(change, 0.0) / energy) if energy > 0 else 0.0

    def _errors(self, problem: Problem, v: torch.Tensor) -> torch.Tensor:
        return self._held.error(v / problem.form.scale * self._held.scale)

    def _trained(self) -> torch.Tensor:
        return self._held.error(self._before * self._held.scale)


class Scale:
    """What a layer's losses are to be multiplied with, by shares of zeros at which the network was run.

    Args:
        exact: runs the network; None leaves losses as they are.
        layer: of the network.
        problem: of the layer.
    """

    # Shares at which the network is run, the nearest that there are, and how much that may tell.
    SHARES, MOST = (0.5, 0.85), 1000.0

    def __init__(self, exact: Exact | None, layer: Layer, problem: Problem) -> None:
        self._exact, self._layer, self._problem = exact, layer, problem
        self._logs: dict[float, float] = {}

    def measure(self, share: float, v: torch.Tensor, loss: float) -> None:
        """Runs the network with scaled weights that have a share of zeros, and cost `loss` as the layer alone tells."""
        if self._exact is None or loss <= 0:
            return
        cost = self._exact.cost(self._layer, *self._problem.parameters(v / self._problem.form.scale))
        ratio = min(max(cost / loss, 1 / self.MOST), self.MOST) if math.isfinite(cost) else 1.0
        self._logs[share] = math.log(ratio)

    def at(self, share: float) -> float:
        """Between the shares, as they go; outside, as the nearest."""
        return math.exp(np.interp(share, list(self._logs), list(self._logs.values()))) if self._logs else 1.0


def choose_damping(
    seen: Visit, pattern: str, rows: torch.Tensor | None, count: int, balance: bool = False
) -> tuple[float, Moments | None]:
    """The damping that serves inputs best which did not choose zeros and weights; and the moments, if it took them.

    Args:
        seen: the layer and its inputs.
        pattern, rows, balance: as in Problem.
        count: how many weights or blocks to prune.
    """
    columns, size = columns_of(seen.layer, seen.inputs), seen.layer.weight[0].numel()
    if not seen.varied and columns >= size:
        return DAMPING if columns >= _FEW * size or reads_tokens(seen) else _TRIED[0], None
    rows = torch.ones(len(seen.weight)) if rows is None else rows  # one scale for all of the problems
    chosen = _some_channels(seen, SET if balance else 1)
    count = round(count * len(chosen) / len(rows))
    rows = rows[chosen]
    left = LeftOut(dataclasses.replace(seen, weight=seen.weight[chosen]))
    if left.few:
        return DAMPING, left.all_moments
    losses: dict[float, float] = {}
    for damping in _VARIED if seen.varied else _TRIED:
        problem = Problem(left.fitted, pattern, rows, quick=True, damping=damping, known=left.moments, balance=balance)
        keep = problem.search(count)
        losses[damping] = left.loss(problem, torch.where(keep, problem.solve(keep), 0))
    return min(losses, key=losses.__getitem__), left.all_moments


def measure_losses(
    seen: Visit, pattern: str, rows: torch.Tensor | None, exact: Exact | None = None, balance: bool = False
) -> tuple[list[float], int]:
    """What a layer costs at each of SHARES of zeros, and at 1 last, and how many units are zero already.

    Args:
        seen: the layer and its inputs, as they are in the network as it was.
        pattern, rows, balance: as in Problem.
        exact: runs the network with some of the weights, and so gives the scale of the losses.
    """
    left = LeftOut(seen)
    problem = Problem(left.fitted, pattern, rows, quick=True, known=left.moments, balance=balance)
    scale = Scale(exact, seen.layer, problem)
    found = []
    for share, v in zip(_ALL, problem.solutions(), strict=True):
        found.append(left.loss(problem, v))
        if share in nearest(_ALL):
            scale.measure(share, v, found[-1])
    return [loss * scale.at(share) for loss, share in zip(found, _ALL, strict=True)], problem.zeros()


def nearest(shares: Sequence[float]) -> set[float]:
    """Those of some shares at which the network is run."""
    return {min(shares, key=lambda share: abs(share - wanted)) for wanted in Scale.SHARES}


def left_out(batches: Sequence[Batch]) -> list[Batch]:
    """The batches that are left out; all of them, where a part of each is."""
    return list(batches[_ONE_OF - 1 :: _ONE_OF] or batches)


def _some_channels(seen: Visit, each: int) -> torch.Tensor:
    """Numbers of output channels, as many of each group, evenly spaced; all where there are no more than _CHANNELS.

    Args:
        seen: the layer.
        each: how many that follow each other stay together.
    """
    groups = seen.layer.groups
    numbers = torch.arange(len(seen.weight)).reshape(groups, -1)
    width = numbers.shape[1]
    if width <= _CHANNELS:
        return numbers.reshape(-1)
    first = torch.linspace(0, width // each - 1, _CHANNELS // each).round().long() * each
    return numbers[:, (first[:, None] + torch.arange(each)).reshape(-1)].reshape(-1)


def _parts(seen: Visit, inputs: Sequence[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Most of the inputs, and some that are left out: whole batches, or inputs of each; none where there are few.

    All versions of an input, and all calls with it, are on the same side.
    """
    layer, origins = seen.layer, seen.origins or range(len(inputs))
    if len(set(origins)) >= _ONE_OF:
        left = [(origin + 1) % _ONE_OF == 0 for origin in origins]
        return [x for x, out in zip(inputs, left, strict=True) if not out], list(itertools.compress(inputs, left))
    if any(x.dim() <= 1 + layer.spatial or len(x) < _ONE_OF for x in inputs):
        return list(inputs), []
    pairs = [x.split([len(x) - len(x) // _ONE_OF, len(x) // _ONE_OF]) for x in inputs]
    return [kept for kept, _ in pairs], [left for _, left in pairs]
