"""What writes to places that are data: scatter, index_add, x[i, j] = y, masks, max_unpool."""

from __future__ import annotations

import math
from collections.abc import Sequence
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
    rank_of,
    shape_of,
)
from niwaki.lower.operators.indexing import INTEGERS, checked, take
from niwaki.lower.operators.registry import Operator, register
from niwaki.lower.operators.unary import source_of

_REDUCTIONS = {
    "": "set", "add": "add", "multiply": "mul", "sum": "add", "prod": "mul", "amax": "max", "amin": "min",
    "mean": "add",
}  # fmt: skip


def scatter(
    builder: Builder,
    node: Node,
    data: int,
    indices: int,
    updates: int,
    axis: int,
    function: str = "set",
    part: str = "",
) -> int:
    """Adds updates at the places of an axis; dims of the indices are those of the updates, or 1."""
    attributes = {"axis": axis, "function": function}
    return builder.add("scatter", node, [data, indices, updates], attributes, part=part)


def _expanded(builder: Builder, node: Node, value: int, shape: Sequence[Any], part: str) -> int:
    return builder.add("expand", node, [value], {"shape": builder.dims(shape)}, part=part)


def _along(rank: int, axis: int, size: Any) -> list[Any]:
    """A shape of 1 everywhere but along an axis."""
    return [size if place == axis else 1 for place in range(rank)]


class _Scattered(Operator):
    """Writes updates into a tensor, or computes with them and what is there."""

    def function(self, node: Node) -> str:
        """What becomes of an element and an update, as the core calls it."""
        return "set"

    def updates(self, builder: Builder, node: Node) -> int:
        """The updates, in the type of the result."""
        raise AssertionError(node.name)

    def emit(self, builder: Builder, node: Node) -> int:
        given, source, dtype = arguments(node), source_of(node), dtype_of(node)
        data, index = builder.plain(source, dtype), builder.plain(given["index"], torch.int64)
        updates, axis = self.updates(builder, node), axis_of(source, int(given["dim"]))
        one = rank_of(source) == 0  # a single number is a row of one
        if one:
            parts = (("data", data), ("index", index), ("updates", updates))
            data, index, updates = (builder.reshape(node, value, [1], part=part) for part, value in parts)
        value = self.written(builder, node, data, index, updates, axis)
        return builder.reshape(node, value, []) if one else value

    def written(self, builder: Builder, node: Node, data: int, index: int, updates: int, axis: int) -> int:
        return scatter(builder, node, data, index, updates, axis, self.function(node))


@register("aten::scatter", "aten::scatter_add", "aten::scatter_reduce")
class Scatter(_Scattered):
    """torch.scatter and its like: an index for each update."""

    def refusal(self, node: Node) -> str:
        if dtype_of(node) == torch.bool and self.function(node) != "set":
            return "computes with bools"
        mean = arguments(node).get("reduce") == "mean" and dtype_of(node) != torch.float32
        return "takes means of integers" if mean else ""

    def function(self, node: Node) -> str:
        if operator_name(node) == "aten::scatter_add":
            return "add"
        return _REDUCTIONS[str(arguments(node).get("reduce") or "")]

    def updates(self, builder: Builder, node: Node) -> int:
        given, dtype = arguments(node), dtype_of(node)
        shape = shape_of(given["index"])
        source = given["src"] if "src" in given else given["value"]
        if not is_tensor(source):
            return _expanded(builder, node, builder.operand(node, source, dtype), shape, "updates")
        return _cut(builder, node, builder.plain(source, dtype), shape_of(source), shape)

    def written(self, builder: Builder, node: Node, data: int, index: int, updates: int, axis: int) -> int:
        given, function = arguments(node), self.function(node)
        shape, dtype = shape_of(given["index"]) or [1], dtype_of(node)
        alone = operator_name(node) == "aten::scatter_reduce" and not given["include_self"]
        mean = given.get("reduce") == "mean"

        def everywhere(number: float, part: str) -> int:
            return _expanded(builder, node, builder.scalar(number, dtype), shape, part)

        if mean:
            own = [1] if rank_of(node) == 0 else shape_of(node)
            count = _expanded(builder, node, builder.scalar(0.0 if alone else 1.0, dtype), own, "own")
            count = scatter(builder, node, count, index, everywhere(1.0, "ones"), axis, "add", part="count")
            count = builder.binary(node, "maximum", count, builder.scalar(1.0, dtype), part="least")
        if alone:  # what is there does not count where there is an update
            data = scatter(
                builder, node, data, index, everywhere(_neutral(function, dtype), "neutral"), axis, part="free"
            )
        value = scatter(builder, node, data, index, updates, axis, function, part="sum" if mean else "")
        return builder.binary(node, "div", value, count) if mean else value


