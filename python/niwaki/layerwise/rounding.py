"""Rounding weights to a grid so that the layer's outputs change least: each rounding corrects the errors before it."""

from __future__ import annotations

import torch

from niwaki.layerwise.levels import Levels, Uniform
from niwaki.layerwise.solve import Quadratic

EIGHT_BITS = Uniform(127)
# Columns whose effect on the others is added in one matrix product.
_BLOCK = 64


def round_to_grid(
    form: Quadratic,
    v: torch.Tensor,
    keep: torch.Tensor,
    step: torch.Tensor,
    levels: Levels = EIGHT_BITS,
    *,
    passes: int = 3,
) -> torch.Tensor:
    """Levels q whose weights q * step have a small error in the quadratic form.

    Columns are rounded one after the other, those with the largest inputs first. Each goes to the grid point nearest to
    what is best for it, given the columns before it as they were rounded; so it takes over part of their errors, as in
    GPTQ (Frantar et al., 2023). Further passes move single weights while that makes the error smaller: cyclic
    coordinate descent on the grid (as in QuantEase, Behdin et al., 2023).

    Args:
        form: of the layer, see solve.py.
        v: float32 [G, O / G, K], scaled weights, zero outside of the mask.
        keep: bool of the same shape; weights outside of it stay zero.
        step: float32 [G, O / G], the distance of two grid points of a weight (not scaled), positive.
        levels: the grid.
        passes: how often each weight is looked at.

    Returns:
        Levels, float32, of the shape of v.
    """
    # Groups have an order each: the columns with the largest inputs matter most, and have the most others to help.
    order = form.scale.argsort(dim=2, descending=True)
    a = form.a.ordered(order)
    moved = order.expand_as(v)
    v, b, keep = v.gather(2, moved), form.b.gather(2, moved), keep.gather(2, moved)
    steps = step[:, :, None] * form.scale.gather(2, order)
    q = torch.zeros_like(v)
    rest = a.residual(b, v)
    for _ in range(passes):
        for begin in range(0, v.shape[2], _BLOCK):
            part = slice(begin, begin + _BLOCK)
            local = rest.of(part).clone()
            square = a.block(part)
            change = torch.zeros_like(local)
            for j in range(local.shape[2]):
                k = begin + j
                best = v[:, :, k] + local[:, :, j]
                rounded = levels.nearest(best / steps[:, :, k])
                rounded = torch.where(keep[:, :, k], rounded, 0)
                q[:, :, k] = rounded
                delta = rounded * steps[:, :, k] - v[:, :, k]
                v[:, :, k] += delta
                change[:, :, j] = delta
                local -= delta[:, :, None] * square[:, j, None]
            rest.moved(part, change)
    return torch.zeros_like(q).scatter_(2, moved, q)
