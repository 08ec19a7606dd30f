"""Batch norms that keep no statistics, composed: they take the mean and variance of the batch itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def _batch_norm(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    mean: torch.Tensor | None,
    variance: torch.Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn: bool,
) -> torch.Tensor:
    if mean is not None or variance is not None:
        raise ValueError("statistics are kept")
    axes = [axis for axis in range(x.dim()) if axis != 1]
    found = (x - x.mean(axes, keepdim=True)) * (x.var(axes, correction=0, keepdim=True) + eps).rsqrt()
    shape = [-1 if axis == 1 else 1 for axis in range(x.dim())]
    found = found if weight is None else found * weight.reshape(shape)
    return found if bias is None else found + bias.reshape(shape)


DECOMPOSITIONS: dict[Any, Callable[..., Any]] = {torch.ops.aten.batch_norm.default: _batch_norm}
