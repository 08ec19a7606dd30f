"""Integers on a grid, held as float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


def item(made: Sequence[torch.Tensor], index: int) -> torch.Tensor:
    """One of several results."""
    return made[index]


def quantize(x: torch.Tensor, scale: Any, zero: Any, low: int, high: int) -> torch.Tensor:
    """round(x / scale) + zero, halves to even, within low to high."""
    return torch.clamp(torch.round(x / scale) + zero, low, high)


def dequantize(q: torch.Tensor, scale: Any, zero: Any) -> torch.Tensor:
    """(q - zero) * scale."""
    found: torch.Tensor = q * scale if zero is None else (q - zero) * scale
    return found


def dynamic(x: torch.Tensor) -> list[torch.Tensor]:
    """x as uint8 in the range of its values, which is made to hold 0; the scale; and the zero point."""
    low = torch.clamp(x.amin(), max=0.0)
    high = torch.clamp(x.amax(), min=0.0)
    scale = (high - low) / 255
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    zero = torch.clamp(torch.round(-low / scale), 0, 255)
    return [quantize(x, scale, zero, 0, 255), scale, zero]


def blocks(scale: torch.Tensor, axis: int, block: int) -> torch.Tensor:
    """A scale for each `block` elements of an axis as one for each element."""
    return scale.repeat_interleave(block, axis)
