"""Numbers for a report that take a run of the network: errors of outputs, sensitivities, histograms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from niwaki.capture import evaluating
from niwaki.layerwise.sensitivity import pieces, sensitivities
from niwaki.nn.layers import Conv2d, Linear
from niwaki.quantization.inputs import Batch
from niwaki.report.rows import BINS, Histogram

# Inputs that errors and sensitivities are measured on.
_INPUTS = 16

Float = nn.Conv2d | nn.Linear


@dataclass(frozen=True)
class Measures:
    """By name of the layer: errors of the outputs and sensitivities; and the error of the network's outputs."""

    output_errors: dict[str, float] = field(default_factory=dict)
    sensitivity: dict[str, float] = field(default_factory=dict)
    network_error: float | None = None


def measure_outputs(before: nn.Module, after: nn.Module, batch: Batch) -> Measures:
    """Compares a compressed network with what it was, layer by layer, on the first inputs of a batch.

    Args:
        before: float32, optimized. Its parameters may be told to require gradients, and are told off again.
        after: the same with niwaki.nn layers.
        batch: of calibration.
    """
    part = next(iter(pieces(batch, _INPUTS)))
    floats = {name: layer for name, layer in before.named_modules() if isinstance(layer, (nn.Conv2d, nn.Linear))}
    smalls: dict[str, nn.Module] = {
        layer.name: layer for layer in after.modules() if isinstance(layer, (Conv2d, Linear))
    }
    wanted, reference = _outputs(before, floats, part)
    found, answer = _outputs(after, smalls, part)
    errors = {}
    for name, value in found.items():
        other = wanted.get(name)
        if other is not None and other.shape == value.shape and float(other.norm()) > 0:
            errors[name] = float((value - other).norm() / other.norm())
    return Measures(errors, _sensitivity(before, floats, wanted, reference, part), _relative(answer, reference))


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


def _sensitivity(
    model: nn.Module, layers: Mapping[str, Float], outputs: Mapping[str, torch.Tensor], answer: Any, batch: Batch
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
        jacobian = jacobians.get(id(layers[name]))
        if jacobian is None or size == 0:
            continue
        channel = output.dim() - (1 if isinstance(layers[name], nn.Linear) else 3)
        others = [dim for dim in range(output.dim()) if dim != channel]
        energy = output.double().square().mean(others)
        found[name] = math.sqrt(float((jacobian.double() * energy).sum())) / size
    return found


def _relative(answer: Any, reference: Any) -> float | None:
    pairs = [
        (a, b)
        for a, b in zip(pytree.tree_leaves(answer), pytree.tree_leaves(reference), strict=False)
        if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) and a.shape == b.shape and a.is_floating_point()
    ]
    norm = math.sqrt(sum(float(b.double().square().sum()) for _, b in pairs))
    change = math.sqrt(sum(float((a.double() - b.double()).square().sum()) for a, b in pairs))
    return change / norm if norm > 0 else None


def histogram(before: torch.Tensor, after: torch.Tensor) -> Histogram | None:
    """Histograms of two float32 weights over one range; None where there is nothing but zeros."""
    before, after = (w.detach().reshape(-1).float() for w in (before, after))
    before, after = before[before != 0], after[after != 0]
    if not len(before):
        return None
    end = float(before.abs().max())
    counts = [torch.histc(w.clamp(-end, end), BINS, -end, end).long().tolist() for w in (before, after)]
    return Histogram(-end, end, tuple(counts[0]), tuple(counts[1]))