def _neutral(function: str, dtype: torch.dtype) -> float:
    """What an update leaves the update."""
    if function in ("max", "min"):
        least, most = (
            (-math.inf, math.inf) if dtype == torch.float32 else (torch.iinfo(dtype).min, torch.iinfo(dtype).max)
        )
        return least if function == "max" else most
    return 1 if function == "mul" else 0


def _cut(builder: Builder, node: Node, value: int, shape: Sequence[Any], wanted: Sequence[Any]) -> int:
    """The first elements of each axis, as many as there are indices."""
    for axis, (size, count) in enumerate(zip(shape, wanted, strict=True)):
        if builder.dim(size) != builder.dim(count):
            bounds = {"axis": axis, "start": 0, "end": builder.dim(count), "step": 1}
            value = builder.add("slice", node, [value], bounds, part=f"first{axis}")
    return value


@register("aten::index_add", "aten::index_copy", "aten::index_fill", "aten::index_reduce")
class IndexAdd(_Scattered):
    """An index for each slice along an axis."""

    def refusal(self, node: Node) -> str:
        name = operator_name(node)
        if name == "aten::index_reduce" and not (
            arguments(node)["include_self"] and self.function(node) in ("mul", "max", "min")
        ):
            return "leaves out what is there, or takes a mean"
        return "adds bools" if name == "aten::index_add" and dtype_of(node) == torch.bool else ""

    def function(self, node: Node) -> str:
        if operator_name(node) == "aten::index_add":
            return "add"
        reduce = str(arguments(node).get("reduce") or "")
        return "add" if reduce == "mean" else _REDUCTIONS[reduce]

    def updates(self, builder: Builder, node: Node) -> int:
        given, source, dtype = arguments(node), source_of(node), dtype_of(node)
        if operator_name(node) == "aten::index_fill":
            index = given["index"]
            shape = list(shape_of(source))
            if shape:
                shape[axis_of(source, int(given["dim"]))] = shape_of(index)[0] if rank_of(index) else 1
            value = given["value"]
            return _expanded(builder, node, builder.operand(node, value, dtype), shape, "updates")
        updates = builder.plain(given["source"], dtype)
        if given.get("alpha", 1) != 1:
            alpha = builder.operand(node, given["alpha"], dtype)
            updates = builder.binary(node, "mul", updates, alpha, part="scaled")
        if rank_of(given["source"]) < rank_of(source):  # one slice, without its axis
            shape = list(shape_of(source))
            shape[axis_of(source, int(given["dim"]))] = 1
            updates = builder.reshape(node, updates, shape, part="slice")
        return updates

    def written(self, builder: Builder, node: Node, data: int, index: int, updates: int, axis: int) -> int:
        given, source = arguments(node), source_of(node)
        if rank_of(source):
            count = shape_of(given["index"])[0] if rank_of(given["index"]) else 1
            index = builder.reshape(node, index, _along(rank_of(source), axis, count), part="row")
        if operator_name(node) == "aten::index_fill":  # negative ones count from the end
            index = checked(builder, node, index, shape_of(source)[axis] if rank_of(source) else 1, wrap=True)
        return scatter(builder, node, data, index, updates, axis, self.function(node))


