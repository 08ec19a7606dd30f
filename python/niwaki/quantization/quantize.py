"""niwaki.quantize: from a trained network and calibration to one with int8 layers and known ranges."""

from __future__ import annotations

import copy
import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from niwaki.errors import NiwakiError, unknown_option
from niwaki.layerwise.walk import first as first_inputs
from niwaki.modules.checks import check_finite, check_model, config_or_default
from niwaki.modules.copies import replace_module
from niwaki.modules.layer import Layer, named_layers
from niwaki.modules.names import CELLS, RECURRENT, check_names, matches, named_tables
from niwaki.modules.plain import has_hooks
from niwaki.nn.embedding import Embedding
from niwaki.nn.layers import like, quantized_layers
from niwaki.onnx.plain import without_rounding
from niwaki.optimization.equalize import EQUALIZED, equalize_with
from niwaki.optimization.plain_copy import plain_copy
from niwaki.options import QuantizeOptions
from niwaki.quantization.calls import layers_called
from niwaki.quantization.config import QuantizeConfig
from niwaki.quantization.held_out import Cutter
from niwaki.quantization.inputs import Batch, batches, check_calibration
from niwaki.quantization.numbers import find_numbers
from niwaki.quantization.recurrent import UNCALLED, quantize_recurrent
from niwaki.quantization.rounding import round_layers
from niwaki.quantization.spared import Spared, spare_layers
from niwaki.quantization.weights import check_reduction
from niwaki.runs.checkpoint import Checkpoint, Folder
from niwaki.runs.progress import track

if TYPE_CHECKING:
    from typing import Unpack

_SKIPPED = "skipped by name"
_log = logging.getLogger("niwaki")


def quantize(
    model: nn.Module,
    calibration: Any,
    config: QuantizeConfig | None = None,
    *,
    progress: bool = True,
    **options: Unpack[QuantizeOptions],
) -> nn.Module:
    """Quantizes convolutions, linear and recurrent layers to int8, and the tables of embeddings.

    Args:
        model: a trained float32 network on the CPU. It is not changed. Masks of niwaki.prune or torch.nn.utils.prune
            become zeros, and zeros stay zeros.
        calibration: an iterable of typical inputs: tensors, tuples (the first item is the input) or dicts (arguments by
            name). One tensor is taken as one batch. Some hundred inputs are enough.
        config: the options; QuantizeConfig() where None. Instead of one, its fields may be given by name:
            niwaki.quantize(model, images, weight_bits=4).
        progress: tells on stderr how far it is: a bar on a terminal, elsewhere a line every half minute.

    Returns:
        A network in eval mode that takes and returns what `model` does. Its layers are niwaki.nn.Conv2d and Linear; the
        ranges of all other values are in its attribute `niwaki_ranges`, where niwaki.compile finds them.

    Examples:
        >>> small = niwaki.quantize(model, images, weight_bits={"0": 8, "*": 4})
        >>> small[0]
        Conv2d(3, 16, kernel_size=(3, 3), stride=(1, 1), int8, 0% zeros)

    Raises:
        TypeError, ValueError: an argument, a layer or an item of the calibration is not fit; says which and why.
        NiwakiError: the network cannot be copied, or has nothing to quantize.
    """
    checked = _config_of(config, dict(options))
    return quantize_with_reasons(model, calibration, checked, fold_batch_norm=True, progress=progress).module


def _config_of(config: QuantizeConfig | None, options: dict[str, Any]) -> QuantizeConfig | None:
    """The config, or one made of its fields. What is no config is refused later, as elsewhere."""
    known = [field.name for field in fields(QuantizeConfig)]
    for name in options:
        if name not in known:
            raise unknown_option("niwaki.quantize", name, [*known, "progress"])
    if config is not None and options:
        raise TypeError(f"niwaki.quantize: give a QuantizeConfig or {', '.join(options)}, not both.")
    return QuantizeConfig(**options) if options else config


@dataclass(frozen=True)
class Quantized:
    """A quantized network, and what is to be said of it.

    Attributes:
        module: the network.
        floats: its layers in float32, by name, as they were before they were rounded.
        reasons: why a layer is not int8, or how its inputs are rounded, by name.
        values: values between layers that stay float32, with what 8 bits would cost: the change of a result over it.
    """

    module: nn.Module
    floats: dict[str, Layer]
    reasons: dict[str, str]
    values: dict[str, float]


