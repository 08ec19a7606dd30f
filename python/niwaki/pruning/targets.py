"""Which layers of a network can be pruned, and why others cannot."""

from __future__ import annotations

import logging
from collections import Counter

from torch import nn

from niwaki.modules.checks import check_finite
from niwaki.modules.layer import Layer, named_layers
from niwaki.modules.names import check_skips, matches, sharing_skipped
from niwaki.pruning.config import PruneConfig
from niwaki.pruning.mask import find_mask, masked_first
from niwaki.pruning.select import BLOCK, SET, n_of_m

_log = logging.getLogger("niwaki")


def find_targets(
    model: nn.Module, config: PruneConfig, *, needed: bool = True
) -> tuple[dict[str, Layer], dict[str, str]]:
    """The layers to prune by name, and for the others why not.

    Raises:
        ValueError: a skip pattern matches nothing, a weight is not finite, or there is no layer that can be pruned,
            though one is `needed`.
    """
    check_skips(model, config.skip, "prune")
    shared = Counter(id(parameter) for module in model.modules() for parameter in module._parameters.values())
    like_skipped = sharing_skipped(model, config.skip)
    layers: dict[str, Layer] = {}
    reasons: dict[str, str] = {}
    for name, layer in named_layers(model):
        check_finite(name, layer.module)
        reason = _why_not(name, layer, config, shared)
        if reason and name in like_skipped:
            continue  # said below
        if reason:
            leave(name, reason, reasons)
        else:
            layers[name] = layer
            if config.balance and len(layer.weight) < SET * layer.groups:
                _log.info("prune: layer '%s' has fewer than four outputs to balance, in a group of its channels", name)
    for name, other in like_skipped.items():
        leave(name, f"not pruned: it shares a weight with '{other}', which is skipped by name", reasons)
    if not layers and config.share > 0 and needed:
        details = "; ".join(f"'{name}': {reason}" for name, reason in list(reasons.items())[:3])
        raise ValueError(
            f"niwaki.prune: no layer can be pruned in the pattern '{config.pattern}' "
            f"({details or 'there are no layers'}). Try pattern='unstructured'."
        )
    return layers, reasons


def leave(name: str, reason: str, reasons: dict[str, str]) -> None:
    """Notes, and tells the logger, why a layer stays dense."""
    reasons[name] = reason
    _log.info("prune: layer '%s' stays as it is: %s", name, reason)


def _why_not(name: str, layer: Layer, config: PruneConfig, shared: Counter[int]) -> str:
    if matches(name, config.skip):
        return "not pruned: skipped by name"
    if not layer.is_plain():
        return f"not pruned: {type(layer.module).__name__} computes something of its own"
    if layer.weight.numel() == 0:
        return "not pruned: its weight is empty"
    parameter = layer.module._parameters.get("weight")
    if parameter is None and find_mask(layer.module) is None and not masked_first(layer.module):
        return "not pruned: its weight is computed by another parametrization or hook"
    if parameter is not None and shared[id(parameter)] > 1:
        return "not pruned: its weight is shared with another module"
    if config.pattern == "block4" and layer.weight.shape[1] % BLOCK:
        each = " in each of its groups" if layer.groups > 1 else ""
        return f"not pruned: block4 needs input channels in fours, and it has {layer.weight.shape[1]}{each}"
    pair = n_of_m(config.pattern)
    if pair is not None and layer.weight.shape[1] % pair[1]:
        return (
            f"not pruned: {config.pattern} needs input channels in groups of {pair[1]}, and it has "
            f"{layer.weight.shape[1]}"
        )
    return ""
