"""Numbers for a report that take a run of the network: errors of outputs, sensitivities, histograms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.fx import Node
from torch.utils import _pytree as pytree

from niwaki.capture import evaluating
from niwaki.compression.pipeline import Built
from niwaki.layerwise.sensitivity import sensitivities
from niwaki.modules.layer import Layer, named_layers
from niwaki.nn.layers import QuantizedLayer, quantized_layers
from niwaki.quantization.held_out import Cutter, HeldOut
from niwaki.quantization.inputs import Batch
from niwaki.quantization.ranges import ranges_of
from niwaki.quantization.simulate import RoundedRun, types_of
from niwaki.report.answers import Answers, Scores, Tally
from niwaki.report.rows import BINS, Histogram

# Inputs that single layers and sensitivities are measured on: all activations of a network are alive for them.
_INPUTS = 16


@dataclass(frozen=True)
class Sample:
    """Inputs that errors are measured on.

    Attributes:
        calls: of the network, at least one.
        inputs: how many inputs they hold.
        held_out: whether nothing was decided by them.
        fitted: a call that did decide, to compare with; None where nothing was held out.
        seen: how many inputs there were in all, those held out counted in; None where that is not known.
    """

    calls: tuple[Batch, ...]
    inputs: int
    held_out: bool
    fitted: Batch | None = None
    seen: int | None = None

    @classmethod
    def of(cls, held: HeldOut, first: Batch) -> Sample:
        """What was held out; the first call of calibration, where nothing was."""
        if held.calls:
            return cls(tuple(held.calls), held.inputs, True, first, held.seen)
        return cls((first,), first.inputs, False, None, held.seen)

    def example(self, model: nn.Module) -> Batch:
        """A call with one input, where the network takes that."""
        return next(Cutter(model).pieces(self.calls[0], 1))


@dataclass(frozen=True)
class Measures:
    """By name of the layer: errors of the outputs and sensitivities; and of the network, the largest error of its
    outputs, and the answers that it keeps."""

    output_errors: dict[str, float] = field(default_factory=dict)
    fitted_errors: dict[str, float] = field(default_factory=dict)
    sensitivity: dict[str, float] = field(default_factory=dict)
    network_error: float | None = None
    answers: Answers | None = None


def measure(
    model: nn.Module, optimized: nn.Module, module: nn.Module, built: Built, sample: Sample, *, evaluated: bool = False
) -> Measures:
    """Compares a network as it will run with what it was.

    Args:
        model: as the caller gave it.
        optimized: the same after niwaki.optimize. Its parameters may be told to require gradients, and are told off
            again.
        module: compressed.
        built: what it is compiled to.
        sample: inputs.
        evaluated: whether the caller measures an accuracy: then the outputs are scores of classes.
    """
    floats = dict(named_layers(optimized))
    modules = {name: layer.module for name, layer in floats.items()}
    fitted = {}
    if sample.fitted is not None:
        part = next(Cutter(model).pieces(sample.fitted, _INPUTS))
        fitted = _errors(_outputs(optimized, modules, part)[0], _rounded_outputs(module, built, part))
    part = next(Cutter(model).pieces(sample.calls[0], _INPUTS))
    wanted, reference = _outputs(optimized, modules, part)
    errors = _errors(wanted, _rounded_outputs(module, built, part))
    network = module if built.network is None else built.network
    sensitivity = _sensitivity(optimized, floats, wanted, reference, part)
    name = next(reversed(wanted), None)  # of the layer that ran last
    tally = Tally(Scores(None if name is None else (name, floats[name]), evaluated=evaluated))
    error = _error(model, network, sample, tally)
    return Measures(errors, fitted, sensitivity, error, tally.answers)


def _errors(wanted: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """The norm of the change over the norm, of each layer's outputs."""
    errors = {}
    for name, value in found.items():
        other = wanted.get(name)
        if other is not None and other.shape == value.shape and float(other.norm()) > 0:
            errors[name] = float((value - other).norm() / other.norm())
    return errors