def quantize_with_reasons(
    model: nn.Module,
    calibration: Any,
    config: QuantizeConfig | None = None,
    *,
    scales: Mapping[str, torch.Tensor] | None = None,
    checkpoint: Folder | None = None,
    fold_batch_norm: bool = False,
    progress: bool = True,
) -> Quantized:
    """As `quantize`, with what is to be said of it. Batch norms are folded only with `fold_batch_norm`.

    `scales` are those of the weights that lie on the int8 grid already, by the layer's name. `checkpoint` is a folder
    that keeps layers whose rounding takes long.
    """
    model = without_rounding(check_model(model, "quantize"))
    config = config_or_default(config, QuantizeConfig, "quantize")
    if quantized_layers(model):
        raise ValueError("niwaki.quantize: the network is quantized already; begin with the float32 network.")
    items = check_calibration(calibration, model)
    stream: Iterator[Batch] = batches(track(items, "calibrating", progress), config.transform, model)
    first = next(stream)

    example = first.copy()
    given = (example.args, example.kwargs) if fold_batch_norm else ()
    copied = plain_copy(model, *given).requires_grad_(False)
    check_names(copied, config.patterns, "niwaki.quantize")
    if config.equalize:
        head = list(first_inputs(itertools.chain([first], stream), EQUALIZED))
        copied = equalize_with(copied, head, config, progress=progress)
        first, stream = head[0], itertools.chain(head[1:], stream)
    called, read, otherwise = layers_called(copied, first)
    floats = dict(named_layers(copied))
    reasons: dict[str, str] = {}
    swapped: dict[str, Layer] = {}
    for name, layer in floats.items():
        reason = _why_not(name, layer, config, called, read) or otherwise.get(id(layer.module), "")
        if reason:
            reasons[name] = reason
            continue
        check_finite(name, layer.module)
        check_reduction(name, layer.weight)
        swapped[name] = layer
    recurrent = {
        name: part
        for name, part in copied.named_modules()
        if type(part) in (*RECURRENT, *CELLS)
        and not matches(name, config.skip)
        and not has_hooks(part)
        and id(part) not in read
    }
    tables = {
        name: part
        for name, part in named_tables(copied)
        if not matches(name, config.skip)
        and not has_hooks(part)
        and id(part) in called
        and id(part) not in {*read, *otherwise}
    }
    if not swapped and not recurrent and not tables:
        _check_rest(copied, reasons)
    reasons |= _why_others(copied, {**recurrent, **tables}, config, called, read)
    reasons |= {name: otherwise[id(table)] for name, table in named_tables(copied) if id(table) in otherwise}
    scales, spared = dict(scales or {}), Spared(config)
    open_layers = {name: layer for name, layer in swapped.items() if name not in scales}
    if any(config.rounds_by_layer(name) for name in open_layers):
        before = {name: copy.deepcopy(layer) for name, layer in floats.items()}
        kept = list(itertools.chain([first], stream))  # they are walked through twice
        spared = spare_layers(copied, open_layers, config, kept, progress=progress)
        config = spared.config
        state = (
            None if checkpoint is None
            else Checkpoint(checkpoint, copied, config, sorted(open_layers), what="niwaki.quantize")
        )  # fmt: skip
        scales.update(round_layers(copied, open_layers, config, kept, checkpoint=state, progress=progress))
        first, stream, floats = kept[0], iter(kept[1:]), before
    small, left = quantize_recurrent(copied, recurrent, first, config)
    for name, part in small.items():
        copied = replace_module(copied, recurrent[name], part)
    reasons |= left
    for name, table in tables.items():
        check_finite(name, table)
        copied = replace_module(copied, table, Embedding(table, bits=config.bits_of(name), name=name).eval())
    result = swap_layers(copied, swapped, tuple(name for name in swapped if config.is_dynamic(name)))
    stands_for = {layer: swapped[layer.name] for layer in quantized_layers(result)}
    found = find_numbers(
        result, stands_for, itertools.chain([first], stream), config,
        Cutter(model), scales=scales, progress=progress,
    )  # fmt: skip
    return Quantized(found.module, floats, spared.with_others({**reasons, **found.layers}), found.values)


def quantizable(model: nn.Module, config: QuantizeConfig) -> set[str]:
    """The names of the layers that nothing but the graph may keep in float32."""
    return {name for name, layer in named_layers(model) if layer.is_plain() and not matches(name, config.skip)}


def _check_rest(model: nn.Module, reasons: Mapping[str, str]) -> None:
    """A network without a layer for int8 is compiled in float32, if it has weights at all."""
    details = "; ".join(f"'{name}': {reason}" for name, reason in itertools.islice(reasons.items(), 3))
    if not any(True for _ in model.parameters()) or (reasons and set(reasons.values()) == {_SKIPPED}):
        raise NiwakiError(
            f"niwaki.quantize: there is no layer to quantize ({details or 'no Conv2d or Linear in the network'})."
        )
    _log.warning(
        "niwaki.quantize: nothing is quantized, the network stays in float32 (%s)",
        details or "no convolution, linear or recurrent layer or embedding in it",
    )


def _why_not(name: str, layer: Layer, config: QuantizeConfig, called: set[int], read: set[int]) -> str:
    if matches(name, config.skip):
        return _SKIPPED
    if not layer.is_plain():
        return f"{type(layer.module).__name__} computes something of its own"
    if layer.unsupported:
        return layer.unsupported
    if layer.weight.numel() == 0:
        return "its weight is empty"
    if has_hooks(layer.module):
        return "it has forward hooks, or a forward of its own"
    if id(layer.module) not in called:
        return UNCALLED
    return "other parts of the network read its weight or bias" if id(layer.module) in read else ""


def _why_others(
    model: nn.Module, taken: Mapping[str, nn.Module], config: QuantizeConfig, called: set[int], read: set[int]
) -> dict[str, str]:
    """Why recurrent layers and tables stay in float32, by their names."""
    reasons = {}
    for name, part in model.named_modules():
        if name in taken or not isinstance(part, (*RECURRENT, *CELLS, nn.Embedding)):
            continue
        if matches(name, config.skip):
            reasons[name] = _SKIPPED
        elif has_hooks(part):
            reasons[name] = "it has forward hooks, or a forward of its own"
        elif isinstance(part, nn.Embedding) and part.max_norm is not None:
            reasons[name] = "it changes its table while it runs (max_norm)"
        elif isinstance(part, nn.Embedding) and id(part) not in called:
            reasons[name] = UNCALLED
        elif id(part) in read:
            reasons[name] = "other parts of the network read its weight"
        else:
            reasons[name] = f"{type(part).__name__} computes something of its own"
    return reasons


def swap_layers(model: nn.Module, layers: dict[str, Layer], dynamic: Sequence[str] = ()) -> nn.Module:
    """Puts niwaki.nn layers in place, with scales that calibration will replace; `dynamic` are names of linear ones."""
    for name, layer in layers.items():
        new = like(layer).eval()
        new.name, new.dynamic = name, layer.may_be_dynamic and name in dynamic
        model = replace_module(model, layer.module, new)
    return model
