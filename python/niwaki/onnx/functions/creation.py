"""Values that are made of none, or of shapes alone."""

from __future__ import annotations

import math
from typing import Any

import torch


def float_range(start: torch.Tensor, limit: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    """start, start + step, ... before limit, each of them computed as start + i * step."""
    count = max(0, math.ceil((limit.item() - start.item()) / step.item()))
    return start + torch.arange(count).to(start.dtype) * step


def range_of_sizes(start: Any, limit: Any, step: Any) -> torch.Tensor:
    """As `float_range`, of numbers that follow from shapes, in float32."""
    return torch.arange(start, limit, step, dtype=torch.float32)


def eye(rows: Any, columns: Any, shift: int, dtype: torch.dtype) -> torch.Tensor:
    """Ones on a diagonal."""
    return (torch.arange(columns) - torch.arange(rows).unsqueeze(1) == shift).to(dtype)


def one_hot(indices: torch.Tensor, depth: Any, values: torch.Tensor, axis: int) -> torch.Tensor:
    """values[1] where the index along a new axis of `depth` elements is that of `indices`, else values[0].

    Negative indices count from the end; those that do not exist leave values[0] everywhere.
    """
    indices = indices.to(torch.int64)
    indices = torch.where(indices < 0, indices + depth, indices).unsqueeze(axis)
    places = torch.arange(depth).reshape([-1] + [1] * (indices.dim() - 1 - axis))
    return torch.where(indices == places, values[1], values[0])


def window(kind: str, size: Any, periodic: bool, dtype: torch.dtype) -> torch.Tensor:
    """A window of `size` elements: hann, hamming (with ONNX's 25 / 46) or blackman."""
    turn = torch.arange(size, dtype=torch.float32) * (2 * math.pi / (size if periodic else size - 1))
    if kind == "hann":
        found = 0.5 - 0.5 * torch.cos(turn)
    elif kind == "hamming":
        found = 25 / 46 - 21 / 46 * torch.cos(turn)
    else:
        found = 0.42 - 0.5 * torch.cos(turn) + 0.08 * torch.cos(2 * turn)
    return found.to(dtype)


def non_zero(x: torch.Tensor) -> torch.Tensor:
    """Where x is not zero: [rank, count]."""
    return torch.nonzero(x).t()
