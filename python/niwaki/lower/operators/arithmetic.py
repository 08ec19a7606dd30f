"""Sums and products: of two tensors, of a tensor and a number, of a tensor and a constant per channel."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from torch.fx import Node

from niwaki.lower.builder import Builder, QParams
from niwaki.lower.nodes import arguments, constant_of, data_inputs, is_constant, operator_name, shape_of
from niwaki.lower.operators.affine import emit_affine, per_channel
from niwaki.lower.operators.registry import Operator, register
from niwaki.lower.operators.unary import emit_table, is_unary

_REACH = 64  # how far back a search for the origin of a factor goes


class _Arithmetic(Operator):
    """An operator of `self` and `other`, each of them a tensor, a constant or a number."""

    bounds = True

    def unary(self, node: Node) -> bool:
        return is_unary(node)

    def refusal(self, node: Node) -> str:
        if is_unary(node):
            return ""
        if len(data_inputs(node)) == 1 and any(is_constant(source) for source in node.all_input_nodes):
            return "" if self.coefficients(node) is not None else "takes a constant that is not one number per channel"
        return self.refuse_pair(node)

    def emit(self, builder: Builder, node: Node) -> int:
        if is_unary(node):
            return emit_table(builder, node)
        coefficients = self.coefficients(node)
        if coefficients is not None:
            return emit_affine(builder, node, *coefficients)
        return self.emit_pair(builder, node)

    @abstractmethod
    def refuse_pair(self, node: Node) -> str:
        """Why a call with two tensors has to stay in torch; empty where it does not."""

    @abstractmethod
    def emit_pair(self, builder: Builder, node: Node) -> int:
        """Adds the operator of two tensors to the graph; returns the value it makes."""

    def coefficients(self, node: Node) -> tuple[np.ndarray, np.ndarray] | None:
        """Gain and shift per channel where one operand is constant; else None."""
        given = arguments(node)
        left, right = given["self"], given["other"]
        alpha = float(given.get("alpha", 1) or 1)
        constant = next((side for side in (left, right) if isinstance(side, Node) and is_constant(side)), None)
        if constant is None or given.get("rounding_mode") is not None:
            return None
        values = per_channel(constant_of(constant), shape_of(node))
        if values is None:
            return None
        one, zero = np.ones_like(values), np.zeros_like(values)
        first = constant is left
        name = operator_name(node)
        if name == "aten::add":
            return (one * alpha, values) if first else (one, values * alpha)
        if name == "aten::sub":
            return (-one * alpha, values) if first else (one, -values * alpha)
        if name == "aten::rsub":
            return (one, -values * alpha) if first else (-one * alpha, values)
        if name == "aten::mul":
            return values, zero
        if name == "aten::div" and not first and np.all(values != 0):
            return 1 / values, zero
        return None


@register("aten::add", "aten::sub", "aten::rsub")
class Sum(_Arithmetic):
    def refuse_pair(self, node: Node) -> str:
        given = arguments(node)
        left, right = given["self"], given["other"]
        if not isinstance(left, Node) or not isinstance(right, Node):
            return "takes one tensor"
        if shape_of(left) != shape_of(right):
            return f"takes shapes {shape_of(left)} and {shape_of(right)}; only equal ones are native"
        return "" if float(given.get("alpha", 1)) == 1 else "has a factor (alpha) other than 1"

    def emit_pair(self, builder: Builder, node: Node) -> int:
        given = arguments(node)
        left, right = given["self"], given["other"]
        if operator_name(node) == "aten::rsub":
            left, right = right, left
        if operator_name(node) == "aten::add":
            return builder.add("add", node, [left, right])
        return builder.add("add", node, [left, _negated(builder, node, right)])


def _negated(builder: Builder, node: Node, source: Node) -> int:
    """-x without loss: q becomes 255 - q, and so does the zero point."""
    qparams = builder.qparams(source)
    mirrored = QParams(qparams.scale, 255 - qparams.zero_point)
    table = np.arange(255, -1, -1, dtype=np.uint8)
    return builder.add("table", node, [source], {}, {"table": table}, qparams=mirrored, suffix=".neg")


@register("aten::mul", "aten::div")
class Product(_Arithmetic):
    def refuse_pair(self, node: Node) -> str:
        if operator_name(node) == "aten::div":
            return "divides by a tensor"
        given = arguments(node)
        left, right = given["self"], given["other"]
        if not isinstance(left, Node) or not isinstance(right, Node):
            return "takes one tensor"
        a, b = shape_of(left), shape_of(right)
        if a == b or (len(a) == len(b) == 4 and a[:2] == b[:2] and [1, 1] in (a[2:], b[2:])):
            return ""
        return f"takes shapes {a} and {b}; equal ones and [N, C, 1, 1] are native"

    def emit_pair(self, builder: Builder, node: Node) -> int:
        given = arguments(node)
        left, right = given["self"], given["other"]
        a, b = shape_of(left), shape_of(right)
        swap = a[2:] == [1, 1]
        if a == b:
            # At capture the images were so small that nothing tells a factor per channel from features.
            swap = swap and _is_pooled(left) and not _is_pooled(right)
        return builder.add("mul", node, [right, left] if swap else [left, right])


def _is_pooled(node: Node) -> bool:
    """Whether the value is one number per channel at any image size: it comes from a global pool."""
    for _ in range(_REACH):
        name = operator_name(node)
        if name == "aten::mean" or (name == "aten::adaptive_avg_pool2d" and shape_of(node)[2:] == [1, 1]):
            return True
        sources = data_inputs(node) if node.op == "call_function" else []
        if len(sources) != 1:
            return False
        node = sources[0]
    return False
