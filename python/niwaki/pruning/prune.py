"""niwaki.prune: the weights of least importance become zero, and stay zero."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from niwaki.modules import (
    bake_parametrizations,
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
from niwaki.pruning.second_order import Finish, Pruned, prune_layers
from niwaki.pruning.select import BLOCK, expand, keep_largest, keep_n_of_m, n_of_m, scores_of
from niwaki.quantization.inputs import Batch, batches, check_calibration

_log = logging.getLogger("niwaki")


def prune(
    model: nn.Module,
    config: PruneConfig | None = None,
    *,
    calibration: Any = None,
    transform: Callable[[Any], Any] | None = None,
    progress: bool = True,
    **options: Any,
) -> nn.Module:
    """Returns a copy of the network with its weights of least importance masked to zero.

    The copy trains like any network: the masks are parametrizations and stay in force under every optimizer. Pruning it
    again, with a higher sparsity, continues where this call stopped. Layers that the pattern does not fit stay dense;
    the logger 'niwaki' says which and why, and the report of niwaki.compress repeats it.

    With importance='second_order', layers are pruned in the order in which the network calls them. In each, the zeros
    are chosen and the other weights (and the bias) are adapted so that its outputs, on the calibration inputs and after
    the pruned layers before it, stay as close as they can to those of `model`. Batch norms use their running
    statistics.

    Args:
        model: a float32 network on the CPU. It is not changed.
        config: the options. Instead of one, its fields may be given by name: niwaki.prune(model, sparsity=0.75).
        calibration: for second order, typical inputs, as in niwaki.compress; 512 to 1024 are a good number. As many are
            used as fit 2 GB of memory with the activations of the network.
        transform: called with each item of the calibration; returns the input.
        progress: shows progress bars for second order, if stderr is a terminal.

    Raises:
        TypeError, ValueError: an argument or a layer is not fit; says which and why.
        NiwakiError: the model cannot be copied, or, for second order, not captured by torch.export.
    """
    checked = make_config(config, options)
    if checked.importance == "magnitude":
        if calibration is not None or transform is not None:
            raise TypeError(
                "niwaki.prune: importance='magnitude' looks at no inputs; leave calibration out, or ask for "
                "importance='second_order'."
            )
        return prune_with_reasons(model, checked)[0]
    if calibration is None:
        raise TypeError("niwaki.prune: importance='second_order' needs calibration=, some hundred typical inputs.")
    stream = batches(check_calibration(calibration), transform)
    return prune_with_reasons(model, checked, stream, progress=progress)[0]


def make_config(config: PruneConfig | None, options: dict[str, Any]) -> PruneConfig:
    """The config, or one made of its fields."""
    if config is None:
        if "sparsity" not in options and n_of_m(str(options.get("pattern", ""))) is None:
            raise TypeError("niwaki.prune: give a sparsity, such as sparsity=0.75, or a PruneConfig.")
        if options.get("sparsity") is not None:
            check_sparsity(options["sparsity"], "niwaki.prune")
        return PruneConfig(**options)
    if not isinstance(config, PruneConfig):
        raise TypeError(
            f"niwaki.prune: config must be a PruneConfig, not {type(config).__name__}; or write sparsity={config!r}."
        )
    if options:
        raise TypeError(f"niwaki.prune: give a PruneConfig or {', '.join(options)}, not both.")
    return config


def prune_with_reasons(
    model: nn.Module,
    config: PruneConfig,
    calibration: Iterable[Batch] | None = None,
    *,
    finish: Finish | None = None,
    progress: bool = True,
) -> tuple[nn.Module, dict[str, str]]:
    """As `prune`. Returns also why a layer stayed as it was, by its name.

    Args:
        model, config, progress: as in `prune`.
        calibration: for second order; one batch after the other.
        finish: for second order, see prune_layers.
    """
    check_model(model, "prune")
    check_skips(model, config.skip, "prune")
    copied = copy_model(model)
    shared = Counter(id(parameter) for module in copied.modules() for parameter in module._parameters.values())
    layers: dict[str, nn.Conv2d | nn.Linear] = {}
    reasons: dict[str, str] = {}
    for name, layer in named_layers(copied):
        check_finite(name, layer)
        reason = _why_not(name, layer, config, shared)
        if reason:
            _leave(name, reason, reasons)
        else:
            layers[name] = layer
    if not layers and config.share > 0:
        details = "; ".join(f"'{name}': {reason}" for name, reason in list(reasons.items())[:3])
        raise ValueError(
            f"niwaki.prune: no layer can be pruned in the pattern '{config.pattern}' "
            f"({details or 'there are no layers'}). Try pattern='unstructured'."
        )
    if config.importance == "magnitude":
        _by_magnitude(list(layers.values()), config)
    else:
        assert calibration is not None
        _by_second_order(copied, layers, config, calibration, finish, progress, reasons)
    return copied, reasons


def _leave(name: str, reason: str, reasons: dict[str, str]) -> None:
    reasons[name] = reason
    _log.info("prune: layer '%s' stays as it is: %s", name, reason)


def _by_magnitude(layers: list[nn.Conv2d | nn.Linear], config: PruneConfig) -> None:
    scores = [scores_of(layer.weight, config.pattern) for layer in layers]
    pair = n_of_m(config.pattern)
    if pair is not None:
        kept = [keep_n_of_m(score, *pair) for score in scores]
    elif config.scope == "global":
        kept = keep_largest(scores, config.share) if scores else []
    else:
        kept = [keep_largest([score], config.share)[0] for score in scores]
    with torch.inference_mode(False), torch.no_grad():
        for layer, keep in zip(layers, kept, strict=True):
            set_mask(layer, expand(keep, layer.weight.shape, config.pattern))


def _by_second_order(
    model: nn.Module,
    layers: dict[str, nn.Conv2d | nn.Linear],
    config: PruneConfig,
    calibration: Iterable[Batch],
    finish: Finish | None,
    progress: bool,
    reasons: dict[str, str],
) -> None:
    """Prunes a baked copy, whose graph torch.export understands, and brings the result back behind the masks."""
    with torch.inference_mode(False):
        baked = copy_model(model).eval()
        bake_parametrizations(baked)
        found = dict(named_layers(baked))
        chosen = [found[name] for name in layers]
        results = prune_layers(baked, chosen, config, calibration, finish=finish, progress=progress)
        with torch.no_grad():
            for name, layer in layers.items():
                result: Pruned | None = results.get(id(found[name]))
                if result is None:
                    _leave(name, "not pruned: not called as a layer when the network ran", reasons)
                    continue
                if find_mask(layer) is not None:
                    layer.parametrizations["weight"].original.copy_(found[name].weight)  # type: ignore[index, union-attr]
                else:
                    layer.weight.copy_(found[name].weight)
                bias = found[name].bias
                if layer.bias is not None and bias is not None:
                    layer.bias.copy_(bias)
                set_mask(layer, result.mask)


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
    pair = n_of_m(config.pattern)
    if pair is not None and layer.weight.shape[1] % pair[1]:
        return (
            f"not pruned: {config.pattern} needs input channels in groups of {pair[1]}, and it has "
            f"{layer.weight.shape[1]}"
        )
    return ""
