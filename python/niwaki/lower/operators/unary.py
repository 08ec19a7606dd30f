"""Functions of each element alone. Of a uint8 value they are a table of 256 entries, computed by torch itself."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.fx import Node

from niwaki.lower.builder import Builder
from niwaki.lower.nodes import arguments, constant_of, data_inputs, dtype_of, is_constant, operator_name, rank_of
from niwaki.lower.operators.affine import per_channel
from niwaki.lower.operators.registry import Operator, register

# Those that are one function of niwaki's, with the names of the arguments that are its numbers.
_FUNCTIONS: dict[str, tuple[str, ...]] = {
    "abs": (), "absolute": (), "neg": (), "negative": (), "sign": (), "sgn": (), "exp": (), "expm1": (), "log": (),
    "log1p": (), "log2": (), "log10": (), "sqrt": (), "rsqrt": (), "reciprocal": (), "square": (), "erf": (),
    "special_erf": (), "sin": (), "cos": (), "tan": (), "atan": (), "asin": (), "acos": (), "sinh": (), "cosh": (),
    "tanh": (), "sigmoid": (), "special_expit": (), "log_sigmoid": (), "hardsigmoid": (), "hardswish": (), "silu": (),
    "mish": (), "leaky_relu": ("negative_slope",), "celu": ("alpha",), "selu": (),
    "softplus": ("beta", "threshold"), "hardshrink": ("lambd",), "softshrink": ("lambd",),
    "threshold": ("threshold", "value"), "floor": (), "ceil": (), "trunc": (), "fix": (), "frac": (), "isnan": (),
    "isinf": (), "isfinite": (), "arctan": (), "arcsin": (), "arccos": (),
}  # fmt: skip
_OTHER_NAMES = {
    "absolute": "abs", "negative": "neg", "sgn": "sign", "special_erf": "erf", "special_expit": "sigmoid",
    "fix": "trunc", "arctan": "atan", "arcsin": "asin", "arccos": "acos",
}  # fmt: skip
_OF_INTEGERS = {"abs", "neg", "sign", "square"}
_STEPS = {"floor", "ceil", "trunc", "round"}


def is_unary(node: Node) -> bool:
    """Whether everything but one tensor is a number, or a constant of one element."""
    sources = data_inputs(node)
    if len(sources) != 1 or len(sources) != len([s for s in node.all_input_nodes if not is_constant(s)]):
        return False
    fixed = [source for source in node.all_input_nodes if is_constant(source)]
    if any(constant_of(source).numel() != 1 or constant_of(source).dim() > rank_of(node) for source in fixed):
        return False
    return _occurrences(node, sources[0]) == 1


def _occurrences(node: Node, source: Node) -> int:
    count = 0

    def visit(found: Node) -> Node:
        nonlocal count
        count += found is source
        return found

    torch.fx.node.map_arg((node.args, node.kwargs), visit)
    return count


def apply(node: Node, values: torch.Tensor) -> torch.Tensor:
    """What the node makes of other values; parameters and numbers among its arguments stay as they are."""

    def argument(source: Node) -> torch.Tensor:
        return constant_of(source).reshape(1).to(values.dtype) if is_constant(source) else values

    args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), argument)
    with torch.no_grad():
        result: torch.Tensor = node.target(*args, **kwargs)  # type: ignore[operator]
    return result.to(torch.float64)


def emit_table(builder: Builder, node: Node) -> int:
    """Adds the functions that end at `node` as one table."""
    chain = builder.types.chains[node]
    source = data_inputs(chain[0])[0]
    qparams = builder.types.qparams(source)
    reals = qparams.reals().to(torch.float64)
    for step in chain:
        reals = apply(step, reals)
    made = builder.types.qparams(node)
    return builder.add(
        "table", node, [builder.quantized(source, qparams)], {}, {"table": made.table(reals)}, qparams=made
    )


class Unary(Operator):
    """A function of each element: float32 and uint8."""

    def unary(self, node: Node) -> bool:
        return is_unary(node)

    def quantizable(self, node: Node) -> bool:
        return is_unary(node) and dtype_of(node) == dtype_of(data_inputs(node)[0]) == torch.float32

    def emit_u8(self, builder: Builder, node: Node) -> int:
        return emit_table(builder, node)


def source_of(node: Node) -> Node:
    """The tensor that a function of one tensor takes."""
    source = node.args[0] if node.args else node.kwargs.get("self", node.kwargs.get("input"))
    assert isinstance(source, Node)
    return source


@register(*(f"aten::{name}" for name in _FUNCTIONS))
class Function(Unary):
    """Those that are one function of niwaki's."""

    only_float = ("aten::isnan", "aten::isinf", "aten::isfinite")

    def refusal(self, node: Node) -> str:
        numbers = self._numbers(node)
        if not all(isinstance(number, (int, float)) for number in numbers):
            return "takes a number that is computed while it runs"
        return ""

    @staticmethod
    def _numbers(node: Node) -> list[Any]:
        given = arguments(node)
        return [given[name] for name in _FUNCTIONS[operator_name(node).removeprefix("aten::")]]

    def emit(self, builder: Builder, node: Node) -> int:
        name = operator_name(node).removeprefix("aten::")
        function = _OTHER_NAMES.get(name, name)
        source = source_of(node)
        alpha, beta = [*map(float, self._numbers(node)), 0.0, 0.0][:2]
        own = dtype_of(source)
        if own in (torch.int64, torch.int32):
            if function in _OF_INTEGERS:
                return builder.unary(node, function, builder.plain(source), alpha, beta)
            if function in _STEPS:
                return builder.plain(source)
        if own == torch.bool and function in _OF_INTEGERS:  # a bool stays one, or becomes the integer that it counts as
            made = dtype_of(node)
            return builder.plain(source) if made == own else builder.unary(node, function, builder.plain(source, made))
        return builder.unary(node, function, builder.plain(source, torch.float32), alpha, beta)


