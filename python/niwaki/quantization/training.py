"""Quantization-aware training: niwaki.prepare, the user's own loop, niwaki.convert."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from niwaki.errors import NiwakiError
from niwaki.layerwise.levels import Uniform
from niwaki.modules.checks import check_model, config_or_default
from niwaki.modules.copies import copy_model, keep_frozen, replace_module
from niwaki.modules.layer import Layer, named_layers
from niwaki.nn.layers import QuantizedLayer, quantized_layers
from niwaki.onnx.plain import without_rounding
from niwaki.optimization.equalize import equalization_calls, equalize_with
from niwaki.optimization.fold import BatchNorm, fold_shift, what_remains
from niwaki.optimization.optimize import OptimizeConfig, optimize
from niwaki.optimization.pairs import find_pairs
from niwaki.pruning.mask import set_mask
from niwaki.quantization.bias import Kept
from niwaki.quantization.calibrate import Calibration
from niwaki.quantization.config import QuantizeConfig
from niwaki.quantization.errors import Check
from niwaki.quantization.fake import (
    FoldedQuantizer,
    InputQuantizer,
    RowQuantizer,
    WeightQuantizer,
    fold_factor,
    follow_together,
)
from niwaki.quantization.held_out import Cutter
from niwaki.quantization.inputs import batches, check_calibration
from niwaki.quantization.numbers import Calibrated, few_calls, with_attentions, with_floats
from niwaki.quantization.quantize import quantizable, quantize, swap_layers
from niwaki.quantization.ranges import Ranges, attach_ranges
from niwaki.quantization.spared import spare_layers
from niwaki.runs.progress import track

_QUANTIZER = "input_quantizer"


def prepare(
    model: nn.Module,
    calibration: Any,
    config: QuantizeConfig | None = None,
    *,
    learned_steps: bool = False,
    momentum: float = 0.01,
    fold_batch_norm: bool = True,
    progress: bool = True,
) -> nn.Module:
    """Makes a network that computes in float32 what int8 will, and can be trained. Then: niwaki.convert.

    Zeros of the weights stay zeros. Batch norms are folded first, so the network trains with their statistics frozen;
    or they stay and train along, until niwaki.freeze_batch_norm.

    Args:
        model: a float32 network on the CPU, trained. It is not changed.
        calibration: as in niwaki.quantize: scales begin with what it shows.
        config: bits, observer and so on. Codebooks cannot be trained. Weights begin as `rounding` leaves them, of fewer
            than 8 bits by second order, and are rounded to the nearest from there; with batch norms that stay they
            begin as they are.
        learned_steps: scales are parameters that train along (LSQ); else those of weights follow the largest weight of
            each channel, and those of inputs the range of the batches.
        momentum: how fast ranges of inputs follow the batches, 0 to 1; 0 keeps those of calibration. Not for
            learned_steps.
        fold_batch_norm: False keeps batch norms that follow a layer: they normalize with each batch's statistics while
            the network trains, and weights are rounded as they will be with the running statistics folded in. Then
            learning rates may be those of ordinary training.
        progress: tells on stderr how far it is.

    Returns:
        A network in eval mode, to be trained like any other; `weight` of a layer is what it computes with.

    Raises:
        TypeError, ValueError: an argument is not fit; says which and why.
        NiwakiError: there is nothing to quantize.
    """
    model = without_rounding(check_model(model, "prepare"))
    config = config_or_default(config, QuantizeConfig, "prepare")
    if config.codebook is not None:
        raise ValueError(
            "niwaki.prepare: codebooks cannot be trained; use codebook=None, and weight_bits for few bits."
        )
    if isinstance(momentum, bool) or not isinstance(momentum, (int, float)) or not 0 <= momentum <= 1:
        raise ValueError(f"niwaki.prepare: momentum must be a number from 0 to 1, not {momentum!r}.")
    if not isinstance(fold_batch_norm, bool):
        raise TypeError(f"niwaki.prepare: fold_batch_norm must be True or False, not {fold_batch_norm!r}.")
    if config.equalize and not fold_batch_norm:
        raise ValueError(
            "niwaki.prepare: equalize moves scales between folded layers; leave fold_batch_norm=False out, or equalize."
        )
    items = check_calibration(calibration, model)
    items = items if hasattr(items, "__len__") and hasattr(items, "__getitem__") else list(items)
    first = next(batches(items, config.transform, model)).copy()
    # Dropout is for training, and a frozen parameter stays frozen.
    folded = optimize(model, OptimizeConfig(remove_dropout=False), args=first.args, kwargs=first.kwargs)
    if config.equalize:
        folded = equalize_with(folded, equalization_calls(items, config, model), config, progress=progress)
    if fold_batch_norm:
        calls = batches(items, config.transform, folded)
        config = spare_layers(folded, quantizable(folded, config), config, calls, progress=progress).config
    start = _start(config, folded=fold_batch_norm)
    quantized = quantize(folded, items, start, progress=progress)
    found = {part.name: part for part in quantized_layers(quantized)}
    prepared, norms = folded, {}
    if not fold_batch_norm:
        plain = OptimizeConfig(fold_batch_norm=False, remove_dropout=False, remove_dead_channels=False)
        prepared = optimize(model, plain, args=first.args, kwargs=first.kwargs)
        pairs, _ = find_pairs(prepared, first.args, first.kwargs)
        norms = {id(layer): norm for layer, norm in pairs if what_remains(norm) is not None}
    keep_frozen(prepared, model)
    for name, layer in list(named_layers(prepared)):
        if name in found and found[name].weight.shape == layer.weight.shape:
            keep = layer.weight.detach() != 0  # as it is before few bits make further zeros
            if start.rounds_by_layer(name):
                _begin_at(layer, found[name])
            if not bool(keep.all()):
                set_mask(layer.module, keep)
            _attach(layer.module, found[name], norms.get(id(layer.module)), config, learned_steps, float(momentum))
    prepared.register_forward_hook(follow_together)
    return prepared


def _start(config: QuantizeConfig, *, folded: bool) -> QuantizeConfig:
    """How the network is rounded with which training begins."""
    rounding = config.rounding if folded else "nearest"
    return dataclasses.replace(config, rounding=rounding, correct_bias=False, equalize=False)


def _begin_at(layer: Layer, seen: QuantizedLayer) -> None:
    """Sets a layer to what was rounded: to the nearest, its weights stay there."""
    with torch.no_grad():
        layer.weight.copy_(seen.weight * seen.weight_scale.reshape(-1, *[1] * (seen.weight.dim() - 1)))
        if layer.bias is not None and seen.bias is not None:
            layer.bias.copy_(seen.bias)


def _attach(
    layer: nn.Module,
    seen: QuantizedLayer,
    norm: BatchNorm | None,
    config: QuantizeConfig,
    learned: bool,
    momentum: float,
) -> None:
    weight = layer.weight.detach()  # type: ignore[operator]
    largest = Uniform.of_bits(config.bits_of(seen.name)).largest
    if norm is None:
        quantizer = WeightQuantizer(weight, seen.weight_scale, largest, learned=learned)
        parametrize.register_parametrization(layer, "weight", quantizer)
    else:
        folded = weight * fold_factor(norm, weight.dim()).detach()
        inner = WeightQuantizer(folded, seen.weight_scale, largest, learned=learned)
        parametrize.register_parametrization(layer, "weight", FoldedQuantizer(inner, norm))
    if seen.dynamic:
        layer.add_module(_QUANTIZER, RowQuantizer())
    else:
        scale, zero_point = float(seen.input_scale), int(seen.input_zero_point)
        symmetric = config.activations == "symmetric"
        inputs = InputQuantizer(scale, zero_point, learned=learned, momentum=momentum, symmetric=symmetric)
        layer.add_module(_QUANTIZER, inputs)
    layer.register_forward_pre_hook(_quantize_input, with_kwargs=True)


def _quantize_input(
    layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    quantizer = getattr(layer, _QUANTIZER)
    if args:
        return (quantizer(args[0]), *args[1:]), kwargs
    return args, kwargs | {"input": quantizer(kwargs["input"])}


def _quantizer(layer: Layer) -> nn.Module | None:
    """What rounds a prepared layer's inputs; None of other layers."""
    return getattr(layer.module, _QUANTIZER, None)


