"""Rounding up or down by gradient descent: AdaRound (Nagel et al., 2020), https://arxiv.org/abs/2004.10568.

The paper samples inputs and measures the squared error of the layer's outputs. That error is a quadratic form in the
weights, which is known here, so it is minimized as it is, over all samples at once.
"""

from __future__ import annotations

import torch

from niwaki.layerwise.levels import Levels
from niwaki.layerwise.solve import Quadratic

# The rectified sigmoid reaches 0 and 1: sigmoid * (high - low) + low, cut off.
_LOW, _HIGH = -0.1, 1.1
_RATE = 0.02
_WARM = 0.2  # of the steps, without the pull towards 0 and 1
_PULL = 0.3  # relative to the error of rounding to the nearest level
_SHARP, _BLUNT = 20.0, 2.0


def learn_rounding(
    form: Quadratic, v: torch.Tensor, keep: torch.Tensor, step: torch.Tensor, levels: Levels, *, steps: int = 400
) -> torch.Tensor:
    """Levels q whose weights q * step have a small error in the quadratic form. Arguments as in round_to_grid.

    Args:
        steps: of gradient descent (Adam).

    Returns:
        Levels, float32, of the shape of v: of each output channel those that were learned, or the nearest
        ones, whichever have the smaller error.
    """
    units = step[:, :, None] * form.scale
    x = v / units
    low, high = levels.around(x)
    nearest = torch.where(keep, levels.nearest(x), 0)
    least = form.error(v)
    before = form.error(nearest * units) - least
    size = before.sum().clamp_min(1e-30)
    start = ((x - low) / (high - low)).clamp(0.01, 0.99)
    with torch.inference_mode(False), torch.enable_grad():
        u = torch.logit((start - _LOW) / (_HIGH - _LOW)).detach().requires_grad_(True)
        adam = torch.optim.Adam([u], lr=_RATE)
        for i in range(steps):
            share = torch.clamp(torch.sigmoid(u) * (_HIGH - _LOW) + _LOW, 0, 1)
            q = torch.where(keep, low + share * (high - low), 0)
            loss = (form.error(q * units) - least).sum() / size
            done = (i / steps - _WARM) / (1 - _WARM)
            if done > 0:
                sharp = _BLUNT + (_SHARP - _BLUNT) * (1 - done)
                loss = loss + _PULL * torch.where(
                    keep, 1 - (2 * share - 1).abs() ** sharp, 0
                ).sum() / keep.sum().clamp_min(1)
            adam.zero_grad()
            loss.backward()
            adam.step()
        learned = torch.where(u.detach() > 0, high, low)
    learned = torch.where(keep, learned, 0)
    better = form.error(learned * units) - least < before
    return torch.where(better[:, :, None], learned, nearest)
