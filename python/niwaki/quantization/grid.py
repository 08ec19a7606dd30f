"""Brings weights to their grid, layer by layer, where the quadratic form of the layer's error is known."""

from __future__ import annotations

import torch

from niwaki.layerwise.learned import learn_rounding
from niwaki.layerwise.levels import Levels, Uniform
from niwaki.layerwise.rounding import round_to_grid
from niwaki.layerwise.solve import Quadratic
from niwaki.layerwise.spread import restore_spread
from niwaki.layerwise.walk import Visit
from niwaki.modules.names import matches
from niwaki.quantization.codebook import kmeans, power_of_two
from niwaki.quantization.config import QuantizeConfig
from niwaki.quantization.weights import weight_scales


class Grid:
    """Called with each layer, after its zeros are chosen where it is pruned; returns its weights, on the grid.

    Args:
        config: bits, codebook and rounding. What pruning by second order has adapted is
            never rounded to the nearest: its quadratic form is known.

    Attributes:
        scales: float32 [O] of each layer, by its name: the grid, which quantization has to use.
        options: the config.
    """

    def __init__(self, config: QuantizeConfig) -> None:
        self._config = config
        self.options = config
        self.scales: dict[str, torch.Tensor] = {}

    def __call__(self, seen: Visit, form: Quadratic, keep: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Weights [G, O / G, K], not scaled."""
        weight = v / form.scale
        if matches(seen.name, self._config.skip):
            return weight
        rounding = self._config.rounding_of(seen.name)
        scale, levels = self.fit(seen.name, weight, form.scale.square())
        self.scales[seen.name] = scale
        step = scale.reshape(v.shape[:2])
        if rounding == "learned":
            q = learn_rounding(form, v, keep, step, levels)
        else:
            q = round_to_grid(form, v, keep, step, levels)
        return q * step[:, :, None]

    def restore(self, seen: Visit) -> None:
        """Gives the outputs of a layer their mean and spread back: factors go into its scales, levels stay."""
        factors = restore_spread(seen, alike=not self._config.per_channel)
        if seen.name not in self.scales:
            return
        weight = seen.layer.weight
        step = (self.scales[seen.name] * factors).reshape(-1, *[1] * (weight.dim() - 1))
        self.scales[seen.name] = step.flatten()
        weight.copy_((weight / step).round() * step)

    def fit(self, name: str, weight: torch.Tensor, importance: torch.Tensor) -> tuple[torch.Tensor, Levels]:
        """Scales, float32 [O], and levels of a layer.

        Args:
            name: of the layer.
            weight: float32 [G, O / G, K].
            importance: float32 [G, 1, K], the mean square of the inputs that each weight is multiplied with.
        """
        config = self._config
        flat = weight.flatten(0, 1)
        # An input that is always zero still leaves a weight that should be close.
        counts = (importance + 1e-3 * importance.mean() + 1e-30).expand_as(weight).flatten(0, 1)
        levels: Levels = Uniform.of_bits(config.bits_of(name))
        if config.codebook == "power_of_two":
            levels = power_of_two()
        elif config.codebook == "kmeans":
            levels = Uniform(127)
        scale = weight_scales(
            flat, per_channel=config.per_channel, weight_range=config.weight_range, levels=levels, importance=counts
        )
        # Any step will do where all weights are zero.
        scale = torch.where(scale > 0, scale, 1.0).float().clamp_min(1e-30)
        if config.codebook == "kmeans":
            units = flat / scale[:, None]
            levels = kmeans(units, counts * scale[:, None] ** 2, config.codebook_entries)
        return scale, levels