@register("aten::gelu")
class Gelu(Unary):
    def emit(self, builder: Builder, node: Node) -> int:
        function = "gelu_tanh" if arguments(node)["approximate"] == "tanh" else "gelu"
        return builder.unary(node, function, builder.plain(source_of(node)))


@register("aten::elu")
class Elu(Unary):
    """alpha (exp(x * input_scale) - 1) below zero, both sides times scale."""

    def refusal(self, node: Node) -> str:
        given = arguments(node)
        return "" if given["scale"] == 1 and given["input_scale"] == 1 else "has scales other than 1"

    def emit(self, builder: Builder, node: Node) -> int:
        return builder.unary(node, "elu", builder.plain(source_of(node)), float(arguments(node)["alpha"]))


@register("aten::round")
class Round(Unary):
    def emit(self, builder: Builder, node: Node) -> int:
        x, decimals = source_of(node), arguments(node).get("decimals", 0)
        if dtype_of(x) != torch.float32:
            return builder.plain(x)
        if not decimals:
            return builder.unary(node, "round", builder.plain(x))
        power = builder.scalar(10.0 ** abs(decimals), torch.float32)
        there, back = ("mul", "div") if decimals > 0 else ("div", "mul")
        scaled = builder.binary(node, there, builder.plain(x), power, part="scaled")
        return builder.binary(node, back, builder.unary(node, "round", scaled, part="rounded"), power)


@register("aten::logical_not", "aten::bitwise_not")
class Not(Operator):
    def refusal(self, node: Node) -> str:
        logical = operator_name(node) == "aten::logical_not"
        return "" if logical or dtype_of(source_of(node)) == torch.bool else "works on the bits of integers"

    def emit(self, builder: Builder, node: Node) -> int:
        return builder.unary(node, "logical_not", builder.plain(source_of(node), torch.bool))


@register("aten::softsign", "aten::tanhshrink")
class Composed(Unary):
    """Those that torch composes of others, and niwaki has."""

    def emit(self, builder: Builder, node: Node) -> int:
        return builder.unary(node, operator_name(node).removeprefix("aten::"), builder.plain(source_of(node)))


@register("aten::erfc", "aten::exp2", "aten::special_erfc", "aten::special_exp2")
class FromAnother(Unary):
    """1 - erf(x) and 2 ** x."""

    def emit(self, builder: Builder, node: Node) -> int:
        x = builder.plain(source_of(node), torch.float32)
        if operator_name(node).endswith("erfc"):
            erf = builder.unary(node, "erf", x, part="erf")
            return builder.binary(node, "sub", builder.scalar(1.0, torch.float32), erf)
        return builder.binary(node, "pow", builder.scalar(2.0, torch.float32), x)


