"""How far a layer's weights may move to make good what its zeros cost: by what that gives on inputs that were left out.

With few inputs, the weights that are left follow them instead of what they stand for: the error falls on these, and
grows on all others. Damping pulls weights towards the trained ones; with much of it, they stay as they are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from niwaki.layerwise.moments import columns_of, moments
from niwaki.layerwise.solve import DAMPING, quadratic
from niwaki.layerwise.walk import Visit
from niwaki.modules.layer import Layer
from niwaki.pruning.problem import Problem

# With as many columns of inputs as an output has weights, or more, a choice was measured to gain nothing.
_TRIED = (DAMPING, 0.1, 1.0, 10.0)
# Of so many inputs, one is left out.
_ONE_OF = 4


def choose_damping(seen: Visit, pattern: str, rows: torch.Tensor | None, count: int) -> float:
    """The damping that serves inputs best which did not choose zeros and weights.

    Args:
        seen: the layer and its inputs.
        pattern, rows: as in Problem.
        count: how many weights or blocks to prune.
    """
    layer = seen.layer
    if columns_of(layer, seen.inputs) >= layer.weight[0].numel():
        return DAMPING
    kept, left = _parts(layer, seen.inputs)
    others, references = _parts(layer, seen.references)
    if not left:
        return DAMPING
    fitted = dataclasses.replace(seen, inputs=kept, references=others)
    known = moments(layer, left, references, centered=layer.bias is not None)
    before = layer.matrix(seen.weight)
    held = quadratic(before, known.covariance, known.cross, 0.0)
    losses: dict[float, float] = {}
    for damping in _TRIED:
        problem = Problem(fitted, pattern, rows, quick=True, damping=damping)
        keep = problem.search(count)
        v = torch.where(keep, problem.solve(keep), 0)
        losses[damping] = problem.weighted(held.error(v / problem.form.scale * held.scale))
    return min(losses, key=losses.__getitem__)


def _parts(layer: Layer, inputs: Sequence[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Most of the inputs, and some that are left out: whole batches, or inputs of each; none where there are few."""
    if len(inputs) >= _ONE_OF:
        return [x for i, x in enumerate(inputs) if (i + 1) % _ONE_OF], list(inputs[_ONE_OF - 1 :: _ONE_OF])
    if any(x.dim() <= 1 + layer.spatial or len(x) < _ONE_OF for x in inputs):
        return list(inputs), []
    pairs = [x.split([len(x) - len(x) // _ONE_OF, len(x) // _ONE_OF]) for x in inputs]
    return [kept for kept, _ in pairs], [left for _, left in pairs]