def freeze_batch_norm(network: nn.Module) -> nn.Module:
    """From now on, the network's batch norms use their running statistics and leave them as they are.

    In a loop with niwaki.prepare(..., fold_batch_norm=False), call it for the last part of the training: the network
    then trains with what it will compute with. Scale and shift train on. `network.train()` does not undo it.

    Args:
        network: is changed in place; any network will do.

    Returns:
        The network.
    """
    for module in network.modules():
        if isinstance(module, BatchNorm) and _stay not in module._forward_pre_hooks.values():
            module.register_forward_pre_hook(_stay)
    return network


def _stay(norm: nn.Module, _: tuple[Any, ...]) -> None:
    norm.training = False


def _folded(model: nn.Module) -> nn.Module:
    """Folds the batch norms of a copy into the layers whose weights are rounded for it."""
    with torch.no_grad():
        for _, layer in list(named_layers(model)):
            if _quantizer(layer) is None:
                continue
            steps: Any = layer.module.parametrizations["weight"]  # type: ignore[index]
            if not isinstance(steps[-1], FoldedQuantizer):
                continue
            norm = steps[-1].norm
            factor = fold_factor(norm, layer.weight.dim())
            steps.original.mul_(factor)
            steps[-1] = steps[-1].quantizer
            # Of the batch norm, what it adds is left.
            shift = fold_shift(layer.bias, norm)
            layer.module.bias = nn.Parameter(shift, requires_grad=False)
            rest = what_remains(norm)
            assert rest is not None
            model = replace_module(model, norm, rest)
    return model


