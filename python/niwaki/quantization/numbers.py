"""From a network with empty int8 layers and a stream of inputs to one with scales, ranges and corrected biases."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from niwaki.lower.nodes import label, origin
from niwaki.modules.copies import replace_module
from niwaki.modules.layer import Layer
from niwaki.nn.layers import QuantizedLayer
from niwaki.quantization.arithmetic import Float
from niwaki.quantization.attention import choose_attentions
from niwaki.quantization.bias import Kept, correct_biases
from niwaki.quantization.calibrate import Calibration
from niwaki.quantization.choice import (
    Structure,
    choose_floats,
    choose_kinds,
    choose_structure,
    ranges_of_kinds,
)
from niwaki.quantization.config import QuantizeConfig
from niwaki.quantization.errors import Check
from niwaki.quantization.held_out import Cutter, HeldOut
from niwaki.quantization.inputs import Batch
from niwaki.quantization.lengths import shorter
from niwaki.quantization.programs import Program, Programs
from niwaki.quantization.ranges import Ranges, attach_ranges
from niwaki.quantization.simulate import types_of

# Inputs that errors are measured on while numbers are chosen: at a time, for all of their values are alive at once; at
# most, since more say hardly more; and at least, however large their values, of which so many bytes take seconds.
_AT_ONCE, _MOST, _LEAST, _BYTES = 8, 64, 8, 1 << 30
# Biases are corrected unless the errors, squared, then are so much larger: on few inputs, small differences are chance.
_WORSE = 1.2
# Of fewer inputs, ranges reach far beyond what was seen, and more would help.
_FEW = 8
_log = logging.getLogger("niwaki")


@dataclass(frozen=True)
class Found:
    """What became of a network.

    Attributes:
        module: the network.
        layers: why a layer is not what it could be, by its name.
        values: values between layers that stay float32, by their names for people, with what 8 bits would cost: the
            change of a result over the result.
    """

    module: nn.Module
    layers: dict[str, str] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)


def find_numbers(
    model: nn.Module,
    floats: Mapping[QuantizedLayer, Float],
    stream: Iterable[Batch],
    config: QuantizeConfig,
    cutter: Cutter,
    *,
    scales: Mapping[str, torch.Tensor],
    progress: bool,
) -> Found:
    """Calibrates a network whose layers were swapped.

    Args:
        model: the network with niwaki.nn layers. It is changed.
        floats: for each of these, the float32 layer it stands for.
        stream: inputs.
        config: the options.
        cutter: of the network in float32.
        scales: of weights that lie on the int8 grid already, by the layer's name.
        progress: tells on stderr how far it is.
    """
    calibration = Calibration(model, floats, config)
    # What decides between ranges must not have made them.
    held, kept = HeldOut(cutter, seed=1), Kept()
    for batch in kept.watch(held.watch(stream)):
        calibration.observe(batch)
    _say_if_few(sum(_most_inputs(call, cutter) for call in [*held.calls, *kept.calls]))
    program = calibration.programs.first
    fill = _Filler(floats, config, scales)
    if program is None:
        for batch in held.calls:
            calibration.observe(batch)
        fill(calibration.layer_ranges({}))
        attach_ranges(model, Ranges())
        return Found(model)
    fill(calibration.layer_ranges(calibration.value_ranges()))
    calls = few_calls(program, [*held.calls, *kept.calls], cutter)
    fingerprint = calibration.programs.fingerprint
    check = Check(program, floats, calls)
    kinds = choose_kinds(check, calibration.observers(), fingerprint)
    for batch in held.calls:
        calibration.observe(batch)
    ranges = ranges_of_kinds(calibration.observers(), kinds, fingerprint)
    fill(calibration.layer_ranges(ranges.values))
    network = Calibrated(model, check, ranges)
    reasons: dict[str, str] = {}
    values: dict[str, float] = {}
    if config.precision == "auto":
        network, reasons = _restructured(network)
        network, values = with_floats(network)
    network = with_attentions(network, measured=config.precision == "auto")
    if config.correct_bias:
        accepted = [call for call in kept.calls if network.check.program.accepts(call)]
        _correct(network, accepted or calls, cutter, progress=progress)
    attach_ranges(network.model, network.ranges)
    return Found(network.model, reasons, values)


def _most_inputs(call: Batch, cutter: Cutter) -> int:
    """How many inputs a call holds; where they do not lie along its first dimension, how many it may hold."""
    known = cutter.inputs(call)
    if known > 1 or all(len(x) == 1 for x in call.tensors if x.dim()):
        return known
    return max((size for x in call.tensors for size in x.shape[:2]), default=1)


def _say_if_few(inputs: int) -> None:
    if inputs < _FEW:
        _log.warning(
            "calibrated with %d input%s: ranges are wider than they need be, and errors larger; "
            "some hundred typical inputs are better",
            inputs, "" if inputs == 1 else "s",
        )  # fmt: skip


@dataclass(frozen=True)
class Calibrated:
    """A network, something to measure its errors with, and the ranges of its graph's values.

    Attributes:
        model: with niwaki.nn layers.
        check: of its graph.
        ranges: of the values.
    """

    model: nn.Module
    check: Check
    ranges: Ranges


class _Filler:
    """Fills layers with what follows from their float32 weights and the range of their inputs."""

    def __init__(
        self, floats: Mapping[QuantizedLayer, Float], config: QuantizeConfig, scales: Mapping[str, torch.Tensor]
    ) -> None:
        self._floats, self._config, self._scales = floats, config, scales

    def __call__(self, ranges: Mapping[QuantizedLayer, tuple[float, float]]) -> None:
        config = self._config
        for layer, found in self._floats.items():
            # Where nobody uses the result of a layer, the graph does not call it, and any range will do.
            layer.set_from_float(
                found.weight, found.bias, ranges.get(layer, (0.0, 1.0)), per_channel=config.per_channel,
                weight_range=config.weight_range, bits=config.bits_of(layer.name), scales=self._scales.get(layer.name),
            )  # fmt: skip


def few_calls(program: Program, calls: Sequence[Batch], cutter: Cutter) -> list[Batch]:
    """Some inputs that the graph accepts, of the first calls."""
    chosen: list[Batch] = []
    count, size = 0, 0.0
    for call in calls:
        for piece in cutter.pieces(call, _AT_ONCE):
            if count >= (_MOST if size < _BYTES else _LEAST):
                return chosen
            if program.accepts(piece):
                chosen.append(piece)
                count += cutter.inputs(piece)
                size += program.bytes_of(piece)
    return chosen or [call for call in calls if program.accepts(call)][:1]


def _restructured(network: Calibrated) -> tuple[Calibrated, dict[str, str]]:
    """The network with the layers that are chosen for it, and by their names why."""
    check = network.check
    calls = shorter(check.program, check.calls)
    short = None
    with contextlib.suppress(ValueError):  # a network that reads at places beyond them cannot be run with them
        short = Check(check.program, check.floats, calls) if calls else None
    structure = choose_structure(check, network.ranges, short)
    if not structure.dynamic and not structure.exact:
        return network, {}
    changed = _apply(network, structure)
    if changed is None:
        return network, {}
    says = dict.fromkeys(structure.dynamic, "a range for each row: one for all would cost")
    says |= dict.fromkeys(structure.exact, "8 bits for its input would cost")
    said = {layer: f"{words} {structure.costs[layer]:.1%} of the output" for layer, words in says.items()}
    said |= {
        layer: f"a range for each row: one for all would cut off {structure.costs[layer]:.1%} of shorter sequences"
        for layer in structure.shorter
    }
    return changed, {layer.name: words for layer, words in said.items()}


def _apply(network: Calibrated, structure: Structure) -> Calibrated | None:
    """The network with other layers, captured again; None where its graph has changed in other ways, too."""
    model, check = network.model, network.check
    for layer in structure.dynamic:
        layer.dynamic = True
    for layer in structure.exact:
        model = replace_module(model, layer, _module(check.floats[layer]))
    programs = Programs(model)
    program = programs.find(check.calls[0])
    names = None if program is None else _renamed(check.program, program)
    if program is None or names is None:
        for layer in structure.dynamic:
            layer.dynamic = False
        for layer in structure.exact:
            replace_module(model, _module(check.floats[layer]), layer)
        return None
    values = {names[name]: pair for name, pair in network.ranges.values.items() if name in names}
    ranges = Ranges(programs.fingerprint, values)
    left = {layer: found for layer, found in check.floats.items() if layer not in structure.exact}
    return Calibrated(model, Check(program, left, check.calls), ranges)


def _module(layer: Float) -> nn.Module:
    assert isinstance(layer, Layer)
    return layer.module


def _renamed(before: Program, after: Program) -> dict[str, str] | None:
    """The names of the values of a graph in another one, in which some calls of layers are other operators."""
    old, new = ([node for node in program.module.graph.nodes if node.op != "get_attr"] for program in (before, after))
    if len(old) != len(new):
        return None
    for a, b in zip(old, new, strict=True):
        if a not in before.layers and (a.op, a.target) != (b.op, b.target):
            return None
    return {origin(a): origin(b) for a, b in zip(old, new, strict=True)}


def with_floats(network: Calibrated) -> tuple[Calibrated, dict[str, float]]:
    """The network with the values that are better float32; and these by their names for people, with their costs."""
    ranges, costs = choose_floats(network.check, network.ranges)
    labels = {origin(node): label(node) for node in network.check.program.module.graph.nodes}
    named = {labels[name]: cost for name, cost in sorted(costs.items(), key=lambda item: -item[1])}
    return Calibrated(network.model, network.check, ranges), named


def with_attentions(network: Calibrated, *, measured: bool = True) -> Calibrated:
    """The network with attentions whose products are in 8 bits: see choose_attentions."""
    return Calibrated(network.model, network.check, choose_attentions(network.check, network.ranges, measured=measured))


def _correct(network: Calibrated, calls: Sequence[Batch], cutter: Cutter, *, progress: bool) -> None:
    """Corrects biases, unless that raises the errors of the network's results."""
    check = network.check
    before = check.errors(network.ranges)
    biases = {layer: layer.bias.clone() for layer in check.floats if layer.bias is not None}
    types = types_of(check.program, network.ranges)
    correct_biases(check.program, check.floats, types, calls, cutter, progress=progress)
    if sum(error**2 for error in check.errors(network.ranges)) > _WORSE * sum(error**2 for error in before):
        for layer, bias in biases.items():
            assert layer.bias is not None
            layer.bias.copy_(bias)
