"""Values that depend on sizes alone: zeros, ones, ranges; and casts from type to type."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from niwaki.lower.builder import Builder
from niwaki.lower.nodes import DTYPES, arguments, dtype_of, is_tensor, operator_name, shape_of, size_of
from niwaki.lower.operators.registry import Operator, register
from niwaki.lower.operators.unary import source_of

_FACTORIES = [
    f"aten::{form.format(kind)}" for kind in ("zeros", "ones", "empty", "full") for form in ("{}", "{}_like", "new_{}")
]


@register(*_FACTORIES, "aten::fill", "aten::scalar_tensor", "aten::zero")
class Full(Operator):
    """One number in every element."""

    def refusal(self, node: Node) -> str:
        known = isinstance(self._value(node), (int, float, bool, Node))
        return "" if known else "is filled with a complex number"

    @staticmethod
    def _value(node: Node) -> Any:
        given, name = arguments(node), operator_name(node)
        for kind, value in (("zero", 0), ("empty", 0), ("ones", 1)):
            if kind in name:
                return value
        return next(given[key] for key in ("fill_value", "value", "s") if key in given)

    def emit(self, builder: Builder, node: Node) -> int:
        value, dtype, shape = self._value(node), dtype_of(node), builder.shape(node)
        if isinstance(value, Node):
            return builder.add("expand", node, [builder.operand(node, value, dtype)], {"shape": shape})
        number = float(bool(value)) if dtype == torch.bool else float(value)
        return builder.add("full", node, [], {"shape": shape, "dtype": DTYPES[dtype], "value": number})


def _whole(value: Any) -> bool:
    """Whether a number is a whole one, written with a fraction or not."""
    return isinstance(value, (int, torch.SymInt)) or (isinstance(value, float) and value.is_integer())


@register("aten::arange")
class Range(Operator):
    """Start, start + step, ... up to the end."""

    def refusal(self, node: Node) -> str:
        start, step, end = self._bounds(node)
        if any(isinstance(value, Node) and is_tensor(value) for value in (start, step, end)):
            return "takes a bound that it computes"
        if _whole(start) and _whole(step) and not isinstance(step, torch.SymInt):
            return "" if dtype_of(node) != torch.bool else "makes bools"
        fractions = all(isinstance(value, (int, float)) for value in (start, step))
        return "" if fractions and dtype_of(node) == torch.float32 else "takes a step that it computes"

    @staticmethod
    def _bounds(node: Node) -> tuple[Any, Any, Any]:
        given = arguments(node)
        start, step = given.get("start", 0), given.get("step", 1)
        return size_of(start), size_of(step), size_of(given["end"])

    def emit(self, builder: Builder, node: Node) -> int:
        start, step, end = self._bounds(node)
        dtype = DTYPES[dtype_of(node)]
        size = builder.dim(shape_of(node)[0])
        if _whole(start) and _whole(step):
            first = builder.dim(start if isinstance(start, torch.SymInt) else int(start))
            last = builder.dim(end) if isinstance(end, (int, torch.SymInt)) else first + size * int(step)
            bounds = {"start": first, "end": last, "step": int(step), "dtype": dtype}
            return builder.add("arange", node, [], bounds)
        count = {"start": 0, "end": size, "step": 1, "dtype": "float32"}
        value = builder.add("arange", node, [], count, part="steps")
        value = builder.binary(node, "mul", value, builder.scalar(float(step), torch.float32), part="scaled")
        return builder.binary(node, "add", value, builder.scalar(float(start), torch.float32))


@register("aten::linspace", "niwaki::linspace")
class Linspace(Operator):
    def refusal(self, node: Node) -> str:
        given = arguments(node)
        if not all(isinstance(given[name], (int, float)) for name in ("start", "end")):
            return "takes a bound that it computes"
        return "" if dtype_of(node) == torch.float32 else f"makes {DTYPES[dtype_of(node)]}"

    def emit(self, builder: Builder, node: Node) -> int:
        given = arguments(node)
        ends = {"start": float(given["start"]), "end": float(given["end"])}
        return builder.add("linspace", node, [], {**ends, "steps": builder.dim(given["steps"])})


@register("aten::eye")
class Eye(Operator):
    """One where row and column are the same."""

    def emit(self, builder: Builder, node: Node) -> int:
        rows, columns = shape_of(node)
        down = builder.reshape(node, builder.arange(node, rows, "rows"), [rows, 1], part="down")
        same = builder.binary(node, "eq", down, builder.arange(node, columns, "columns"), part="same")
        return builder.cast(node, same, dtype_of(node), torch.bool)


@register("aten::tril", "aten::triu")
class Triangle(Operator):
    """Zero above, or below, a diagonal."""

    def emit(self, builder: Builder, node: Node) -> int:
        rows, columns = shape_of(node)[-2:]
        lower = operator_name(node) == "aten::tril"
        diagonal = builder.operand(node, arguments(node)["diagonal"], torch.int64)
        down = builder.reshape(node, builder.arange(node, rows, "rows"), [rows, 1], part="down")
        edge = builder.binary(node, "add", down, diagonal, part="edge")
        kept = builder.binary(
            node, "le" if lower else "ge", builder.arange(node, columns, "columns"), edge, part="kept"
        )
        dtype = dtype_of(node)
        value = builder.plain(source_of(node))
        return builder.add("where", node, [kept, value, builder.scalar(False if dtype == torch.bool else 0, dtype)])


@register(
    "aten::to", "aten::_to_copy", "aten::type_as", "aten::lift_fresh_copy", "aten::clone", "aten::contiguous",
    "aten::alias", "aten::detach", "aten::positive",
)  # fmt: skip
class Cast(Operator):
    """Another type for the same numbers; a copy where the type is the same."""

    def any_type(self, node: Node) -> bool:
        return True

    def emit(self, builder: Builder, node: Node) -> int:
        return builder.plain(source_of(node), dtype_of(node))
