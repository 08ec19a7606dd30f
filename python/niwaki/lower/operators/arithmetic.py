"""Operators of two values, element by element: arithmetic, comparisons, logic; in uint8 sums and products of images."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from niwaki.lower.builder import Builder
from niwaki.lower.nodes import (
    arguments,
    constant_of,
    data_inputs,
    dtype_of,
    is_constant,
    is_tensor,
    operator_name,
    rank_of,
    shape_of,
)
from niwaki.lower.operators.affine import emit_affine, per_channel
from niwaki.lower.operators.registry import Operator, register
from niwaki.lower.operators.unary import emit_table, is_unary
from niwaki.lower.quantized import QParams


def operands(node: Node) -> tuple[object, object]:
    """The two arguments: tensors, numbers or sizes."""
    given = arguments(node)
    if "self" in given and "other" in given:
        return given["self"], given["other"]
    first, second = list(given.values())[:2]
    return first, second


def common_type(a: Any, b: Any) -> torch.dtype:
    """The type in which torch computes with two values."""

    def sample(value: Any) -> Any:
        if isinstance(value, Node):
            value = value.meta["val"]
        if isinstance(value, torch.SymInt):
            return 1
        if isinstance(value, torch.Tensor):
            return torch.empty([1] * value.dim(), dtype=value.dtype)
        return value

    dtype: torch.dtype = torch.result_type(sample(a), sample(b))
    return dtype


def same_shape(a: Node, b: Node) -> bool:
    """Whether two shapes are the same where neither is broadcast: what is written otherwise was found to be equal."""
    x, y = _plain(a), _plain(b)
    pairs = zip(x, y, strict=False)
    return len(x) == len(y) and all(m == n or not (isinstance(m, int) or isinstance(n, int)) for m, n in pairs)


def are_alike(node: Node) -> bool:
    """Whether both arguments are tensors, of one shape and not of a single number."""
    left, right = operands(node)
    if not (isinstance(left, Node) and isinstance(right, Node) and is_tensor(left) and is_tensor(right)):
        return False
    return same_shape(left, right) and rank_of(node) > 0


def _plain(node: Node) -> list[object]:
    return [size.node.expr if isinstance(size, torch.SymInt) else size for size in shape_of(node)]


class _Arithmetic(Operator):
    """An operator of `self` and `other`, each of them a tensor, a number or a size."""

    def unary(self, node: Node) -> bool:
        return is_unary(node)

    def quantizable(self, node: Node) -> bool:
        if dtype_of(node) != torch.float32 or any(dtype_of(source) != torch.float32 for source in data_inputs(node)):
            return False
        if is_unary(node):
            return True
        if len(data_inputs(node)) == 1 and any(is_constant(source) for source in node.all_input_nodes):
            return 2 <= rank_of(node) <= 5 and self.coefficients(node) is not None
        return self.pairs(node)

    def emit_u8(self, builder: Builder, node: Node) -> int:
        if is_unary(node):
            return emit_table(builder, node)
        coefficients = self.coefficients(node)
        if coefficients is not None:
            return emit_affine(builder, node, *coefficients)
        return self.emit_pair(builder, node)

    bounds = True

    @abstractmethod
    def pairs(self, node: Node) -> bool:
        """Whether a call with two tensors has a uint8 form."""

    @abstractmethod
    def emit_pair(self, builder: Builder, node: Node) -> int:
        """Adds that form; returns the value it makes."""

    def coefficients(self, node: Node) -> tuple[np.ndarray, np.ndarray] | None:
        """Gain and shift per channel where one operand is constant; else None."""
        left, right = operands(node)
        alpha = float(arguments(node).get("alpha", 1) or 1)
        constant = next((side for side in (left, right) if isinstance(side, Node) and is_constant(side)), None)
        if constant is None or arguments(node).get("rounding_mode") is not None:
            return None
        values = per_channel(constant_of(constant), node)
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


@register("aten::add", "aten::sub", "aten::rsub", "aten::subtract")
class Sum(_Arithmetic):
    def pairs(self, node: Node) -> bool:
        return are_alike(node) and float(arguments(node).get("alpha", 1)) == 1

    def sums(self, node: Node) -> bool:
        return operator_name(node) == "aten::add" and self.pairs(node)

    def emit_pair(self, builder: Builder, node: Node) -> int:
        left, right = operands(node)
        if operator_name(node) == "aten::rsub":
            left, right = right, left
        assert isinstance(left, Node) and isinstance(right, Node)
        second = builder.quantized(right)
        if operator_name(node) != "aten::add":
            second = _negated(builder, node, right)
        return builder.add("add", node, [builder.quantized(left), second], qparams=builder.types.qparams(node))

    def emit(self, builder: Builder, node: Node) -> int:
        left, right = operands(node)
        alpha, dtype = arguments(node).get("alpha", 1), dtype_of(node)
        if operator_name(node) == "aten::rsub":
            left, right = right, left
        if dtype == torch.bool:
            return builder.binary(
                node, "logical_or", builder.operand(node, left, dtype), builder.operand(node, right, dtype)
            )
        second = builder.operand(node, right, dtype)
        if alpha != 1:
            second = builder.binary(node, "mul", second, builder.operand(node, alpha, dtype), part="alpha")
        function = "add" if operator_name(node) == "aten::add" else "sub"
        return builder.binary(node, function, builder.operand(node, left, dtype), second)


def _negated(builder: Builder, node: Node, source: Node) -> int:
    """-x without loss: q becomes 255 - q, and so does the zero point."""
    qparams = builder.types.qparams(source)
    mirrored = QParams(qparams.scale, 255 - qparams.zero_point)
    table = np.arange(255, -1, -1, dtype=np.uint8)
    return builder.add("table", node, [builder.quantized(source)], {}, {"table": table}, qparams=mirrored, part="neg")


@register("aten::mul", "aten::multiply")
class Product(_Arithmetic):
    def pairs(self, node: Node) -> bool:
        left, right = operands(node)
        if not (isinstance(left, Node) and isinstance(right, Node) and is_tensor(left) and is_tensor(right)):
            return False
        if same_shape(left, right):
            return rank_of(node) > 0
        if rank_of(left) != 4 or rank_of(right) != 4 or _plain(left)[:2] != _plain(right)[:2]:
            return False
        return [1, 1] in (_plain(left)[2:], _plain(right)[2:])

    def emit_pair(self, builder: Builder, node: Node) -> int:
        left, right = operands(node)
        assert isinstance(left, Node) and isinstance(right, Node)
        if _plain(left)[2:] == [1, 1] and not same_shape(left, right):
            left, right = right, left
        pair = [builder.quantized(left), builder.quantized(right)]
        return builder.add("mul", node, pair, qparams=builder.types.qparams(node))

    def emit(self, builder: Builder, node: Node) -> int:
        left, right = operands(node)
        dtype = dtype_of(node)
        function = "logical_and" if dtype == torch.bool else "mul"
        return builder.binary(node, function, builder.operand(node, left, dtype), builder.operand(node, right, dtype))


@register("aten::div", "aten::divide", "aten::true_divide", "aten::floor_divide")
class Quotient(_Arithmetic):
    def pairs(self, node: Node) -> bool:
        return False

    def emit_pair(self, builder: Builder, node: Node) -> int:
        raise AssertionError(node.name)  # it has no such form

    def emit(self, builder: Builder, node: Node) -> int:
        left, right = operands(node)
        mode = arguments(node).get("rounding_mode")
        if operator_name(node) == "aten::floor_divide":
            mode = "floor"
        function = {None: "div", "floor": "floor_div", "trunc": "trunc_div"}[mode]
        dtype = dtype_of(node)
        return builder.binary(node, function, builder.operand(node, left, dtype), builder.operand(node, right, dtype))


_BINARY = {
    "remainder": "remainder", "fmod": "fmod", "maximum": "maximum", "minimum": "minimum", "atan2": "atan2",
    "arctan2": "atan2",
}  # fmt: skip


class Binary(Operator):
    """An operator in the type of its result. Of one tensor and a number it is a table, where that is uint8."""

    def unary(self, node: Node) -> bool:
        return is_unary(node)

    def quantizable(self, node: Node) -> bool:
        return is_unary(node) and dtype_of(node) == dtype_of(data_inputs(node)[0]) == torch.float32

    def emit_u8(self, builder: Builder, node: Node) -> int:
        return emit_table(builder, node)


@register(*(f"aten::{name}" for name in _BINARY))
class Function(Binary):
    """The larger or smaller of two tensors has a uint8 form, too."""

    bounds = True

    def quantizable(self, node: Node) -> bool:
        return super().quantizable(node) or (self._is_extreme(node) and are_alike(node))

    @staticmethod
    def _is_extreme(node: Node) -> bool:
        plain = dtype_of(node) == torch.float32 and len(data_inputs(node)) == 2
        return plain and operator_name(node) in ("aten::maximum", "aten::minimum")

    def emit_u8(self, builder: Builder, node: Node) -> int:
        if is_unary(node):
            return emit_table(builder, node)
        pair = [builder.quantized(side) for side in data_inputs(node)]
        function = {"function": operator_name(node).removeprefix("aten::")}
        return builder.add("extreme", node, pair, function, qparams=builder.types.qparams(node))

    def emit(self, builder: Builder, node: Node) -> int:
        left, right = operands(node)
        function, dtype = _BINARY[operator_name(node).removeprefix("aten::")], dtype_of(node)
        return builder.binary(node, function, builder.operand(node, left, dtype), builder.operand(node, right, dtype))


@register("aten::pow", "aten::float_power")
class Power(Binary):
    """Powers that are something simpler are that."""

    def refusal(self, node: Node) -> str:
        return "" if dtype_of(node) == torch.float32 or self._exponent(node) in (1, 2) else "works on integers"

    @staticmethod
    def _exponent(node: Node) -> object:
        _, exponent = operands(node)
        return exponent if isinstance(exponent, (int, float)) else None

    def emit(self, builder: Builder, node: Node) -> int:
        base, exponent = operands(node)
        dtype = dtype_of(node)
        x = builder.operand(node, base, dtype)
        known = self._exponent(node)
        functions: dict[object, str] = {2: "square", 0.5: "sqrt", -0.5: "rsqrt", -1: "reciprocal"}
        if known == 1:
            return x
        if known in functions:
            return builder.unary(node, functions[known], x)
        if known == 3:
            return builder.binary(node, "mul", builder.binary(node, "mul", x, x, part="square"), x)
        return builder.binary(node, "pow", x, builder.operand(node, exponent, dtype))


_COMPARISONS = {
    "eq": "eq", "ne": "ne", "lt": "lt", "le": "le", "gt": "gt", "ge": "ge", "not_equal": "ne", "less": "lt",
    "less_equal": "le", "greater": "gt", "greater_equal": "ge",
}  # fmt: skip


@register(*(f"aten::{name}" for name in _COMPARISONS))
class Comparison(Operator):
    """In the type in which torch compares the two."""

    def refusal(self, node: Node) -> str:
        dtype = common_type(*operands(node))
        return "" if dtype in (torch.float32, torch.int64, torch.int32, torch.bool) else f"compares {dtype}"

    def emit(self, builder: Builder, node: Node) -> int:
        left, right = operands(node)
        function = _COMPARISONS[operator_name(node).removeprefix("aten::")]
        dtype = common_type(left, right)
        if dtype == torch.bool and function not in ("eq", "ne"):
            dtype = torch.int32
        return builder.binary(node, function, builder.operand(node, left, dtype), builder.operand(node, right, dtype))


_LOGIC = {
    "logical_and": "logical_and", "logical_or": "logical_or", "logical_xor": "logical_xor",
    "bitwise_and": "logical_and", "bitwise_or": "logical_or", "bitwise_xor": "logical_xor", "__and__": "logical_and",
    "__or__": "logical_or", "__xor__": "logical_xor",
}  # fmt: skip


@register(*(f"aten::{name}" for name in _LOGIC))
class Logic(Operator):
    def refusal(self, node: Node) -> str:
        return "" if dtype_of(node) == torch.bool else "works on the bits of integers"

    def emit(self, builder: Builder, node: Node) -> int:
        left, right = operands(node)
        function = _LOGIC[operator_name(node).removeprefix("aten::")]
        a, b = (builder.operand(node, side, torch.bool) for side in (left, right))
        return builder.binary(node, function, a, b)


@register("aten::where", "aten::masked_fill")
class Where(Operator):
    """x where the mask is true, else y. masked_fill(y, mask, x) is the same in another order."""

    def any_type(self, node: Node) -> bool:
        return True

    def refusal(self, node: Node) -> str:
        return "" if operator_name(node) == "aten::masked_fill" or len(node.args) == 3 else "looks for what is true"

    def emit(self, builder: Builder, node: Node) -> int:
        dtype = dtype_of(node)
        if operator_name(node) == "aten::where":
            condition, x, y = node.args
        else:
            y, condition, x = node.args
        mask = builder.operand(node, condition, torch.bool)
        chosen = [builder.operand(node, side, dtype) for side in (x, y)]
        return builder.add("where", node, [mask, *chosen])