def _error(model: nn.Module, network: Any, sample: Sample, tally: Tally) -> float | None:
    """The largest of the errors of a network's outputs; None where none is a float32 tensor, or all are zero.

    The answers are counted on the way.
    """
    change: dict[int, float] = {}
    size: dict[int, float] = {}
    for call in sample.calls:
        answers = []
        for each in (model, network):
            copied = call.copy()
            with evaluating(model), evaluating(network) if isinstance(network, nn.Module) else torch.no_grad():
                answers.append(each(*copied.args, **copied.kwargs))
        tally.add(answers[0], answers[1])
        for index, (a, b) in enumerate(zip(*map(pytree.tree_leaves, answers), strict=False)):
            if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) and a.shape == b.shape:
                if not a.is_floating_point():
                    continue
                change[index] = change.get(index, 0.0) + _square(b.double() - a.double())
                size[index] = size.get(index, 0.0) + _square(a.double())
    found = [math.sqrt(change[index] / size[index]) for index in size if size[index] > 0]
    return max(found, default=None)


def _square(x: torch.Tensor) -> float:
    """The sum of squares, without what is infinite on purpose."""
    return float(x.nan_to_num(0.0, 0.0, 0.0).square().sum())


def _outputs(model: nn.Module, layers: Mapping[str, nn.Module], batch: Batch) -> tuple[dict[str, torch.Tensor], Any]:
    """What each layer gave when it ran for the first time, and what the network gave."""
    found: dict[str, torch.Tensor] = {}
    hooks = []
    for name, layer in layers.items():

        def keep(_: nn.Module, __: Any, output: Any, name: str = name) -> None:
            if isinstance(output, torch.Tensor):
                found.setdefault(name, output.detach().clone())

        hooks.append(layer.register_forward_hook(keep))
    copied = batch.copy()
    try:
        with evaluating(model):
            return found, model(*copied.args, **copied.kwargs)
    finally:
        for hook in hooks:
            hook.remove()


def _rounded_outputs(module: nn.Module, built: Built, batch: Batch) -> dict[str, torch.Tensor]:
    """What each layer gives when it first runs in the compiled network, which does not show it: it is simulated."""
    program = built.program
    if program is None or not program.accepts(batch):
        layers = {part.name: part for part in quantized_layers(module)}
        return _outputs(module, layers, batch)[0]
    run = _LayerOutputs(program, {}, types_of(program, ranges_of(module)))
    run.call(batch)
    return run.outputs


class _LayerOutputs(RoundedRun):
    """Keeps what layers give when they first run, before it is rounded and bounded."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.outputs: dict[str, torch.Tensor] = {}

    def layer(self, node: Node, layer: QuantizedLayer, x: torch.Tensor) -> torch.Tensor:
        made = super().layer(node, layer, x)
        self.outputs.setdefault(layer.name, made)
        return made


def _sensitivity(
    model: nn.Module, layers: Mapping[str, Layer], outputs: Mapping[str, torch.Tensor], answer: Any, batch: Batch
) -> dict[str, float]:
    """sqrt(sum over channels of squared Jacobian times mean square), over the norm of the network's output."""
    wanted = [parameter.requires_grad for parameter in model.parameters()]
    try:
        jacobians = sensitivities(model, list(layers.values()), [batch], inputs=_INPUTS) or {}
    finally:
        for parameter, flag in zip(model.parameters(), wanted, strict=True):
            parameter.requires_grad_(flag)
    leaves = [x for x in pytree.tree_leaves(answer) if isinstance(x, torch.Tensor) and x.is_floating_point()]
    rows = leaves[0].shape[0] if leaves and leaves[0].dim() else 1
    size = math.sqrt(sum(float(x.double().square().sum()) for x in leaves) / max(1, rows))
    found = {}
    for name, output in outputs.items():
        jacobian = jacobians.get(layers[name])
        if jacobian is None or size == 0:
            continue
        channel = layers[name].axis(output.dim())
        others = [dim for dim in range(output.dim()) if dim != channel]
        energy = output.double().square().mean(others)
        found[name] = math.sqrt(float((jacobian.double() * energy).sum())) / size
    return found


def histogram(before: torch.Tensor, after: torch.Tensor) -> Histogram | None:
    """Histograms of two float32 weights over one range; None where there is nothing but zeros."""
    before, after = (w.detach().reshape(-1).float() for w in (before, after))
    before, after = before[before != 0], after[after != 0]
    if not len(before):
        return None
    end = float(before.abs().max())
    counts = [torch.histc(w.clamp(-end, end), BINS, -end, end).long().tolist() for w in (before, after)]
    return Histogram(-end, end, tuple(counts[0]), tuple(counts[1]))
