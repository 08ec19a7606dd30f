"""Elements around those of a tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F


def constant(x: torch.Tensor, around: Sequence[tuple[Any, Any]], value: torch.Tensor) -> torch.Tensor:
    """x with so many elements of a value that is computed before and after each axis; fewer where they are negative."""
    listed = [each for pair in reversed(around) for each in pair]
    inside = F.pad(torch.ones_like(x, dtype=torch.bool), listed, "constant", False)
    return torch.where(inside, F.pad(x, listed), value.reshape([]).to(x.dtype))


def around(x: torch.Tensor, around: Sequence[tuple[Any, Any]], mode: str) -> torch.Tensor:
    """x with elements of its own before and after each axis: reflected, those at the edge, or from the other end."""
    for axis, (before, after) in enumerate(around):
        size = x.shape[axis]
        places = torch.arange(-before, size + after)
        if mode == "edge":
            places = places.clamp(0, size - 1)
        elif mode == "wrap":
            places = places % size
        else:
            period = 2 * (size - 1) if size > 1 else 1
            places = places % period
            places = torch.minimum(places, period - places) if size > 1 else places
        x = x.index_select(axis, places)
    return x