@register("aten::index_put", "aten::_unsafe_index_put")
class IndexPut(Operator):
    """x[mask] = y, x[i, j] = y."""

    def refusal(self, node: Node) -> str:
        given = arguments(node)
        indices, values = [index for index in given["indices"] if index is not None], given["values"]
        if not indices or not is_tensor(values):
            return "takes no index"
        if len(given["indices"]) == 1 and dtype_of(indices[0]) == torch.bool:
            alone = given["accumulate"] or self._counted(node)
            return "writes several values where a mask is true" if alone else ""
        if any(dtype_of(index) not in INTEGERS for index in indices):
            return "takes masks beside other indices"
        if len(given["indices"]) > rank_of(source_of(node)) or rank_of(source_of(node)) == 0:
            return "takes more indices than there are axes"
        return "adds bools" if given["accumulate"] and dtype_of(node) == torch.bool else ""

    @staticmethod
    def _counted(node: Node) -> bool:
        """Whether there is a value for each element for which a mask is true, and not the same for all."""
        given = arguments(node)
        rest = rank_of(source_of(node)) - rank_of(given["indices"][0])
        shape = shape_of(given["values"])
        return any(not isinstance(size, int) or size != 1 for size in shape[: max(len(shape) - rest, 0)])

    def emit(self, builder: Builder, node: Node) -> int:
        mask = arguments(node)["indices"][0]
        if mask is not None and dtype_of(mask) == torch.bool:
            return self._masked(builder, node, mask)
        return self._placed(builder, node)

    @staticmethod
    def _masked(builder: Builder, node: Node, mask: Node) -> int:
        values, source, dtype = arguments(node)["values"], source_of(node), dtype_of(node)
        rest = rank_of(source) - rank_of(mask)
        kept = builder.plain(mask)
        if rest:
            kept = builder.reshape(node, kept, [*shape_of(mask), *[1] * rest], part="mask")
        value = builder.plain(values, dtype)
        if rank_of(values) > rest:
            value = builder.reshape(node, value, shape_of(values)[rank_of(values) - rest :], part="value")
        return builder.add("where", node, [kept, value, builder.plain(source)])

    @staticmethod
    def _placed(builder: Builder, node: Node) -> int:
        """The axes with indices become one, next to each other, and the indices one number."""
        given, source, dtype = arguments(node), source_of(node), dtype_of(node)
        indices = {axis: index for axis, index in enumerate(given["indices"]) if index is not None}
        axes, shape = list(indices), shape_of(source)
        first = axes[0]
        order = list(range(len(shape)))
        if axes != list(range(first, first + len(axes))):
            order, first = [*axes, *(axis for axis in order if axis not in axes)], 0
        data = builder.permute(node, builder.plain(source, dtype), order, part="ordered")
        moved = [shape[axis] for axis in order]
        sizes, before, behind = moved[first : first + len(axes)], moved[:first], moved[first + len(axes) :]
        common = _common([shape_of(index) for index in indices.values()])
        number: int | None = None
        for size, index in zip(sizes, indices.values(), strict=True):
            each = checked(builder, node, builder.plain(index, torch.int64), size, wrap=True, part="index")
            if number is not None:
                times = builder.operand(node, size, torch.int64)
                row = builder.binary(node, "mul", number, times, part="row")
                each = builder.binary(node, "add", row, each, part="number")
            number = each
        assert number is not None
        count, whole = _product(common), _product(sizes)
        value = _expanded(builder, node, builder.plain(given["values"], dtype), [*before, *common, *behind], "values")
        value = builder.reshape(node, value, [*before, count, *behind], part="updates")
        number = builder.reshape(node, number, _along(len(before) + 1 + len(behind), first, count), part="places")
        data = builder.reshape(node, data, [*before, whole, *behind], part="joined")
        function = "add" if given["accumulate"] else "set"
        data = scatter(builder, node, data, number, value, first, function, part="written")
        data = builder.reshape(node, data, moved, part="apart")
        return builder.permute(node, data, [order.index(axis) for axis in range(len(order))])


def _common(shapes: Sequence[Sequence[Any]]) -> list[Any]:
    """The shape that several broadcast to; asks nothing of free sizes, which torch has found to fit."""
    rank = max(map(len, shapes))
    wide = [[*[1] * (rank - len(shape)), *shape] for shape in shapes]
    return [
        next((size for size in sizes if not isinstance(size, int) or size != 1), 1) for sizes in zip(*wide, strict=True)
    ]


def _product(sizes: Sequence[Any]) -> Any:
    whole: Any = 1
    for size in sizes:
        whole = whole * size
    return whole


@register("aten::masked_scatter")
class MaskedScatter(Operator):
    """Where a mask is true, the next of the values."""

    def emit(self, builder: Builder, node: Node) -> int:
        given, source, dtype = arguments(node), source_of(node), dtype_of(node)
        shape = shape_of(node)
        mask = _expanded(builder, node, builder.plain(given["mask"], torch.bool), shape, "mask")
        flat = builder.reshape(node, mask, [-1], part="flat")
        count = builder.cast(node, flat, torch.int64, torch.bool)
        count = builder.add("cumsum", node, [count], {"axis": 0}, part="count")
        # Of one value more, so that there is something to look at where the mask is false.
        values = builder.reshape(node, builder.plain(given["source"], dtype), [-1], part="values")
        end = builder.reshape(node, builder.scalar(False if dtype == torch.bool else 0, dtype), [1], part="end")
        values = builder.add("concat", node, [end, values], {"axis": 0}, part="from_one")
        place = builder.add("where", node, [flat, count, builder.scalar(0, torch.int64)], part="at")
        found = take(builder, node, values, place, 0, wrap=False, part="taken")
        found = builder.reshape(node, found, shape, part="found")
        return builder.add("where", node, [mask, found, builder.plain(source, dtype)])


@register("aten::max_unpool2d", "aten::max_unpool3d")
class MaxUnpool(Operator):
    """Elements where a pool found them, and zeros."""

    def emit(self, builder: Builder, node: Node) -> int:
        given, source, dtype = arguments(node), source_of(node), dtype_of(node)
        axes = int(operator_name(node)[-2])
        planes, made = shape_of(source)[:-axes], shape_of(node)[-axes:]
        elements = _product(shape_of(source)[-axes:])
        parts = {"values": builder.plain(source), "places": builder.plain(given["indices"], torch.int64)}
        values, places = (builder.reshape(node, value, [*planes, elements], part=part) for part, value in parts.items())
        zeros = _expanded(builder, node, builder.scalar(0, dtype), [*planes, _product(made)], "zeros")
        return builder.reshape(
            node, scatter(builder, node, zeros, places, values, len(planes), part="written"), shape_of(node)
        )
