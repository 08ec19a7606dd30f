"""Norms."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F


def item(made: Sequence[torch.Tensor], index: int) -> torch.Tensor:
    """One of several results."""
    return made[index]


def layer_norm(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, axis: int, eps: float
) -> list[torch.Tensor]:
    """The norm over the axes from `axis` on, with a weight that broadcasts; the mean, and 1 over the deviation."""
    axes = list(range(axis, x.dim()))
    mean = x.mean(axes, keepdim=True)
    away = x - mean
    inverse = torch.rsqrt((away * away).mean(axes, keepdim=True) + eps)
    found = away * inverse * weight
    return [found if bias is None else found + bias, mean, inverse]


def rms_norm(x: torch.Tensor, weight: torch.Tensor, axis: int, eps: float) -> torch.Tensor:
    """x over the root of the mean of its squares over the axes from `axis` on, times a weight that broadcasts."""
    if tuple(weight.shape) == tuple(x.shape[axis:]):
        return F.rms_norm(x, list(weight.shape), weight, eps)
    squares = (x * x).mean(list(range(axis, x.dim())), keepdim=True)
    return x * torch.rsqrt(squares + eps) * weight


def group_norm_of_groups(
    x: torch.Tensor, groups: int, weight: torch.Tensor, bias: torch.Tensor, eps: float
) -> torch.Tensor:
    """A group norm with a weight and a bias for each group, as it was before opset 21."""
    repeats = x.shape[1] // groups
    return F.group_norm(x, groups, weight.repeat_interleave(repeats), bias.repeat_interleave(repeats), eps)


def local_response_norm(x: torch.Tensor, size: int, alpha: float, beta: float, bias: float) -> torch.Tensor:
    """x over a power of the sum of squares of `size` channels around each; of an even count, one more after it."""
    channels = x.shape[1]
    before = (size - 1) // 2
    padded = F.pad(x * x, [0, 0] * (x.dim() - 2) + [before, size - 1 - before])
    total = padded.narrow(1, 0, channels)
    for shift in range(1, size):
        total = total + padded.narrow(1, shift, channels)
    return x / (bias + alpha / size * total) ** beta


def lp_norm(x: torch.Tensor, axis: int, power: int) -> torch.Tensor:
    """x over its norm along an axis; 0 where that is 0."""
    norm = x.abs().sum(axis, keepdim=True) if power == 1 else (x * x).sum(axis, keepdim=True).sqrt()
    return torch.where(norm == 0, torch.zeros_like(x), x / norm)


def mean_variance(x: torch.Tensor, axes: Sequence[int]) -> torch.Tensor:
    """x with a mean of 0 and a deviation of 1 over axes; 1e-9 is added to it, as ONNX does."""
    mean = x.mean(list(axes), keepdim=True)
    deviation = torch.sqrt((x * x).mean(list(axes), keepdim=True) - mean * mean)
    return (x - mean) / (deviation + 1e-9)
