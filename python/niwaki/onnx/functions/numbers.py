"""Arithmetic as ONNX defines it, where torch's differs."""

from __future__ import annotations

from typing import Any

import torch


def power(x: torch.Tensor, exponent: Any, dtype: torch.dtype) -> torch.Tensor:
    """x to the power of a number or a tensor, in the type of x."""
    found = torch.pow(x, exponent)
    return found if found.dtype == dtype else found.to(dtype)


def prelu(x: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    """x, or slope * x where x < 0; the slope broadcasts to x."""
    return torch.where(x < 0, x * slope, x)


def shift(x: torch.Tensor, bits: torch.Tensor, left: bool) -> torch.Tensor:
    """x with its bits moved; shifts by all bits or more give 0."""
    if x.dtype in (torch.uint16, torch.uint32, torch.uint64):
        width = x.dtype.itemsize * 8
        moved = shift(x.to(torch.int64), bits.to(torch.int64), left)
        return (moved & ((1 << width) - 1) if width < 64 else moved).to(x.dtype)
    return torch.bitwise_left_shift(x, bits) if left else torch.bitwise_right_shift(x, bits)


def clip(x: torch.Tensor, low: torch.Tensor | None, high: torch.Tensor | None) -> torch.Tensor:
    """x within bounds, the upper of which wins."""
    if low is not None:
        x = torch.maximum(x, low)
    return x if high is None else torch.minimum(x, high)


def shrink(x: torch.Tensor, threshold: float, bias: float) -> torch.Tensor:
    """x + bias below -threshold, x - bias above threshold, 0 between."""
    zero = torch.zeros_like(x)
    return torch.where(x < -threshold, x + bias, torch.where(x > threshold, x - bias, zero)).to(x.dtype)


def hardmax(x: torch.Tensor, axis: int) -> torch.Tensor:
    """1 at the first largest element of an axis, 0 elsewhere."""
    return torch.nn.functional.one_hot(x.argmax(axis), x.shape[axis]).movedim(-1, axis).to(x.dtype)


def at_once(x: torch.Tensor, axis: int, kind: str) -> torch.Tensor:
    """Softmax, LogSoftmax or Hardmax of the axes from `axis` on as if they were one, as it was before opset 13."""
    functions: dict[str, Any] = {"Softmax": torch.softmax, "LogSoftmax": torch.log_softmax, "Hardmax": hardmax}
    flat = x.reshape([*x.shape[:axis], -1])
    return functions[kind](flat, -1).reshape(x.shape)  # type: ignore[no-any-return]
