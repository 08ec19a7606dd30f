"""With few bits for all layers, a few more where rounding costs most, while that makes the weights hardly larger.

Layers differ: of EfficientNet-lite0, the stem and the first three stages hold 1.1 % of the weights, and have 45 % of
what 4 bits cost. What each layer costs is measured: it is rounded alone, as it will be, and the network is run. It is
known before any layer is fitted, so that all others are fitted to what comes of it.
"""

from __future__ import annotations

import dataclasses
import glob
import logging
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import nn

from niwaki.layerwise.exact import Exact
from niwaki.layerwise.knapsack import choose
from niwaki.layerwise.levels import Uniform
from niwaki.layerwise.walk import Visit, Walk
from niwaki.modules.layer import named_layers
from niwaki.optimization.plain_copy import plain_copy
from niwaki.quantization.config import QuantizeConfig
from niwaki.quantization.grid import Grid
from niwaki.quantization.inputs import Batch
from niwaki.quantization.rounding import rounded

_log = logging.getLogger("niwaki")
_MOST = 8
# Inputs that layers are rounded on, about, and those that the network is run with, of which there are 16 at most.
_INPUTS, _ONE_OF = 64, 4


@dataclass(frozen=True)
class Spared:
    """Which layers keep more bits.

    Attributes:
        config: with the bits of each of them.
        reasons: what they would have cost, by name.
    """

    config: QuantizeConfig
    reasons: dict[str, str] = field(default_factory=dict)

    def with_others(self, reasons: Mapping[str, str]) -> dict[str, str]:
        """The reasons, before others of the same layers."""
        joined = {name: f"{self.reasons[name]}; {why}" for name, why in reasons.items() if name in self.reasons}
        return {**self.reasons, **reasons, **joined}


def spare_layers(
    model: nn.Module, names: Collection[str], config: QuantizeConfig, batches: Iterable[Batch], *, progress: bool = True
) -> Spared:
    """Chooses the layers that keep more than the `weight_bits` of all, within `spare`.

    Args:
        model: float32. It is not changed.
        names: of the layers to round.
        config: the options. Where its bits are 8, or given by the layer, or where weights are rounded without a look at
            inputs, it is returned as it is.
        batches: calibration inputs.
        progress: shows a progress bar, if stderr is a terminal.

    Raises:
        NiwakiError: the network cannot be captured, so that it could not be rounded either.
    """
    bits = config.weight_bits
    if not isinstance(bits, int) or bits == _MOST or config.codebook is not None or config.rounding == "nearest":
        return Spared(config)
    copied = plain_copy(model).requires_grad_(False)
    sizes = {name: layer.weight.numel() for name, layer in named_layers(copied) if name in names}
    room = config.spare * bits * sum(sizes.values())
    # A bit more of each weight is the least that a layer can get.
    sizes = {name: size for name, size in sizes.items() if 0 < size <= room}
    if not sizes:
        return Spared(config)
    costs, energy = _costs(copied, sizes, config, list(_few(batches)), progress)
    names = list(costs)
    options = range(bits, _MOST + 1)
    gained = [(Uniform.of_bits(bits).largest / Uniform.of_bits(each).largest) ** 2 for each in options]
    picked = choose(
        [[costs[name] * gain for gain in gained] for name in names],
        [np.array([[float(sizes[name] * (each - bits))] for each in options]) for name in names],
        [room],
    )
    more = {name: options[index] for name, index in zip(names, picked or (), strict=picked is not None) if index}
    if not more:
        return Spared(config)
    pairs = tuple((glob.escape(name), each) for name, each in more.items())
    # Layers of 8 bits make good for what those before them lose.
    rounding = "second_order" if config.rounding == "auto" else config.rounding
    reasons = {
        name: f"{each} bits instead of {bits}, which would change the outputs by {_share(costs[name], energy)}"
        for name, each in more.items()
    }
    _log.info(
        "%d layer%s more than %d bits: %s", len(more), " keeps" if len(more) == 1 else "s keep", bits, ", ".join(more)
    )
    return Spared(dataclasses.replace(config, weight_bits=(*pairs, ("*", bits)), rounding=rounding), reasons)


def _costs(
    model: nn.Module, sizes: Collection[str], config: QuantizeConfig, batches: Sequence[Batch], progress: bool
) -> tuple[dict[str, float], float]:
    """What each layer costs at the network's outputs, rounded alone; and the mean square of these."""
    kept = [batch for index, batch in enumerate(batches) if (index + 1) % _ONE_OF] if len(batches) >= _ONE_OF else []
    exact = Exact(model, batches[_ONE_OF - 1 :: _ONE_OF] or batches)
    grid = Grid(config)
    costs: dict[str, float] = {}

    def visit(seen: Visit) -> None:
        if seen.name not in sizes:
            return
        weight, bias = rounded(grid, seen)
        cost = exact.cost(seen.layer, weight, bias)
        costs[seen.name] = cost if math.isfinite(cost) else 0.0

    Walk(model, kept or batches).run(visit, reference=False, what="choosing bits", progress=progress)
    return costs, exact.energy


def _few(batches: Iterable[Batch]) -> Iterator[Batch]:
    """So many batches that hold enough inputs."""
    inputs = 0
    for batch in batches:
        yield batch
        inputs += batch.inputs
        if inputs >= _INPUTS:
            return


def _share(cost: float, energy: float) -> str:
    return f"{100 * math.sqrt(cost / energy):.2g} %" if energy > 0 else "an unknown share"