@register("aten::prelu", "aten::_prelu_kernel")
class PRelu(Unary):
    """A slope for all, or one per channel: of uint8 values the first is a table."""

    def quantizable(self, node: Node) -> bool:
        return super().quantizable(node) or self._slopes(node) is not None

    @staticmethod
    def _slopes(node: Node) -> NDArray[np.float32] | None:
        """The slope of each channel, where they are constant; else None."""
        x, slope = (source for source in node.args[:2] if isinstance(source, Node))
        if is_constant(x) or not is_constant(slope) or dtype_of(node) != torch.float32 or rank_of(x) < 2:
            return None
        weight = constant_of(slope)
        if operator_name(node) == "aten::prelu":
            weight = weight.reshape([-1] + [1] * (rank_of(x) - 2))
        found = per_channel(weight, node)
        return None if found is None or not np.isfinite(found).all() else np.ascontiguousarray(found, np.float32)

    def emit_u8(self, builder: Builder, node: Node) -> int:
        if self.unary(node):
            return emit_table(builder, node)
        slopes = self._slopes(node)
        assert slopes is not None
        x = builder.quantized(data_inputs(node)[0])
        return builder.add("prelu", node, [x], {}, {"slope": slopes}, qparams=builder.types.qparams(node))

    def emit(self, builder: Builder, node: Node) -> int:
        x, slope = (source for source in node.args[:2] if isinstance(source, Node))
        weight = builder.plain(slope)
        if operator_name(node) == "aten::prelu" and rank_of(slope) == 1 and rank_of(x) > 1:
            shape = [slope.meta["val"].shape[0] if axis == 1 else 1 for axis in range(rank_of(x))]
            weight = builder.reshape(node, weight, shape, part="slope")
        return builder.binary(node, "prelu", builder.plain(x), weight)


@register("aten::rrelu")
class RRelu(Unary):
    """In eval mode a leaky ReLU with the mean of the two slopes."""

    def refusal(self, node: Node) -> str:
        return "is in training mode" if arguments(node)["training"] else ""

    def emit(self, builder: Builder, node: Node) -> int:
        given = arguments(node)
        slope = (float(given["lower"]) + float(given["upper"])) / 2
        return builder.unary(node, "leaky_relu", builder.plain(source_of(node)), slope)


@register(
    "aten::relu", "aten::relu6", "aten::hardtanh", "aten::clamp", "aten::clamp_min", "aten::clamp_max", "aten::clip"
)
class Bound(Unary):
    """ReLU and what is like it: bounds on the uint8 operator before, where it reads that alone; else a table."""

    def limits(self, node: Node) -> tuple[float, float] | None:
        given = arguments(node)
        if operator_name(node) in ("aten::relu", "aten::relu6"):
            return 0.0, 6.0 if operator_name(node) == "aten::relu6" else math.inf
        low, high = (
            (given["min_val"], given["max_val"])
            if operator_name(node) == "aten::hardtanh"
            else (given.get("min"), given.get("max"))
        )
        if isinstance(low, (Node, torch.SymInt)) or isinstance(high, (Node, torch.SymInt)):
            return None
        limits = -math.inf if low is None else float(low), math.inf if high is None else float(high)
        return limits if limits[0] <= limits[1] else None

    def emit(self, builder: Builder, node: Node) -> int:
        limits = self.limits(node)
        source, dtype = source_of(node), dtype_of(node)
        if limits is not None:
            function = "relu" if limits == (0.0, math.inf) else "relu6" if limits == (0.0, 6.0) else "clamp"
            numbers = limits if function == "clamp" else ()
            return builder.unary(node, function, builder.plain(source, dtype), *numbers)
        given = arguments(node)
        value = builder.plain(source, dtype)
        for name, function in (("min", "maximum"), ("max", "minimum")):
            if given.get(name) is not None:
                value = builder.binary(node, function, value, builder.operand(node, given[name], dtype), part=name)
        return value

    def emit_u8(self, builder: Builder, node: Node) -> int:
        if node not in builder.types.bounds:
            return emit_table(builder, node)
        limits = self.limits(node)
        assert limits is not None
        qparams = builder.types.qparams(node)
        low, high = (qparams.quantize(limit) for limit in limits)
        source = builder.quantized(data_inputs(node)[0])
        return builder.add("clamp", node, [source], {"low": low, "high": high}, qparams=qparams)
