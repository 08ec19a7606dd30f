"""The scales of channels for which rounding weights and inputs costs least, to first order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from niwaki.runs.progress import track

# Steps of the descent, their size (of the logarithm of a scale), and how far a scale may go.
_STEPS, _RATE, _FARTHEST = 120, 0.05, math.log(64.0)
# The largest of some numbers, smoothed: the norm with this exponent. A maximum alone would move one channel at a time.
_NORM = 12.0


@dataclass(frozen=True)
class Side:
    """What a layer's rounding errors depend on. Of G groups, O outputs, C inputs and T taps:

    Attributes:
        inputs: int64 [G, C / G], the variable of each input channel.
        outputs: int64 [G, O / G], that of each output channel.
        largest: float32 [G, O / G, C / G], the greatest magnitude of the weights over the taps.
        energy: float32 [G, C / G], squared weights summed over taps and, times what each counts, over outputs.
        reach: float32 [G, C / G], the greatest magnitude of the input channel.
        square: float32 [G, C / G], its mean square, times the taps.
        counts: float32 [G, O / G], what a squared error of the output channel costs at the network's output.
        levels: the greatest whole number that a weight may become: 127 for 8 bits, 7 for 4.
        per_channel: weights have a scale for each output channel.
    """

    inputs: torch.Tensor
    outputs: torch.Tensor
    largest: torch.Tensor
    energy: torch.Tensor
    reach: torch.Tensor
    square: torch.Tensor
    counts: torch.Tensor
    levels: int
    per_channel: bool


def cost(sides: Sequence[Side], logs: torch.Tensor, *, smooth: bool) -> torch.Tensor:
    """What rounding costs at the network's output, with channels multiplied by exp(logs).

    Rounding to steps of d costs d^2 / 12 on average. An input channel that is s times as large is read with weights
    divided by s. So its own rounding counts 1 / s^2, while the step is set by the largest channel of all; and the
    weights' step is set by the largest weight, with errors that count s^2.
    """
    total = torch.zeros(())
    for side in sides:
        s, t = logs[side.inputs].exp(), logs[side.outputs].exp()
        step = _largest((s * side.reach).flatten(), 0, smooth) / 255
        total = total + step.square() * (side.energy / s.square()).sum()
        scaled = side.largest / s[:, None]
        noise = (s.square() * side.square).sum(1, keepdim=True)
        if side.per_channel:
            # A scale of the outputs moves step and errors alike.
            steps = _largest(scaled, 2, smooth) / side.levels
            total = total + (side.counts * steps.square() * noise).sum()
        else:
            step = _largest((scaled * t[:, :, None]).flatten(), 0, smooth) / side.levels
            total = total + step.square() * (side.counts / t.square() * noise).sum()
    return total / 12


def _largest(x: torch.Tensor, dim: int, smooth: bool) -> torch.Tensor:
    if not smooth:
        return x.amax(dim)
    most = x.detach().amax(dim, keepdim=True).clamp_min(1e-30)
    # The mean keeps the norm at the largest one, where all are as large.
    powers: torch.Tensor = ((x / most) ** _NORM).sum(dim)
    return powers ** (1 / _NORM) * most.squeeze(dim)


def balance(
    sides: Sequence[Side], free: torch.Tensor, caps: torch.Tensor, *, progress: bool = False
) -> tuple[torch.Tensor, float]:
    """The scale of each variable, by gradient descent on the logarithms.

    Args:
        sides: of all layers.
        free: bool [variables], those that may be scaled.
        caps: float32 [variables], the most that a scale may be.
        progress: tells on stderr how far it is.

    Returns:
        float32 [variables], 1 where it is not free; and the cost over that of ones. Ones, if nothing better is found.
    """
    before = float(cost(sides, torch.zeros(len(free)), smooth=False))
    ones = torch.ones(len(free))
    if not bool(free.any()) or not math.isfinite(before) or before <= 0:
        return ones, 1.0
    highest = caps.clamp_min(1e-30).log().clamp_max(_FARTHEST)
    with torch.inference_mode(False), torch.enable_grad():
        logs = torch.zeros(len(free), requires_grad=True)
        adam = torch.optim.Adam([logs], lr=_RATE)
        for step in track(range(_STEPS), "equalizing", progress):
            adam.param_groups[0]["lr"] = _RATE * (1 - step / _STEPS)
            bounded = torch.where(free, logs.clamp_min(-_FARTHEST).minimum(highest), 0)
            # Relative, so that Adam's own constant is small beside the gradient.
            loss = (cost(sides, bounded, smooth=True) / before).log()
            adam.zero_grad()
            loss.backward()
            adam.step()
        found = torch.where(free, logs.detach().clamp_min(-_FARTHEST).minimum(highest), 0)
    after = float(cost(sides, found, smooth=False))
    if not math.isfinite(after) or after >= before:
        return ones, 1.0
    return found.exp(), after / before
