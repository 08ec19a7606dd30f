"""Runs a captured graph in float32 as it will run in int8: every value is one that its 8 bits can hold."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from torch.fx import Node

from niwaki.lower.nodes import data_inputs, operator_name
from niwaki.lower.operators.registry import handler
from niwaki.lower.partition import partition
from niwaki.lower.quantized import QParams
from niwaki.lower.types import Types, assign
from niwaki.nn.layers import QuantizedLayer
from niwaki.quantization.affine import row_qparams
from niwaki.quantization.arithmetic import Float, FloatRun, apply, dequantized
from niwaki.quantization.attention_codes import as_codes
from niwaki.quantization.programs import Program, source_of
from niwaki.quantization.ranges import Ranges


def types_of(program: Program, ranges: Ranges) -> Types:
    """Which values of the graph will be uint8, in all of its native parts."""
    quantized: dict[Node, QParams] = {}
    entering: dict[Node, QParams] = {}
    bounded: dict[Node, Node] = {}
    summed: set[Node] = set()
    attentions: set[Node] = set()
    for part in partition(program.module):
        if part.native:
            found = assign(part.nodes, ranges, ranges.floats, ranges.attentions)
            quantized |= found.quantized
            entering |= found.entering
            bounded |= found.bounded
            summed |= found.summed
            attentions |= found.attentions
    return Types(quantized, entering, bounded, summed=frozenset(summed), attentions=frozenset(attentions))


class _Any:
    """The ranges of a graph of which nothing is known: any value may be uint8."""

    def get(self, _: str) -> tuple[float, float]:
        return (-1.0, 1.0)


def eight_bit_values(program: Program) -> set[Node]:
    """The values of the graph that may become uint8, whatever their ranges."""
    found: set[Node] = set()
    for part in partition(program.module):
        if part.native:
            types = assign(part.nodes, _Any())
            found |= {*types.quantized, *types.entering, *types.inner}
    return found


def rounded(x: torch.Tensor, qparams: QParams) -> torch.Tensor:
    """What uint8 makes of a value."""
    zero = qparams.zero_point
    return torch.div(x, qparams.scale).round_().clamp_(-zero, 255 - zero).mul_(qparams.scale)


def rounded_rows(x: torch.Tensor) -> torch.Tensor:
    """What uint8 makes of a value of which each row has a range of its own."""
    scale, _ = row_qparams(x)
    # No clamp: the range is the row's own, so its ends are the first step and the last one, or half a step within.
    return torch.div(x, scale).round_().mul_(scale)


def keeps_numbers(node: Node, types: Types) -> bool:
    """Whether a uint8 value is made of other uint8 values without rounding: elements are moved, compared or cut off."""
    operator = handler(node)
    if node not in types.bounded.values() and not operator.keeps:
        return False
    known = [types.quantized.get(source) or types.entering.get(source) for source in data_inputs(node)]
    return all(qparams == types.quantized[node] for qparams in known)


class RoundedRun(FloatRun):
    """A graph as it will run in int8: each value and each weight is what its 8 bits hold.

    Args:
        program, floats, watched: as in FloatRun.
        types: which values are uint8, with which numbers.
        weights: whether weights are rounded, too, and biases are the quantized layers'.
        dynamic: linear layers whose inputs have a range for each row, whatever the graph says.
        exact: layers that compute in float32.
    """

    def __init__(
        self,
        program: Program,
        floats: Mapping[QuantizedLayer, Float],
        types: Types,
        *,
        weights: bool = True,
        dynamic: Collection[QuantizedLayer] = (),
        exact: Collection[QuantizedLayer] = (),
        watched: Collection[Node] = (),
    ) -> None:
        super().__init__(program, floats, watched)
        self._types = types
        self._round_weights = weights
        self._dynamic, self._exact = dynamic, exact
        self._weights: dict[QuantizedLayer, torch.Tensor] = {}

    def fetch_args_kwargs_from_env(self, n: Node) -> tuple[tuple[Any, ...], dict[str, Any]]:
        args, kwargs = super().fetch_args_kwargs_from_env(n)
        return ((*as_codes(*args[:3]), *args[3:]), kwargs) if n in self._types.attentions else (args, kwargs)

    def value(self, node: Node, value: Any) -> Any:
        qparams = self._types.quantized.get(node)
        return value if qparams is None or node in self._types.summed else rounded(value, qparams)

    def layer(self, node: Node, layer: QuantizedLayer, x: torch.Tensor) -> torch.Tensor:
        source = source_of(node)
        if layer in self._exact:
            return super().layer(node, layer, x)
        if layer in self._dynamic or operator_name(node) == "niwaki::dynamic_linear":
            x = rounded_rows(x)
        elif source not in self._types.quantized and source in self._types.entering:  # else it stays in torch
            x = rounded(x, self._types.qparams(source))
        if not self._round_weights:
            return super().layer(node, layer, x)
        return apply(node, x, self._weight(layer), layer.bias)

    def _weight(self, layer: QuantizedLayer) -> torch.Tensor:
        if layer not in self._weights:
            self._weights[layer] = dequantized(layer)
        return self._weights[layer]


def measured_nodes(program: Program) -> list[Node]:
    """The values that a network's error is measured on: its results, and what those that are no numbers are made of.

    Of an argmax, say, it is the scores.
    """
    (output,) = (node for node in program.module.graph.nodes if node.op == "output")
    found: dict[Node, None] = {}
    for result in output.all_input_nodes:
        found.update(dict.fromkeys(_floats_behind(result, set())))
    return list(found)


def _floats_behind(node: Node, seen: set[Node]) -> Iterator[Node]:
    value = node.meta.get("val")
    if node in seen or node.op == "get_attr":
        return
    seen.add(node)
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        if node.op != "placeholder":
            yield node
        return
    for source in data_inputs(node):
        yield from _floats_behind(source, seen)
