"""Weights as int8, -127 to 127, with a scale per output channel."""

from __future__ import annotations

from typing import Literal

import torch

from niwaki.layerwise.levels import Levels, Uniform
from niwaki.quantization.affine import SMALLEST_SCALE

# A sum of 66,311 products of at most 255 * 127 still fits int32.
MAX_REDUCTION = 66_311
_INT32 = 2**31 - 1
_MAX_BIAS = 2**30
# input_scale * weight_scale stays a normal float32.
_SMALLEST_PRODUCT = 2.0**-120

EIGHT_BITS = Uniform(127)
WeightRange = Literal["auto", "minmax", "mse"]


def check_reduction(name: str, weight: torch.Tensor) -> None:
    """Raises ValueError, naming the layer, if its sums could overflow int32."""
    reduction = weight[0].numel() if len(weight) else 0
    if reduction > MAX_REDUCTION:
        raise ValueError(
            f"Layer '{name}' sums {reduction} products for each output; more than {MAX_REDUCTION} could overflow "
            f"int32; leave it in float32 with skip=('{name}',)."
        )


def quantize_weight(
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    input_scale: float,
    *,
    per_channel: bool = True,
    weight_range: WeightRange = "auto",
    bits: int = 8,
    scales: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rounds a weight to int8. Zeros stay zeros.

    A scale is at least so large that the bias, in units of input_scale * scale, lies within 2^30 and that no sum
    overflows int32.

    Args:
        weight: float32 [O, ...], finite.
        bias: float32 [O] or None.
        input_scale: scale of the layer's input.
        per_channel: one scale per output channel, else all the same.
        weight_range: 'minmax' keeps the largest weight; 'mse' cuts it off where that makes the squared error smaller;
            'auto' is 'minmax' for 8 bits, else 'mse'.
        bits: 2 to 8; of 4, weights lie in -7 to 7.
        scales: float32 [O], of a weight that lies on their grid already; instead of per_channel and weight_range. Only
            where a sum could overflow they are not kept.

    Returns:
        int8 of the shape of weight, and float32 scales [O], positive.
    """
    weight = weight.detach()
    levels = Uniform.of_bits(8 if scales is not None else bits)
    flat = weight.reshape(len(weight), -1)
    largest = flat.abs().amax(1).double() if flat.numel() else torch.zeros(len(flat), dtype=torch.float64)
    if not per_channel and largest.numel():
        largest = largest.max().expand(len(flat))
    scale = (
        weight_scales(weight, per_channel=per_channel, weight_range=weight_range, levels=levels)
        if scales is None
        else scales.double()
    )
    steps_of_bias = torch.zeros_like(scale) if bias is None else bias.detach().double().abs() / input_scale
    # A channel without weights is its bias alone: any scale that makes the bias exact enough will do.
    alone = torch.where(steps_of_bias > 0, steps_of_bias / 2**22, torch.ones_like(scale))
    scale = torch.where(largest > 0, scale, alone)
    floor = max(SMALLEST_SCALE, _SMALLEST_PRODUCT / input_scale)
    scale = torch.maximum(scale, steps_of_bias / _MAX_BIAS).clamp_min(floor)
    scale32 = scale.float()
    while True:
        q, sums = _to_int8(flat, scale32, levels)
        most = sums * 255 + steps_of_bias / scale32.double() + 1
        if bool((most <= _INT32).all()):
            return q.reshape(weight.shape), scale32
        scale32 = torch.where(most > _INT32, scale32 * (most / _INT32 * 1.01).float(), scale32)


def weight_scales(
    weight: torch.Tensor,
    *,
    per_channel: bool = True,
    weight_range: WeightRange = "auto",
    levels: Levels = EIGHT_BITS,
    importance: torch.Tensor | None = None,
) -> torch.Tensor:
    """float64 [O], the scales that the weights alone ask for; 0 for a channel without weights.

    Args:
        weight: float32 [O, ...].
        per_channel, weight_range: as in quantize_weight.
        levels: what the weights will be rounded to.
        importance: float32 [O, K] or [1, K], what a squared error of each weight counts, for 'mse'.
    """
    flat = weight.detach().reshape(len(weight), -1)
    largest = flat.abs().amax(1).double() if flat.numel() else torch.zeros(len(flat), dtype=torch.float64)
    if not per_channel and largest.numel():
        largest = largest.max().expand(len(flat)).clone()
    scale = largest / levels.largest
    if weight_range == "minmax" or (weight_range == "auto" and levels == EIGHT_BITS):
        return scale
    return _least_error(flat, scale, per_channel, levels, importance)


def _to_int8(flat: torch.Tensor, scale: torch.Tensor, levels: Levels) -> tuple[torch.Tensor, torch.Tensor]:
    """int8 of the shape of flat, and the sum of magnitudes of each row, float64. In parts that fit the cache."""
    q = torch.empty(flat.shape, dtype=torch.int8)
    sums = torch.zeros(len(flat), dtype=torch.float64)
    rows = max(1, 65_536 // max(1, flat.shape[1]))
    for begin in range(0, len(flat), rows):
        part = slice(begin, begin + rows)
        rounded = levels.nearest(flat[part] / scale[part, None])
        q[part] = rounded
        # At most 66,311 * 127 < 2^24: exact in float32.
        sums[part] = rounded.abs_().sum(1)
    return q, sums


def _least_error(
    flat: torch.Tensor, scale: torch.Tensor, per_channel: bool, levels: Levels, importance: torch.Tensor | None
) -> torch.Tensor:
    """The scale among 30 % to 100 % of `scale` with the least squared error, per channel or for all together."""
    best = scale.clone()
    least = torch.full_like(scale, torch.inf)
    safe = scale.clamp_min(SMALLEST_SCALE)
    for step in range(36):
        tried = safe * (1 - 0.02 * step)
        tried32 = tried.float()[:, None]
        squares = (levels.nearest(flat / tried32) * tried32 - flat).square_()
        error = (squares if importance is None else squares * importance).sum(1).double()
        if not per_channel:
            error = error.sum().expand_as(least)
        better = error < least
        best, least = torch.where(better, tried, best), torch.where(better, error, least)
    return best


def relative_error(weight: torch.Tensor, q: torch.Tensor, scale: torch.Tensor) -> float:
    """||weight - scale q|| / ||weight||; 0 for a weight of zeros."""
    norm = float(weight.detach().norm())
    if norm == 0:
        return 0.0
    real = (q.reshape(len(q), -1) * scale[:, None]).reshape(weight.shape)
    return float(real.sub_(weight.detach()).norm()) / norm
