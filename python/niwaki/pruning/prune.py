"""niwaki.prune: the weights of smallest magnitude become zero, and stay zero."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

import torch
from torch import nn

from niwaki.modules import (
    check_finite,
    check_model,
    check_skips,
    copy_model,
    is_conv2d,
    is_linear,
    matches,
    named_layers,
)
from niwaki.pruning.config import PruneConfig, check_sparsity
from niwaki.pruning.mask import find_mask, set_mask
from niwaki.pruning.select import BLOCK, expand, keep_largest, scores_of

_log = logging.getLogger("niwaki")


def prune(model: nn.Module, config: PruneConfig | None = None, **options: Any) -> nn.Module:
    """Returns a copy of the network with its weights of smallest magnitude masked to zero.

    The copy trains like any network: the masks are parametrizations and stay in force under every optimizer. Pruning it
    again, with a higher sparsity, continues where this call stopped. Layers that the pattern does not fit stay dense;
    the logger 'niwaki' says which and why, and the report of niwaki.compress repeats it.

    Args:
        model: a float32 network on the CPU. It is not changed.
        config: the options. Instead of one, its fields may be given by name: niwaki.prune(model, sparsity=0.75).

    Raises:
        TypeError, ValueError: an argument or a layer is not fit; says which and why.
        NiwakiError: the model cannot be copied.
    """
    return prune_with_reasons(model, make_config(config, options))[0]


def make_config(config: PruneConfig | None, options: dict[str, Any]) -> PruneConfig:
    """The config, or one made of its fields."""
    if config is None:
        if "sparsity" not in options:
            raise TypeError("niwaki.prune: give a sparsity, such as sparsity=0.75, or a PruneConfig.")
        check_sparsity(options["sparsity"], "niwaki.prune")
        return PruneConfig(**options)
    if not isinstance(config, PruneConfig):
        raise TypeError(
            f"niwaki.prune: config must be a PruneConfig, not {type(config).__name__}; or write sparsity={config!r}."
        )
    if options:
        raise TypeError(f"niwaki.prune: give a PruneConfig or {', '.join(options)}, not both.")
    return config


def prune_with_reasons(model: nn.Module, config: PruneConfig) -> tuple[nn.Module, dict[str, str]]:
    """As `prune`. Returns also why a layer stayed as it was, by its name."""
    check_model(model, "prune")
    check_skips(model, config.skip, "prune")
    copied = copy_model(model)
    shared = Counter(id(parameter) for module in copied.modules() for parameter in module._parameters.values())
    layers: list[nn.Conv2d | nn.Linear] = []
    reasons: dict[str, str] = {}
    for name, layer in named_layers(copied):
        check_finite(name, layer)
        reason = _why_not(name, layer, config, shared)
        if reason:
            reasons[name] = reason
            _log.info("prune: layer '%s' stays as it is: %s", name, reason)
        else:
            layers.append(layer)
    if not layers and config.sparsity > 0:
        details = "; ".join(f"'{name}': {reason}" for name, reason in list(reasons.items())[:3])
        raise ValueError(
            f"niwaki.prune: no layer can be pruned in the pattern '{config.pattern}' "
            f"({details or 'there are no layers'}). Try pattern='unstructured'."
        )
    scores = [scores_of(layer.weight, config.pattern) for layer in layers]
    if config.scope == "global":
        kept = keep_largest(scores, config.sparsity) if scores else []
    else:
        kept = [keep_largest([score], config.sparsity)[0] for score in scores]
    with torch.inference_mode(False), torch.no_grad():
        for layer, keep in zip(layers, kept, strict=True):
            set_mask(layer, expand(keep, layer.weight.shape, config.pattern))
    return copied, reasons


def _why_not(name: str, layer: nn.Conv2d | nn.Linear, config: PruneConfig, shared: Counter[int]) -> str:
    if matches(name, config.skip):
        return "not pruned: skipped by name"
    if not (is_conv2d(layer) or is_linear(layer)):
        return f"not pruned: {type(layer).__name__} computes something of its own"
    if layer.weight.numel() == 0:
        return "not pruned: its weight is empty"
    if "weight" not in layer._parameters and find_mask(layer) is None:
        return "not pruned: its weight is computed by another parametrization or hook"
    parameter = layer._parameters.get("weight")
    if parameter is not None and shared[id(parameter)] > 1:
        return "not pruned: its weight is shared with another module"
    if config.pattern == "block4":
        if isinstance(layer, nn.Conv2d) and layer.groups > 1:
            return f"not pruned: block4 needs one group of channels, and it has {layer.groups}"
        if layer.weight.shape[1] % BLOCK:
            return f"not pruned: block4 needs input channels in fours, and it has {layer.weight.shape[1]}"
    return ""
