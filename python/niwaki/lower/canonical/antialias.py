"""Interpolation that averages what it shrinks, torch's antialias=True: a product with weights for each axis."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

_aten = torch.ops.aten


def _cubic(x: torch.Tensor) -> torch.Tensor:
    """Of distances that are not negative, as PIL has it: with -0.5."""
    near = (1.5 * x - 2.5) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * -0.5
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def _linear(x: torch.Tensor) -> torch.Tensor:
    return (1 - x).clamp(min=0)


def _weights(
    inputs: Any,
    outputs: Any,
    factor: float,
    corners: bool,
    filter: Callable[[torch.Tensor], torch.Tensor],
    reach: int,
) -> torch.Tensor:
    """What each output takes of each input: float32 [outputs, inputs], with sizes that may be free.

    Args:
        inputs, outputs: sizes of the axis.
        factor: by which the axis grows; 0 where that follows from its sizes.
        corners: the first and the last pixels lie upon each other.
        filter: of a distance in pixels.
        reach: the distance from which on it is 0.
    """
    less = 1 if corners else 0
    sizes = [torch.scalar_tensor(size - less, dtype=torch.float32) for size in (inputs, outputs)]
    scale = sizes[0] / sizes[1].clamp(min=1)
    if factor and not corners:
        scale = torch.scalar_tensor(1 / factor, dtype=torch.float32)
    stretch = scale.clamp(min=1)
    center = scale * (torch.arange(outputs, dtype=torch.float32)[:, None] + 0.5)
    pixels = torch.arange(inputs, dtype=torch.float32)[None, :]
    first = (center - reach * stretch + 0.5).trunc()
    end = (center + reach * stretch + 0.5).trunc()
    weights = filter(((pixels - center + 0.5) / stretch).abs())
    weights = torch.where((pixels >= first) & (pixels < end), weights, torch.zeros_like(weights))
    return weights / weights.sum(1, keepdim=True)


def product(x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """[..., A] times [A, B]: [..., B]. Of two dimensions, for which torch asks nothing of free sizes."""
    *outer, inner = x.shape
    rows = x.clone(memory_format=torch.contiguous_format).view(math.prod(outer), inner)
    return torch.mm(rows, matrix).view(*outer, matrix.shape[1])


def _resize(filter: Callable[[torch.Tensor], torch.Tensor], reach: int) -> Callable[..., torch.Tensor]:
    def resize(x: torch.Tensor, size: list[Any] | None, corners: bool, factors: list[float] | None) -> torch.Tensor:
        each = factors or [0.0, 0.0]
        if size is None:
            size = [torch.sym_int(before * factor) for before, factor in zip(x.shape[2:], each, strict=True)]
        size = [torch.sym_max(after, 0) for after in size]  # torch does not know of a product that it is not negative
        rows, columns = (
            _weights(inputs, outputs, factor, corners, filter, reach)
            for inputs, outputs, factor in zip(x.shape[2:], size, each, strict=True)
        )
        across = product(x, columns.transpose(0, 1))
        return product(across.transpose(2, 3), rows.transpose(0, 1)).transpose(2, 3)

    return resize


DECOMPOSITIONS: dict[Any, Callable[..., torch.Tensor]] = {
    _aten._upsample_bicubic2d_aa.vec: _resize(_cubic, 2),
    _aten._upsample_bilinear2d_aa.vec: _resize(_linear, 1),
}
