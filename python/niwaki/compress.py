"""niwaki.compress: optimize, prune and quantize in one call, with a report."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from niwaki._core import stored_weight
from niwaki.modules import check_model
from niwaki.nn.layers import Conv2d, Linear
from niwaki.optimization.optimize import OptimizeConfig
from niwaki.optimization.optimize import optimize as run_optimize
from niwaki.pruning.config import PruneConfig, check_sparsity
from niwaki.pruning.prune import prune_with_reasons
from niwaki.pruning.select import n_of_m
from niwaki.quantization.config import QuantizeConfig
from niwaki.quantization.grid import Grid
from niwaki.quantization.inputs import batches, check_calibration
from niwaki.quantization.quantize import quantize_with_reasons
from niwaki.quantization.weights import relative_error
from niwaki.report import LayerReport, Report

_PRUNE = ("pattern", "scope", "importance")
_QUANTIZE = (
    "observer", "percentile", "per_channel", "weight_range", "weight_bits", "codebook", "codebook_entries", "rounding",
    "correct_bias",
)  # fmt: skip


def compress(
    model: nn.Module,
    calibration: Any,
    *,
    sparsity: float | None = None,
    transform: Callable[[Any], Any] | None = None,
    skip: tuple[str, ...] = (),
    optimize: OptimizeConfig | None = None,
    prune: PruneConfig | None = None,
    quantize: QuantizeConfig | None = None,
    progress: bool = True,
    **options: Any,
) -> tuple[nn.Module, Report]:
    """Makes a trained network small: folds its batch norms, prunes it if asked to, and quantizes it to int8.

    Zeros that the network has already stay zeros, with or without `sparsity`. With importance='second_order', each
    layer is pruned and rounded to int8 in one go, so that what is left corrects the errors of both on the calibration
    inputs.

    Args:
        model: a float32 network on the CPU. It is not changed.
        calibration: an iterable of typical inputs: tensors, tuples (the first item is the input, as in a loader of
            images and labels) or dicts (arguments by name). One tensor is taken as one batch. Some hundred inputs are
            enough.
        sparsity: the share of the weights to set to zero, 0 to 1; None prunes nothing.
        transform: called with each item of the calibration; returns the input.
        skip: names or patterns of layers that are neither pruned nor quantized.
        optimize, prune, quantize: all options of a step, instead of single ones.
        progress: shows a progress bar, if stderr is a terminal.
        options: single options of PruneConfig (pattern, scope, importance) and QuantizeConfig (observer, percentile,
            per_channel, weight_range, weight_bits, codebook, codebook_entries, rounding, correct_bias).

    Returns:
        The compressed network, a module that takes and returns what `model` does, and a report, which prints as a
        table. The report's bytes are those of a file, where a layer lies in the smallest of its forms; its error is
        that of the weights.

    Raises:
        TypeError, ValueError: an argument, a layer or an item of the calibration is not fit; says which and why.
        NiwakiError: the network cannot be copied, or has nothing to quantize.
    """
    check_model(model, "compress")
    prune_config, quantize_config = _configs(sparsity, transform, skip, prune, quantize, options)
    if optimize is not None and not isinstance(optimize, OptimizeConfig):
        raise TypeError(f"niwaki.compress: optimize must be an OptimizeConfig, not {type(optimize).__name__}.")
    items = check_calibration(calibration)
    # The first item is needed twice, and a generator gives it once.
    items = items if hasattr(items, "__len__") and hasattr(items, "__getitem__") else _Replayed(items)
    _check_prune(prune_config)
    second_order = prune_config is not None and prune_config.importance == "second_order"
    if second_order and isinstance(items, _Replayed):
        items = list(items)  # it is walked through twice
    first = next(batches(items, quantize_config.transform)).copy()
    optimized = run_optimize(model, optimize, args=first.args, kwargs=first.kwargs)
    reasons: dict[str, str] = {}
    grid = Grid(quantize_config) if second_order else None
    if prune_config is not None:
        stream = batches(items, quantize_config.transform) if second_order else None
        optimized, reasons = prune_with_reasons(optimized, prune_config, stream, finish=grid, progress=progress)
    module, kept_float, floats = quantize_with_reasons(
        optimized, items, quantize_config, scales=grid.scales if grid is not None else None, progress=progress
    )
    return module, _report(module, floats, {**reasons, **kept_float})


def _check_prune(config: PruneConfig | None) -> None:
    if config is None:
        return
    if config.importance not in ("magnitude", "second_order"):
        raise TypeError(
            f"niwaki.compress: importance='{config.importance}' needs a loss; prune with niwaki.prune or "
            "niwaki.Pruner first, then compress the result."
        )
    if config.pattern == "channels":
        raise TypeError(
            "niwaki.compress: pattern='channels' makes another network; call niwaki.prune first, then compress what it "
            "returns."
        )


class _Replayed:
    """An iterable whose first item can be looked at before one walks through it."""

    def __init__(self, items: Any) -> None:
        self._rest = iter(items)
        self._head: list[Any] = list(itertools.islice(self._rest, 1))

    def __iter__(self) -> Iterator[Any]:
        yield from self._head
        # What is handed out is not kept: a calibration set may be larger than memory.
        yield from self._rest


def _configs(
    sparsity: float | None,
    transform: Callable[[Any], Any] | None,
    skip: tuple[str, ...],
    prune: PruneConfig | None,
    quantize: QuantizeConfig | None,
    options: dict[str, Any],
) -> tuple[PruneConfig | None, QuantizeConfig]:
    unknown = [name for name in options if name not in (*_PRUNE, *_QUANTIZE)]
    if unknown:
        raise TypeError(
            f"niwaki.compress: there is no option '{unknown[0]}'; there are sparsity, transform, skip, "
            f"{', '.join((*_PRUNE, *_QUANTIZE))}."
        )
    for_prune = {name: value for name, value in options.items() if name in _PRUNE}
    for_quantize = {name: value for name, value in options.items() if name in _QUANTIZE}
    for name, config, kind in (("prune", prune, PruneConfig), ("quantize", quantize, QuantizeConfig)):
        if config is not None and not isinstance(config, kind):
            raise TypeError(f"niwaki.compress: {name} must be a {kind.__name__}, not {type(config).__name__}.")
    if prune is not None and (sparsity is not None or for_prune or skip):
        raise TypeError("niwaki.compress: give prune=PruneConfig(...) or sparsity, pattern, scope and skip, not both.")
    if quantize is not None and (for_quantize or skip or transform is not None):
        raise TypeError(
            "niwaki.compress: give quantize=QuantizeConfig(...) or observer, skip, transform and others, not both."
        )
    if sparsity is not None:
        check_sparsity(sparsity, "niwaki.compress")
        prune = PruneConfig(sparsity=sparsity, skip=skip, **for_prune)
    elif prune is None and n_of_m(str(for_prune.get("pattern", ""))) is not None:
        prune = PruneConfig(skip=skip, **for_prune)
    elif prune is None and for_prune:
        raise TypeError(
            f"niwaki.compress: {' and '.join(for_prune)} without sparsity prunes nothing; add sparsity=0.75, say."
        )
    if quantize is None:
        quantize = QuantizeConfig(skip=skip, transform=transform, **for_quantize)
    return prune, quantize


def _report(module: nn.Module, floats: dict[str, nn.Conv2d | nn.Linear], reasons: dict[str, str]) -> Report:
    layers = {part.name: part for part in module.modules() if isinstance(part, (Conv2d, Linear))}
    return Report([_row(name, layer, layers.get(name), reasons.get(name, "")) for name, layer in floats.items()])


def _row(name: str, layer: nn.Conv2d | nn.Linear, now: Conv2d | Linear | None, reason: str) -> LayerReport:
    op = "conv2d" if isinstance(layer, nn.Conv2d) else "linear"
    count = layer.weight.numel()
    bias = layer.bias.numel() if layer.bias is not None else 0
    float_bytes = 4 * (count + bias)
    weight = layer.weight if now is None else now.weight
    zeros = 1 - torch.count_nonzero(weight).item() / count if count else 0.0
    if now is None:
        return LayerReport(name, op, "float32", zeros, float_bytes, float_bytes, None, reason)
    stored, form = stored_weight(now.weight.contiguous().numpy())
    # Scales and biases: four bytes each for every output channel.
    size = stored + 4 * (now.weight_scale.numel() + bias)
    scheme = "sparse int8" if "mask" in form else "int8"
    error = relative_error(layer.weight, now.weight, now.weight_scale)
    return LayerReport(name, op, scheme, zeros, size, float_bytes, error, reason)
