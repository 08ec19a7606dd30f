"""Sums, means and extremes over axes, in the type of what they are of."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch


def of_each(x: torch.Tensor, kind: str) -> torch.Tensor:
    """What a reduction over no axis at all makes of each element."""
    if kind in ("ReduceL1", "ReduceL2"):
        return x.abs()
    if kind == "ReduceLogSum":
        return torch.log(x)
    return x * x if kind == "ReduceSumSquare" else x


def reduced(x: torch.Tensor, kind: str, axes: Sequence[int], keep: bool) -> torch.Tensor:
    """A reduction by its name in ONNX."""
    axes = list(axes)
    if kind in ("ReduceMax", "ReduceMin"):
        return _extreme(x, kind == "ReduceMax", axes, keep)
    if kind == "ReduceProd":
        for axis in reversed(axes):
            x = torch.prod(x, axis, keepdim=keep, dtype=x.dtype)
        return x
    if kind == "ReduceLogSumExp":
        wide = x if x.is_floating_point() else x.to(torch.float64)
        return torch.logsumexp(wide, axes, keepdim=keep).to(x.dtype)
    if kind == "ReduceMean":
        if x.is_floating_point():
            return x.mean(axes, keepdim=keep)
        return torch.div(
            x.sum(axes, keepdim=keep), math.prod(x.shape[axis] for axis in axes), rounding_mode="floor"
        ).to(x.dtype)
    if kind == "ReduceL1":
        return x.abs().sum(axes, keepdim=keep, dtype=x.dtype)
    if kind == "ReduceSum":
        return x.sum(axes, keepdim=keep, dtype=x.dtype)
    if kind == "ReduceLogSum":
        return torch.log(x.sum(axes, keepdim=keep)).to(x.dtype)
    squares = (x * x).sum(axes, keepdim=keep)
    return (squares if kind == "ReduceSumSquare" else torch.sqrt(squares)).to(x.dtype)


def _extreme(x: torch.Tensor, largest: bool, axes: list[int], keep: bool) -> torch.Tensor:
    if x.dtype == torch.bool:
        return _extreme(x.to(torch.uint8), largest, axes, keep).to(torch.bool)
    if any(x.shape[axis] == 0 for axis in axes):  # of nothing, it is what every element exceeds
        if x.is_floating_point():
            number = -math.inf if largest else math.inf
        else:
            number = torch.iinfo(x.dtype).min if largest else torch.iinfo(x.dtype).max
        sizes = [1 if axis in axes else size for axis, size in enumerate(x.shape) if keep or axis not in axes]
        return torch.full(sizes, number, dtype=x.dtype)
    return (torch.amax if largest else torch.amin)(x, axes, keep)
