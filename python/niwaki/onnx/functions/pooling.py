"""Parts of pools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from niwaki.onnx.functions.windows import max_unpool


def item(made: Sequence[torch.Tensor], index: int) -> torch.Tensor:
    """One of several results."""
    return made[index]


def powers(x: torch.Tensor, power: int) -> torch.Tensor:
    """|x| to a power."""
    return torch.pow(torch.abs(x), power)


def unpooled(size: Any, kernel: int, stride: int, padding: int) -> Any:
    """The smallest size that a pool makes this size of."""
    return (size - 1) * stride - padding + kernel


def unpool_into(x: torch.Tensor, indices: torch.Tensor, smallest: Sequence[Any], sizes: Sequence[Any]) -> torch.Tensor:
    """As max_unpool into the smallest sizes, which lie in the beginning of larger ones."""
    found = max_unpool(x, indices, smallest)
    listed: list[Any] = []
    for small, large in zip(smallest, sizes, strict=True):
        listed = [0, large - small, *listed]
    return torch.nn.functional.pad(found, listed)
