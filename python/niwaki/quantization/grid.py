"""Brings pruned weights to the int8 grid, layer by layer, where second-order pruning has their quadratic form."""

from __future__ import annotations

import torch

from niwaki.layerwise.rounding import round_to_grid
from niwaki.layerwise.solve import Quadratic
from niwaki.layerwise.walk import Visit
from niwaki.modules import matches
from niwaki.quantization.config import QuantizeConfig
from niwaki.quantization.weights import weight_scales


class Grid:
    """Called with each layer after its zeros are chosen; returns its weights, on the grid.

    Attributes:
        scales: float32 [O] of each layer, by its name: the grid, which quantization has to use.
    """

    def __init__(self, config: QuantizeConfig) -> None:
        self._config = config
        self.scales: dict[str, torch.Tensor] = {}

    def __call__(self, seen: Visit, form: Quadratic, keep: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        weight = v / form.scale
        if matches(seen.name, self._config.skip):
            return weight
        flat = weight.reshape(len(seen.weight), -1)
        scale = weight_scales(flat, per_channel=self._config.per_channel, weight_range=self._config.weight_range)
        # Any step will do where all weights are zero.
        scale = torch.where(scale > 0, scale, 1.0).float().clamp_min(1e-30)
        self.scales[seen.name] = scale
        step = scale.reshape(v.shape[:2])
        return round_to_grid(form, v, keep, step) * step[:, :, None]
