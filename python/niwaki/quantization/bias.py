"""Bias correction: what rounding shifts the mean of a channel by goes into its bias.

As in Nagel et al., "Data-free quantization through weight equalization and bias correction" (2019), with the means
measured on calibration inputs: https://arxiv.org/abs/1906.04721. Two runs of the graph go side by side, node by node,
over all inputs: as the network was, and as it will round. Each call is run by itself, whatever its shape.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch.fx import Node

from niwaki.capture import evaluating
from niwaki.lower.nodes import data_inputs
from niwaki.lower.types import Types
from niwaki.nn.layers import QuantizedLayer
from niwaki.quantization.arithmetic import Float, FloatRun
from niwaki.quantization.held_out import Cutter
from niwaki.quantization.inputs import Batch
from niwaki.quantization.programs import Program
from niwaki.quantization.simulate import RoundedRun
from niwaki.runs.progress import track

# Inputs that means are taken over, and bytes of values that may be alive at a time.
_INPUTS = 256
_MEMORY = 1 << 30


class Kept:
    """The first calls of a stream, for a look at them later."""

    def __init__(self) -> None:
        self.calls: list[Batch] = []
        self._inputs = 0

    def watch(self, stream: Iterable[Batch]) -> Iterator[Batch]:
        """Yields the calls."""
        for batch in stream:
            if self._inputs < _INPUTS:
                self.calls.append(batch.copy())
                self._inputs += batch.inputs
            yield batch


def correct_biases(
    program: Program,
    floats: Mapping[QuantizedLayer, Float],
    types: Types,
    calls: Sequence[Batch],
    cutter: Cutter,
    *,
    progress: bool,
) -> None:
    """Adds to each bias what the mean of the channel lacks, in the order in which the layers are called.

    A mean that wavers from input to input is trusted less: a few inputs with large outputs would say what is wrong for
    all others. A layer that is called several times has one bias, for which the first call decides.

    Args:
        program: the graph; it accepts the calls.
        floats: the layer in float32 that each of niwaki's stands for.
        types: which values are uint8.
        calls: inputs; only as many are used as fit into memory, at least one.
        cutter: of the network, which knows whether rows of a call are inputs of their own.
        progress: tells on stderr how far it is.
    """
    calls = calls[: max(1, _MEMORY // (2 * program.peak))]
    before = [FloatRun(program, floats) for _ in calls]
    now = [RoundedRun(program, floats, types) for _ in calls]
    for run, call in zip([*before, *now], [*calls, *calls], strict=True):
        run.begin(call.copy())
    apart = [cutter.inputs(call) > 1 for call in calls]
    done: set[QuantizedLayer] = set()
    with evaluating(program.module):
        for node in track(list(program.module.graph.nodes), "correcting biases", progress):
            if node.op == "output":
                break
            for run in before:
                run.step(node)
            layer = program.layers.get(node)
            if layer is None or layer.bias is None or layer in done:
                for run in now:
                    run.step(node)
                continue
            done.add(layer)
            found = [run.layer(node, layer, run.input_of(node)) for run in now]
            others = _others(node, types)
            lacks = _lacks(
                layer,
                [sum((run.env[other] for other in others), run.env[node]) for run in before],
                [sum((run.env[other] for other in others), made) for run, made in zip(now, found, strict=True)],
                apart,
            )
            layer.bias.add_(lacks)
            # What comes after sees the corrected output, as if the layer had run again.
            shift = lacks.reshape(-1, *[1] * layer.spatial)
            for run, made in zip(now, found, strict=True):
                run.keep(node, made + shift)


def _others(node: Node, types: Types) -> list[Node]:
    """What is added to the result of a layer before it is rounded."""
    if node not in types.summed:
        return []
    (total,) = node.users
    return [other for other in data_inputs(total) if other is not node]


def _lacks(
    layer: QuantizedLayer, wanted: Sequence[torch.Tensor], found: Sequence[torch.Tensor], apart: Sequence[bool]
) -> torch.Tensor:
    """float32 [O]: what the means of the channels lack, less where it wavers between inputs."""
    means, weights = [], []
    for a, b, rows in zip(wanted, found, apart, strict=True):
        change = _by_channel(layer, a - b, rows)  # [inputs, O, positions]
        means.append(change.mean(2, dtype=torch.float64))
        weights.append(torch.full((len(change),), float(change.shape[2]), dtype=torch.float64))
    each, weight = torch.cat(means), torch.cat(weights)
    weight = weight / weight.sum()
    mean = (weight[:, None] * each).sum(0)
    if len(each) == 1:
        # One input alone: its positions stand for inputs.
        spread = change[0].double()
        squared = (spread - mean[:, None]).square().mean(1) / max(1, spread.shape[1] - 1)
    else:
        squared = (weight[:, None].square() * (each - mean).square()).sum(0) * len(each) / (len(each) - 1)
    # James and Stein's estimate of a mean from one that is off by `squared`.
    trusted = mean * (1 - squared / mean.square().clamp_min(1e-300)).clamp_min(0)
    return torch.where(trusted.isfinite(), trusted, 0.0).float()


def _by_channel(layer: QuantizedLayer, change: torch.Tensor, rows: bool) -> torch.Tensor:
    """[inputs, O, positions]; one input where the first dimension is something else."""
    axis = change.dim() - 1 - layer.spatial
    change = change.movedim(axis, -1)
    channels = change.shape[-1]
    split = change.reshape(len(change), -1, channels) if rows and change.dim() > 1 else change.reshape(1, -1, channels)
    return split.transpose(1, 2)
