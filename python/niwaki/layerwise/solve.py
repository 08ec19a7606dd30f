"""Pruning a layer so that its outputs change least: which weights go, and what the others become.

A layer with weights w [O, K] has outputs w r in the network as it was. With inputs x now, and moments C = E[x x'] and
R = E[r x'], the squared error of weights v is, but for a constant, tr(v C v') - 2 tr(w R v'): one quadratic form for
all output channels. C is the Hessian of the optimal brain surgeon (Hassibi & Stork, 1993), taken layer by layer as in
Optimal Brain Compression (Frantar & Alistarh, 2022) and SparseGPT (Frantar & Alistarh, 2023).

The form is minimized over weights with so many zeros by the alternating direction method of multipliers, which moves
weights and zeros together under a penalty that grows (as in ALPS, Meng et al., 2024). On layers of ResNet-56 it ends as
low as removing the blocks one by one with an exact update after each, in a tenth of the time. Then, with the zeros
fixed, what is left is a linear system for each output channel, solved for all at once by conjugate gradients.

All tensors are float32. A layer of G groups is G forms: matrices are [G, K, K], weights [G, O / G, K].
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from niwaki.layerwise.gram import Apply, Gram

_log = logging.getLogger("niwaki")

# From importance to the mask of what is kept; both [G, O / G, K].
Project = Callable[[torch.Tensor], torch.Tensor]

# The penalty of the first stage, that of the last, how many stages, and steps in each. On the layers of ResNet-56, six
# stages leave 1 % more error than ten; where a factorization takes a second, they are enough.
_FIRST, _LAST, _STAGES, _STEPS = 0.1, 2.0, 10, 6
_WIDE, _WIDE_STAGES = 2048, 6
# Weights that are worked on at a time.
_PART = 1 << 22


@dataclass(frozen=True)
class Quadratic:
    """tr(v A v') - 2 tr(B v'), in weights scaled by column so that A has a diagonal of ones.

    Attributes:
        a: [G, K, K], positive semidefinite.
        b: [G, O / G, K].
        scale: [G, 1, K]; v = weight * scale.
    """

    a: Gram
    b: torch.Tensor
    scale: torch.Tensor

    def error(self, v: torch.Tensor) -> torch.Tensor:
        """[G, O / G]: the form's value for each output channel."""
        return torch.cat([((self.a.times(v[:, p]) - 2 * self.b[:, p]) * v[:, p]).sum(2) for p in _parts(v)], 1)


# What a form is damped by, of the mean of the covariance's diagonal, where inputs are many.
DAMPING = 0.01


def quadratic(weight: torch.Tensor, covariance: Gram, cross: Apply, damping: float = DAMPING) -> Quadratic:
    """The form for a layer; damped, so that inputs that never vary, or only together, leave it solvable.

    The damping adds lambda ||v - w||^2: it pulls towards the trained weights, not towards zero.

    Args:
        weight: [G, O / G, K], before.
        covariance: [G, K, K].
        cross: multiplies rows [G, O / G, K] by E[r x'].
        damping: lambda as a share of the mean of the covariance's diagonal.
    """
    diagonal = covariance.diagonal().clamp_min(0)
    amount = (damping * diagonal.mean(1)).clamp_min(1e-12)[:, None, None]
    scale = (diagonal[:, None] + amount).sqrt()
    return Quadratic(covariance.normalized(scale), (cross(weight) + amount * weight) / scale, scale)


def _inverse(a: Gram, penalty: float, name: str = "") -> Apply:
    """(a + penalty)^-1; with a greater penalty, where rounding made that singular."""
    while True:
        found = a.inverse(penalty)
        if found is not None:
            return found
        _log.warning(
            "layer '%s': the covariance of its inputs is singular, even with a penalty of %.3g; four times as much "
            "is tried. More, and more various, calibration inputs help",
            name, penalty,
        )  # fmt: skip
        penalty *= 4