def convert(
    prepared: nn.Module, calibration: Any = None, config: QuantizeConfig | None = None, *, progress: bool = True
) -> nn.Module:
    """The int8 network that a prepared one was trained to be: the same scales, the same answers.

    Args:
        prepared: from niwaki.prepare, trained. It is not changed.
        calibration: inputs; they show the ranges of values between layers, such as sums, which niwaki.compile needs.
            None: niwaki.compile asks for them.
        config: observer and transform for `calibration`.
        progress: tells on stderr how far it is.

    Returns:
        As niwaki.quantize.

    Raises:
        TypeError, ValueError: an argument is not fit; says which and why.
        NiwakiError: the network does not come from niwaki.prepare.
    """
    prepared = check_model(prepared, "convert")
    config = QuantizeConfig() if config is None else config
    copied = _folded(copy_model(prepared).eval().requires_grad_(False))
    for key, hook in list(copied._forward_hooks.items()):
        if hook is follow_together:
            del copied._forward_hooks[key]
    layers = {name: layer for name, layer in named_layers(copied) if _quantizer(layer) is not None}
    if not layers:
        raise NiwakiError(
            "niwaki.convert: the network has no layer that niwaki.prepare made; call niwaki.prepare first."
        )
    dynamic = tuple(name for name, layer in layers.items() if isinstance(_quantizer(layer), RowQuantizer))
    model = swap_layers(copied, layers, dynamic)
    parts = quantized_layers(model)
    for part in parts:
        _fill(part, layers[part.name].module)
    if calibration is not None:
        floats = {part: layers[part.name] for part in parts}
        observed, kept = Calibration(model, floats, config), Kept()
        items = track(check_calibration(calibration, prepared), "calibrating", progress)
        for batch in kept.watch(batches(items, config.transform, prepared)):
            observed.observe(batch)
        ranges = Ranges(observed.programs.fingerprint, _trained(observed))
        program = observed.programs.first
        if program is not None and config.precision == "auto":
            calls = few_calls(program, kept.calls, Cutter(prepared))
            network, _ = with_floats(Calibrated(model, Check(program, floats, calls), ranges))
            ranges = with_attentions(network).ranges
        attach_ranges(model, ranges)
    return model


def _trained(observed: Calibration) -> dict[str, tuple[float, float]]:
    """The ranges, with those of layers' inputs as they were trained: the network has learned where they end."""
    trained: dict[str, tuple[float, float]] = {}
    for part, names in observed.sources():
        if part.dynamic:
            continue
        scale, zero_point = float(part.input_scale), int(part.input_zero_point)
        low, high = -zero_point * scale, (255 - zero_point) * scale
        for name in names:
            before = trained.get(name, (low, high))
            trained[name] = (min(low, before[0]), max(high, before[1]))
    ranges = observed.value_ranges()
    return {**ranges, **{name: pair for name, pair in trained.items() if name in ranges}}


def _fill(part: QuantizedLayer, layer: nn.Module) -> None:
    """Sets a quantized layer to what the prepared one computes."""
    quantizer: Any
    quantizer, inputs = layer.parametrizations.weight[-1], getattr(layer, _QUANTIZER)  # type: ignore[union-attr,index]
    weight = layer.parametrizations.weight.original  # type: ignore[union-attr]
    for step in list(layer.parametrizations.weight)[:-1]:  # type: ignore[union-attr,arg-type]
        weight = step(weight)
    fixed = None if isinstance(inputs, RowQuantizer) else (float(inputs.scale.detach().abs()), int(inputs.zero_point))
    scale, zero_point = (1.0, 0) if fixed is None else fixed
    part.set_from_float(
        layer.weight, layer.bias, (-zero_point * scale, (255 - zero_point) * scale),  # type: ignore[arg-type]
        scales=quantizer.scale_of(weight).detach(),
    )  # fmt: skip
    # Exactly: a range says scale and zero point but for rounding.
    part.input_scale.fill_(scale)
    part.input_zero_point.fill_(zero_point)
