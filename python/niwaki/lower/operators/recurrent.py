"""LSTM, GRU and plain recurrent layers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.fx import Node

from niwaki.lower.builder import Builder
from niwaki.lower.canonical.parts import same_numbers
from niwaki.lower.nodes import (
    arguments,
    constant_of,
    is_constant,
    operator_name,
    overload_name,
    rank_of,
)
from niwaki.lower.operators.registry import Operator, register
from niwaki.nn.recurrent_op import named_tensors

_KINDS = ("lstm", "gru", "rnn_tanh", "rnn_relu")


@register("niwaki::recurrent", *(f"aten::{kind}" for kind in _KINDS))
class Recurrent(Operator):
    computes = True

    def refusal(self, node: Node) -> str:
        given = arguments(node)
        if operator_name(node) != "niwaki::recurrent" and overload_name(node) != "input":
            return "works on a packed sequence"
        if given.get("train") and given.get("dropout"):
            return "drops out"
        if not all(is_constant(weight) or _scaled(weight) for weight in self._weights(node)):
            return "has weights that are computed while it runs"
        return "" if rank_of(self._x(node)) == 3 else "works on a single sequence"

    @staticmethod
    def _x(node: Node) -> Node:
        given = arguments(node)
        x = given["x"] if "x" in given else given["input"]
        assert isinstance(x, Node)
        return x

    @staticmethod
    def _weights(node: Node) -> list[Node]:
        given = arguments(node)
        return list(given["weights"] if "weights" in given else given["params"])

    @staticmethod
    def _states(node: Node) -> list[Node]:
        given = arguments(node)
        states = given["states"] if "states" in given else given["hx"]
        return list(states) if isinstance(states, (list, tuple)) else [states]

    def emit(self, builder: Builder, node: Node) -> list[int]:
        given, name = arguments(node), operator_name(node)
        own = name == "niwaki::recurrent"
        kind = given["kind"] if own else name.removeprefix("aten::")
        biases = bool(given["biases" if own else "has_biases"])
        layers = int(given["layers" if own else "num_layers"])
        both = bool(given["bidirectional"])
        tensors, hidden = _named(self._weights(node), layers, both, biases)
        attributes = {
            "kind": kind,
            "batch_first": int(bool(given["batch_first"])),
            "layers": layers,
            "bidirectional": int(both),
            "hidden": hidden,
        }
        inputs = _inputs(builder, self._x(node), self._states(node), given.get("lengths"))
        return builder.add_several("recurrent", node, inputs, attributes, tensors)


@register("niwaki::dynamic_recurrent")
class DynamicRecurrent(Operator):
    """Recurrent layers with int8 weights that multiply bytes."""

    computes = True

    def refusal(self, node: Node) -> str:
        given = arguments(node)
        tensors = [*given["weights"], *given["scales"], *given["biases"]]
        return "" if all(map(is_constant, tensors)) else "has weights that are computed while it runs"

    def emit(self, builder: Builder, node: Node) -> list[int]:
        given = arguments(node)
        weights, scales, biases = (
            [constant_of(each) for each in given[key]] for key in ("weights", "scales", "biases")
        )
        tensors, hidden = named_tensors(weights, scales, biases, given["layers"], given["bidirectional"])
        attributes = {
            "kind": given["kind"],
            "batch_first": int(given["batch_first"]),
            "layers": given["layers"],
            "bidirectional": int(given["bidirectional"]),
            "hidden": hidden,
            "dynamic": 1,
        }
        arrays = {name: np.ascontiguousarray(tensor.numpy()) for name, tensor in tensors.items()}
        inputs = _inputs(builder, given["x"], given["states"], given.get("lengths"))
        return builder.add_several("recurrent", node, inputs, attributes, arrays)


@register("niwaki::sequence_lengths")
class SequenceLengths(Operator):
    """The lengths of packed sequences, which are looked at when it runs."""

    def emit(self, builder: Builder, node: Node) -> list[int]:
        given = arguments(node)
        attributes = {
            "steps": builder.dim(given["steps"]),
            "falling": int(given["falling"]),
            "full": int(given["full"]),
        }
        return [builder.add("sequence_lengths", node, [builder.plain(given["lengths"])], attributes)]


@register("niwaki::scaled_rows")
class ScaledRows(Operator):
    """The numbers of an int8 weight: the recurrent layer that reads them takes bytes and scales themselves."""

    def refusal(self, node: Node) -> str:
        read = all(operator_name(user) == "niwaki::recurrent" for user in node.users)
        return "" if _scaled(node) and read else "has no reader that takes int8 weights"

    def emit(self, builder: Builder, node: Node) -> list[int]:
        return []


def _inputs(builder: Builder, x: Node, states: Sequence[Node], lengths: Node | None) -> list[int]:
    """Those of the core's operator, without states that it begins with by itself."""
    zero = all(map(_is_zero, states))
    inputs = [builder.plain(x), *([] if zero else [builder.plain(state) for state in states])]
    if lengths is not None:
        inputs += [-1] * (3 - len(inputs)) + [builder.plain(lengths)]
    return inputs


def _named(weights: list[Node], layers: int, both: bool, biases: bool) -> tuple[dict[str, np.ndarray], int]:
    """The weights by torch's names, and the number of hidden units."""
    ends = [f"l{layer}{side}" for layer in range(layers) for side in (("", "_reverse") if both else ("",))]
    each = len(weights) // len(ends)
    kinds = ["w_ih", "w_hh"] + (["b_ih", "b_hh"] if biases else [])
    if each > len(kinds):
        kinds.append("w_hr")
    tensors: dict[str, np.ndarray] = {}
    for name, weight in zip((f"{kind}_{end}" for end in ends for kind in kinds), weights, strict=True):
        if _scaled(weight):
            bytes_, scale = (constant_of(arguments(weight)[part]) for part in ("weight", "scale"))
            tensors[name], tensors[f"{name}_scale"] = (np.ascontiguousarray(x.numpy()) for x in (bytes_, scale))
        else:
            tensors[name] = np.ascontiguousarray(constant_of(weight).to(torch.float32).numpy())
    hidden = tensors[f"{'w_hr' if 'w_hr' in kinds else 'w_hh'}_{ends[0]}"].shape[1]
    return tensors, hidden


def _scaled(weight: Node) -> bool:
    """Whether these are the numbers of an int8 weight."""
    return operator_name(weight) == "niwaki::scaled_rows" and all(map(is_constant, weight.all_input_nodes))


def _is_zero(node: Node) -> bool:
    """Whether a state is zeros throughout, which a recurrent layer begins with by itself."""
    node = same_numbers(node)
    if is_constant(node):
        return not bool(constant_of(node).any())
    return operator_name(node) in ("aten::zeros", "aten::zeros_like", "aten::new_zeros")
