"""Gives the channels of a layer's outputs the mean and spread back that they had in the network as it was.

Weights of least squared error predict what they cannot know by its mean, so their outputs vary less than those of the
trained weights did. One layer hardly shows it; over a network it adds up, until the last layers see a shadow of what
they were trained on. A factor for each output channel, which goes into its weights or their scale, and its bias make
good for it, as tuning batch norms after pruning does; layers are walked in order, so each sees the corrected ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from niwaki.layerwise.moments import columns_of
from niwaki.layerwise.walk import Visit
from niwaki.modules.layer import Layer

# A factor beyond these would mend a channel that is lost, or one that hardly varies.
_LEAST, _MOST = 0.5, 2.0
# Of the mean spread of the channels: what varies less is constant.
_STILL = 1e-4
# Columns of inputs. Of fewer, nobody knows the spread.
_FEWEST = 64


def reads_tokens(seen: Visit) -> bool:
    """Whether the layer is a linear one on tokens.

    There norms make good for spreads by themselves, and corrections were measured to cost (docs/pruning.md).
    """
    return seen.layer.weight.dim() == 2 and any(x.dim() > 2 for x in seen.inputs)


def restore_spread(seen: Visit, *, alike: bool = False) -> torch.Tensor:
    """Multiplies the weights of each output channel, and sets its bias.

    Args:
        seen: the layer and its inputs; its weight is as it will be but for the factor.
        alike: whether all channels have one factor, for weights with one scale.

    Returns:
        The factors, float32 [O]. They are 1, and nothing is changed, for a layer without a bias, where nothing would
        hold the mean, for one on tokens, and where inputs are very few.
    """
    layer = seen.layer
    ones = torch.ones(len(layer.weight))
    if layer.bias is None or seen.bias is None or reads_tokens(seen):
        return ones
    if columns_of(layer, seen.inputs) < _FEWEST:
        return ones
    same = torch.equal(layer.weight, seen.weight) and torch.equal(layer.bias, seen.bias)
    if same and all(x is r or torch.equal(x, r) for x, r in zip(seen.inputs, seen.references, strict=True)):
        return ones
    mean, spread = _statistics(layer, seen.inputs, layer.weight, layer.bias)
    wanted_mean, wanted = _statistics(layer, seen.references, seen.weight, seen.bias)
    if not bool(torch.isfinite(torch.stack([mean, spread, wanted_mean, wanted])).all()):
        return ones
    still = torch.minimum(spread, wanted) <= _STILL * wanted.mean()
    if alike:
        ratio = (wanted[~still].square().sum() / spread[~still].square().sum().clamp_min(1e-300)).sqrt()
        factor = ratio.clamp(_LEAST, _MOST).expand_as(wanted) if bool((~still).any()) else torch.ones_like(wanted)
    else:
        factor = torch.where(still, 1.0, (wanted / spread.clamp_min(1e-300)).clamp(_LEAST, _MOST))
    layer.weight.mul_(factor.float().reshape(-1, *[1] * (layer.weight.dim() - 1)))
    layer.bias.copy_((factor * (layer.bias.double() - mean) + wanted_mean).float())
    return factor.float()


def _statistics(
    layer: Layer, inputs: Sequence[torch.Tensor], weight: torch.Tensor, bias: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of each channel of the outputs, float64 [O]."""
    count, total, squares = 0, torch.zeros(len(weight), dtype=torch.float64), torch.zeros(len(weight)).double()
    shift = torch.zeros(len(weight), 1, dtype=torch.float64)
    given = {"weight": weight, "bias": bias}
    for x in inputs:
        y = torch.func.functional_call(layer.module, given, (x,))
        y = y.movedim(layer.axis(y.dim()), 0).flatten(1).double()
        if count == 0 and y.numel():
            shift = y.mean(1, keepdim=True)  # near the mean of all: squares of large means would leave no digits
        y -= shift
        count += y.shape[1]
        total += y.sum(1)
        squares += y.square().sum(1)
    mean = total / max(1, count)
    return mean + shift[:, 0], (squares / max(1, count) - mean.square()).clamp_min(0).sqrt()