class MaskSearch:
    """Searches for masks of one layer. What costs most, a few factorizations, serves all of its searches.

    Args:
        form: what is minimized.
        stages: of the penalty; by default, so many as the layer's width allows.
        steps: within each stage.
        name: of the layer, for the log.
    """

    def __init__(self, form: Quadratic, stages: int | None = None, steps: int | None = None, name: str = "") -> None:
        if stages is None:
            stages = _STAGES if form.b.shape[-1] < _WIDE else _WIDE_STAGES
        self._form = form
        self._steps = _STEPS if steps is None else steps
        self._name = name
        growth = (_LAST / _FIRST) ** (1 / max(1, stages - 1))
        self._penalties = [_FIRST * growth**stage for stage in range(stages)]
        self._inverses: list[Apply] | None = None

    def keep_inverses(self) -> None:
        """For more than one search."""
        self._inverses = list(self._compute())

    def _compute(self) -> Iterator[Apply]:
        return (_inverse(self._form.a, penalty, self._name) for penalty in self._penalties)

    def search(self, start: torch.Tensor, project: Project, rows: torch.Tensor) -> torch.Tensor:
        """The mask of the weights to keep.

        Args:
            start: scaled weights to begin with.
            project: the mask of the most important weights or blocks.
            rows: [G, O / G], what an error of each output channel counts.
        """
        rows = rows[:, :, None]
        importance = start.square() * rows
        keep = project(importance)
        # Of the method's variables, d is `moved` where it is kept, and the dual is `pull` times `moved` elsewhere.
        moved, pull = start.clone(), 0.0
        for penalty, inverse in zip(self._penalties, self._inverses or self._compute(), strict=True):
            for _ in range(self._steps):
                for part in _parts(start):
                    m, kept = moved[:, part], keep[:, part]
                    v = inverse(torch.where(kept, penalty, -pull).mul_(m).add_(self._form.b[:, part]))
                    m.mul_(~kept).mul_(pull / penalty).add_(v)
                    torch.mul(m.square(), rows[:, part], out=importance[:, part])
                keep = project(importance)
                pull = penalty
        return keep


def _parts(rows: torch.Tensor) -> Iterator[slice]:
    """Rows of [G, O, K], so many at a time that what is computed from them stays in the caches."""
    step = max(1, _PART // max(1, rows.shape[0] * rows.shape[2]))
    return (slice(begin, begin + step) for begin in range(0, rows.shape[1], step))


def solve(
    form: Quadratic, keep: torch.Tensor, start: torch.Tensor, steps: int = 30, tolerance: float = 1e-4
) -> torch.Tensor:
    """The weights of least error among those that are zero outside of the mask, by conjugate gradients.

    Args:
        form: what is minimized.
        keep: bool, the mask.
        start: scaled weights to begin with.
        steps: at most so many.
        tolerance: of the residual, relative to the right side, for each output channel.
    """
    v = torch.empty_like(start)
    for part in _parts(start):
        v[:, part] = _conjugate_gradients(form.a, form.b[:, part], keep[:, part], start[:, part], steps, tolerance)
    return v


def _conjugate_gradients(
    a: Gram, b: torch.Tensor, keep: torch.Tensor, start: torch.Tensor, steps: int, tolerance: float
) -> torch.Tensor:
    v = torch.where(keep, start, 0)
    residual = torch.where(keep, b - a.times(v), 0)
    direction = residual.clone()
    energy = residual.square().sum(2, keepdim=True)
    stop = tolerance**2 * torch.where(keep, b, 0).square().sum(2, keepdim=True)
    for _ in range(steps):
        active = energy > stop
        if not bool(active.any()):
            break
        image = torch.where(keep, a.times(direction), 0)
        curvature = (direction * image).sum(2, keepdim=True)
        length = torch.where(active & (curvature > 0), energy / curvature.clamp_min(1e-30), 0)
        v += length * direction
        residual -= length * image
        renewed = residual.square().sum(2, keepdim=True)
        direction = residual + torch.where(active, renewed / energy.clamp_min(1e-30), 0) * direction
        energy = renewed
    return v
