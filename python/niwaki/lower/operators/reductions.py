"""Sums, means, maxima and the like over axes; where they lie; running sums."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.fx import Node

from niwaki.lower.builder import Builder
from niwaki.lower.nodes import (
    arguments,
    axis_of,
    dtype_of,
    is_tensor,
    operator_name,
    overload_name,
    rank_of,
    shape_of,
)
from niwaki.lower.operators.registry import Operator, register
from niwaki.lower.operators.unary import source_of


def axes_of(node: Node, source: Node) -> list[int]:
    """The axes that a reduction goes over, in order; all where none is given."""
    given = arguments(node).get("dim")
    if given is None or (isinstance(given, (list, tuple)) and not given):
        return list(range(rank_of(source)))
    dims = [given] if isinstance(given, int) else list(given)
    return sorted(axis_of(source, int(axis)) for axis in dims)


def reduce(
    builder: Builder,
    node: Node,
    value: int,
    function: str,
    axes: list[int],
    keepdims: bool,
    part: str = "",
    **numbers: float,
) -> int:
    """Adds a reduction. Over no axes at all, as those of a single number, it is a reduction of one element."""
    attributes = {"function": function, "axes": axes, "keepdims": int(keepdims), **numbers}
    return builder.add("reduce", node, [value], attributes, part=part)


def keeps_axes(node: Node) -> bool:
    return bool(arguments(node).get("keepdim"))


class _Reduction(Operator):
    """A reduction of one tensor, in the type of its result."""

    function = ""

    def emit(self, builder: Builder, node: Node) -> int:
        source, dtype = source_of(node), dtype_of(node)
        value = builder.plain(source, dtype)
        if rank_of(source) == 0:
            value = builder.reshape(node, value, [1], part="one")
            return reduce(builder, node, value, self.function, [0], False)
        return reduce(builder, node, value, self.function, axes_of(node, source), keeps_axes(node))


@register("aten::sum")
class Sum(_Reduction):
    """int32 goes through int64: what overflows wraps around in both."""

    function = "sum"

    def refusal(self, node: Node) -> str:
        return "" if dtype_of(node) != torch.bool else "adds up bools"

    def emit(self, builder: Builder, node: Node) -> int:
        source, dtype = source_of(node), dtype_of(node)
        wide = torch.int64 if dtype == torch.int32 else dtype
        value = builder.plain(source, wide)
        axes, keep = axes_of(node, source), keeps_axes(node)
        if rank_of(source) == 0:
            value, axes, keep = builder.reshape(node, value, [1], part="one"), [0], False
        total = reduce(builder, node, value, "sum", axes, keep, part="" if wide == dtype else "sum")
        return builder.cast(node, total, dtype, wide)


@register("aten::prod")
class Prod(_Reduction):
    function = "prod"

    def refusal(self, node: Node) -> str:
        return "" if dtype_of(node) == torch.float32 else "multiplies integers"


@register("aten::mean")
class Mean(_Reduction):
    """Over rows and columns of an image it has a uint8 form: an average pool."""

    function = "mean"
    bounds = True

    def refusal(self, node: Node) -> str:
        return "" if dtype_of(node) == torch.float32 else f"is one of {dtype_of(node)}"

    def quantizable(self, node: Node) -> bool:
        source = source_of(node)
        return rank_of(source) == 4 and dtype_of(source) == torch.float32 and axes_of(node, source) == [2, 3]

    def emit_u8(self, builder: Builder, node: Node) -> int:
        made = builder.types.qparams(node)
        source = builder.quantized(source_of(node))
        if keeps_axes(node):
            return builder.add("adaptive_avg_pool2d", node, [source], {"size": [1, 1]}, qparams=made)
        value = builder.add("adaptive_avg_pool2d", node, [source], {"size": [1, 1]}, qparams=made, part="pool")
        return builder.add("reshape", node, [value], {"shape": builder.shape(node)}, qparams=made)


@register("aten::amax", "aten::amin")
class Extreme(_Reduction):
    def emit(self, builder: Builder, node: Node) -> int:
        return _extreme(builder, node, "max" if operator_name(node) == "aten::amax" else "min")


def _extreme(builder: Builder, node: Node, function: str) -> int:
    """The largest or smallest elements; of bools whether any, or all, are true."""
    source, dtype = source_of(node), dtype_of(source_of(node))
    value = builder.plain(source)
    axes, keep = axes_of(node, source), keeps_axes(node)
    if rank_of(source) == 0:
        return value
    if dtype == torch.bool:
        return reduce(builder, node, value, "any" if function == "max" else "all", axes, keep)
    if dtype == torch.int32:  # the core has them of int64
        found = reduce(builder, node, builder.plain(source, torch.int64), function, axes, keep, part="wide")
        return builder.cast(node, found, dtype)
    return reduce(builder, node, value, function, axes, keep)


@register("aten::max", "aten::min")
class MaxMin(Operator):
    """Of two tensors, of all elements, or along an axis with where they lie."""

    def emit(self, builder: Builder, node: Node) -> int | list[int]:
        function = operator_name(node).removeprefix("aten::")
        if overload_name(node) == "other":
            dtype = dtype_of(node)
            a, b = (builder.operand(node, side, dtype) for side in node.args[:2])
            return builder.binary(node, f"{function}imum", a, b)
        if overload_name(node) != "dim":
            return _extreme(builder, node, function)
        source = source_of(node)
        value = builder.plain(source)
        if rank_of(source) == 0:
            return [value, builder.scalar(0, torch.int64)]
        axis, keep = axis_of(source, int(arguments(node)["dim"])), keeps_axes(node)
        places = {"function": f"arg{function}", "axis": axis, "keepdims": int(keep)}
        ordered = builder.plain(source, torch.int32) if dtype_of(source) == torch.bool else value
        found = builder.add("arg_reduce", node, [ordered], places, part="where")
        return [_extreme(builder, node, function), found]


@register("aten::argmax", "aten::argmin")
class ArgExtreme(Operator):
    """Where the largest or smallest element lies."""

    def refusal(self, node: Node) -> str:
        return "" if dtype_of(source_of(node)) != torch.bool else "looks for the first of bools"

    def emit(self, builder: Builder, node: Node) -> int:
        given, source = arguments(node), source_of(node)
        function = operator_name(node).removeprefix("aten::")
        value, axis, keep = builder.plain(source), given.get("dim"), keeps_axes(node)
        if axis is None or rank_of(source) == 0:
            value = builder.reshape(node, value, [-1], part="flat")
            found = {"function": function, "axis": 0, "keepdims": 0}
            where = builder.add("arg_reduce", node, [value], found, part="where" if keep else "")
            return builder.reshape(node, where, shape_of(node)) if keep else where
        found = {"function": function, "axis": axis_of(source, int(axis)), "keepdims": int(keep)}
        return builder.add("arg_reduce", node, [value], found)


@register("aten::any", "aten::all")
class AnyAll(Operator):
    def emit(self, builder: Builder, node: Node) -> int:
        source = source_of(node)
        value = builder.plain(source, torch.bool)
        if rank_of(source) == 0:
            return value
        function = operator_name(node).removeprefix("aten::")
        return reduce(builder, node, value, function, axes_of(node, source), keeps_axes(node))


@register("aten::count_nonzero")
class CountNonzero(Operator):
    def emit(self, builder: Builder, node: Node) -> int:
        source = source_of(node)
        value = builder.cast(node, builder.plain(source, torch.bool), torch.int64, torch.bool)
        return reduce(builder, node, value, "sum", axes_of(node, source), False)


@register("aten::linalg_vector_norm", "aten::norm", "aten::frobenius_norm")
class Norm(Operator):
    """Of vectors along axes, of any order."""

    def refusal(self, node: Node) -> str:
        order = self._order(node)
        if not isinstance(order, (int, float)):
            return f"is a norm '{order}'"
        return "" if dtype_of(node) == torch.float32 else f"is one of {dtype_of(node)}"

    @staticmethod
    def _order(node: Node) -> Any:
        given = arguments(node)
        order = given["ord"] if "ord" in given else given.get("p", 2)
        return 2 if order is None or order == "fro" else order

    def emit(self, builder: Builder, node: Node) -> int:
        source, order = source_of(node), float(self._order(node))
        value = builder.plain(source, torch.float32)
        if rank_of(source) == 0:
            value = builder.reshape(node, value, [1], part="one")
            axes, keep = [0], False
        else:
            axes, keep = axes_of(node, source), keeps_axes(node)
        if order in (1, 2):
            return reduce(builder, node, value, "norm2" if order == 2 else "sum_abs", axes, keep)
        if order == 0:
            zero = builder.scalar(0.0, torch.float32)
            other = builder.cast(node, builder.binary(node, "ne", value, zero, part="other"), torch.float32, torch.bool)
            return reduce(builder, node, other, "sum", axes, keep)
        size = builder.unary(node, "abs", value, part="abs")
        if math.isinf(order):
            return reduce(builder, node, size, "max" if order > 0 else "min", axes, keep)
        power = builder.binary(node, "pow", size, builder.scalar(order, torch.float32), part="power")
        total = reduce(builder, node, power, "sum", axes, keep, part="sum")
        return builder.binary(node, "pow", total, builder.scalar(1 / order, torch.float32))


@register("aten::var", "aten::std", "aten::var_mean", "aten::std_mean")
class Variance(Operator):
    def refusal(self, node: Node) -> str:
        if dtype_of(source_of(node)) != torch.float32:
            return f"is one of {dtype_of(source_of(node))}"
        return "" if isinstance(self._correction(node), (int, float)) else "takes a correction that it computes"

    @staticmethod
    def _correction(node: Node) -> Any:
        given = arguments(node)
        if "unbiased" in given:
            return 1 if given["unbiased"] else 0
        return 1 if given.get("correction") is None else given["correction"]

    def emit(self, builder: Builder, node: Node) -> int | list[int]:
        source, name = source_of(node), operator_name(node)
        value, axes, keep = builder.plain(source), axes_of(node, source), keeps_axes(node)
        correction = float(self._correction(node))
        found = reduce(
            builder, node, value, "var", axes, keep, part="var" if "std" in name else "", correction=correction
        )
        if "std" in name:
            found = builder.unary(node, "sqrt", found)
        if not name.endswith("mean"):
            return found
        return [found, reduce(builder, node, value, "mean", axes, keep, part="mean")]


@register("aten::logsumexp")
class LogSumExp(Operator):
    """log(sum(exp(x - m))) + m, with the largest element m."""

    def refusal(self, node: Node) -> str:
        return "" if dtype_of(node) == torch.float32 and rank_of(source_of(node)) else "takes a single number"

    def emit(self, builder: Builder, node: Node) -> int:
        source = source_of(node)
        value, axes, keep = builder.plain(source, torch.float32), axes_of(node, source), keeps_axes(node)
        if any(shape_of(source)[axis] == 0 for axis in axes):
            return builder.unary(node, "log", reduce(builder, node, value, "sum", axes, keep, part="sum"))
        largest = reduce(builder, node, value, "max", axes, True, part="max")
        finite = builder.unary(node, "isfinite", largest, part="finite")
        shift = builder.add("where", node, [finite, largest, builder.scalar(0.0, torch.float32)], part="shift")
        power = builder.unary(node, "exp", builder.binary(node, "sub", value, shift, part="shifted"), part="exp")
        total = builder.unary(node, "log", reduce(builder, node, power, "sum", axes, True, part="sum"), part="log")
        result = builder.binary(node, "add", total, shift, part="" if keep else "kept")
        return result if keep else builder.reshape(node, result, shape_of(node))


@register("aten::cumsum", "aten::cumprod")
class Cumulated(Operator):
    """Sums or products up to each element, in the order of the axis."""

    def refusal(self, node: Node) -> str:
        return "" if dtype_of(node) != torch.bool else "makes bools"

    def emit(self, builder: Builder, node: Node) -> int:
        source, name, dtype = source_of(node), operator_name(node).removeprefix("aten::"), dtype_of(node)
        if rank_of(source) == 0:
            return builder.plain(source, dtype)
        wide = torch.int64 if dtype == torch.int32 else dtype  # what overflows wraps around in both
        axis = {"axis": axis_of(source, int(arguments(node)["dim"]))}
        found = builder.add(name, node, [builder.plain(source, wide)], axis, part="" if wide == dtype else "wide")
        return builder.cast(node, found, dtype, wide)


@register("aten::cummax", "aten::cummin")
class CumulatedExtreme(Operator):
    """The largest or smallest up to each element, and where it is."""

    def refusal(self, node: Node) -> str:
        return "looks for the first of bools" if dtype_of(source_of(node)) == torch.bool else ""

    def emit(self, builder: Builder, node: Node) -> list[int]:
        source = source_of(node)
        value = builder.plain(source)
        if rank_of(source) == 0:
            return [value, builder.scalar(0, torch.int64)]
        largest = int(operator_name(node) == "aten::cummax")
        attributes = {"axis": axis_of(source, int(arguments(node)["dim"])), "largest": largest}
        return builder.add_several("cumextreme", node, [value], attributes)


@register("aten::topk")
class TopK(Operator):
    def refusal(self, node: Node) -> str:
        return "takes as many as a tensor says" if is_tensor(arguments(node)["k"]) else ""

    def emit(self, builder: Builder, node: Node) -> list[int]:
        given, source = arguments(node), source_of(node)
        if rank_of(source) == 0:
            return [builder.plain(source), builder.scalar(0, torch.int64)]
        attributes = {
            "k": builder.dim(given["k"]),
            "axis": axis_of(source, int(given["dim"])),
            "largest": int(given["largest"]),
        }
        return builder.add_several("topk", node, [builder.plain(source)], attributes)


@register("aten::sort", "aten::argsort", "aten::msort")
class Sort(Operator):
    """Sorted along an axis, equal elements in their order; argsort gives where they came from."""

    def emit(self, builder: Builder, node: Node) -> int | list[int]:
        given, source, name = arguments(node), source_of(node), operator_name(node)
        value = builder.plain(source)
        if rank_of(source) == 0:
            made = [value, builder.scalar(0, torch.int64)]
        else:
            axis = 0 if name == "aten::msort" else axis_of(source, int(given["dim"]))
            order = {"axis": axis, "descending": int(given.get("descending", False))}
            bools = dtype_of(source) == torch.bool
            ordered = builder.plain(source, torch.int32) if bools else value
            made = builder.add_several("sort", node, [ordered], order)
            if bools:
                made[0] = builder.cast(node, made[0], torch.bool)
        return made[1] if name == "aten::argsort" else made[0] if name == "aten::msort" else made
