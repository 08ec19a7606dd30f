"""What looks elements up: embeddings, index_select, gather, x[i, j], one-hot vectors, windows along an axis."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from niwaki.lower.builder import Builder
from niwaki.lower.nodes import (
    arguments,
    axis_of,
    constant_of,
    dtype_of,
    is_constant,
    is_tensor,
    label,
    rank_of,
    shape_of,
)
from niwaki.lower.operators.registry import Operator, register
from niwaki.lower.operators.unary import source_of
from niwaki.lower.quantized import QParams
from niwaki.quantization.tables import pack_table, values_in_a_byte

INTEGERS = (torch.int64, torch.int32)


def take(builder: Builder, node: Node, data: int, indices: int, axis: int, *, wrap: bool, part: str = "") -> int:
    """Elements along an axis by their numbers; negative ones count from the end with `wrap`, else they are refused."""
    return builder.add("take", node, [data, indices], {"axis": axis, "wrap": int(wrap)}, part=part)


def checked(builder: Builder, node: Node, indices: int, size: Any, *, wrap: bool, part: str = "checked") -> int:
    """The indices themselves, none of them negative; refused when the network runs where they exceed the size."""
    return take(builder, node, builder.arange(node, size, f"{part}.range"), indices, 0, wrap=wrap, part=part)


@register("aten::embedding")
class Embedding(Operator):
    computes = True

    def emit(self, builder: Builder, node: Node) -> int:
        given = arguments(node)
        return take(builder, node, builder.plain(given["weight"]), builder.plain(given["indices"]), 0, wrap=False)


@register("niwaki::embedding")
class QuantizedEmbedding(Operator):
    """Of an int8 table: rows of bytes, turned into float32 and multiplied by their scales."""

    computes = True

    def refusal(self, node: Node) -> str:
        given = arguments(node)
        known = is_constant(given["weight"]) and is_constant(given["weight_scale"])
        return "" if known else "has a table that is computed while it runs"

    def emit(self, builder: Builder, node: Node) -> int:
        given = arguments(node)
        indices, table = builder.plain(given["indices"]), constant_of(given["weight"])
        if values_in_a_byte(table) == 1:
            rows = _rows(builder, node, (table.to(torch.int16) + 128).to(torch.uint8), indices, 128)
        else:
            packed, values = pack_table(table)
            numbers = builder.cast(node, _rows(builder, node, packed, indices, 0), torch.int32, torch.float32)
            known = builder.once(
                ("values", given["weight"].target), lambda: builder.constant(values, f"{label(node)}.values")
            )
            found = take(builder, node, known, numbers, 0, wrap=False, part="values")
            rows = builder.reshape(node, found, shape_of(node), part="unpacked")
        scale = constant_of(given["weight_scale"])[:, None]
        scales = builder.once(
            ("scales", given["weight_scale"].target), lambda: builder.constant(scale, f"{label(node)}.scales")
        )
        return builder.binary(node, "mul", rows, take(builder, node, scales, indices, 0, wrap=False, part="scale"))


def _rows(builder: Builder, node: Node, table: torch.Tensor, indices: int, zero_point: int) -> int:
    """Rows of a table of bytes [V, D], as float32, less the zero point."""
    whole = QParams(1.0, zero_point)
    data = builder.once(
        ("table", arguments(node)["weight"].target),
        lambda: builder.constant(table, f"{label(node)}.table", qparams=whole),
    )
    found = builder.add("take", node, [data, indices], {"axis": 0, "wrap": 0}, qparams=whole, part="rows")
    return builder.add("dequantize", node, [found], part="dequantize")


@register("aten::index_select")
class IndexSelect(Operator):
    def any_type(self, node: Node) -> bool:
        return True

    def emit(self, builder: Builder, node: Node) -> int:
        given, source = arguments(node), source_of(node)
        data = builder.plain(source)
        index = builder.plain(given["index"])
        if rank_of(given["index"]) == 0:
            index = builder.reshape(node, index, [1], part="index")
        return take(builder, node, data, index, axis_of(source, int(given["dim"])), wrap=False)


@register("aten::gather")
class Gather(Operator):
    def any_type(self, node: Node) -> bool:
        return True

    def refusal(self, node: Node) -> str:
        return "" if rank_of(node) else "takes a single number"

    def emit(self, builder: Builder, node: Node) -> int:
        given, source = arguments(node), source_of(node)
        pair = [builder.plain(source), builder.plain(given["index"], torch.int64)]
        return builder.add("gather", node, pair, {"axis": axis_of(source, int(given["dim"]))})


@register("aten::index", "aten::_unsafe_index")
class Index(Operator):
    """x[i, j, :] with tensors of integers among the indices."""

    def any_type(self, node: Node) -> bool:
        return True

    def refusal(self, node: Node) -> str:
        indices = [index for index in arguments(node)["indices"] if index is not None]
        if not all(is_tensor(index) and dtype_of(index) in INTEGERS for index in indices):
            return "takes as many elements as a mask says"
        return "" if indices else "takes no index"

    def emit(self, builder: Builder, node: Node) -> int:
        source, indices = source_of(node), list(arguments(node)["indices"])
        axes = [axis for axis, index in enumerate(indices) if index is not None]
        if len(axes) == 1:
            index = builder.plain(indices[axes[0]])
            return take(builder, node, builder.plain(source), index, axes[0], wrap=True)
        return self._several(builder, node, source, {axis: indices[axis] for axis in axes})

    @staticmethod
    def _several(builder: Builder, node: Node, source: Node, indices: dict[int, Node]) -> int:
        """The axes become one, next to each other, and the indices one number."""
        shape, axes = shape_of(source), list(indices)
        data = builder.plain(source)
        first = axes[0]
        if axes != list(range(first, first + len(axes))):
            rest = [axis for axis in range(len(shape)) if axis not in axes]
            data = builder.permute(node, data, [*axes, *rest], part="ordered")
            shape, first = [shape[axis] for axis in (*axes, *rest)], 0
        sizes = shape[first : first + len(axes)]
        number: int | None = None
        for size, index in zip(sizes, indices.values(), strict=True):
            each = checked(builder, node, builder.plain(index, torch.int64), size, wrap=True, part="index")
            if number is None:
                number = each
            else:
                times = builder.operand(node, size, torch.int64)
                number = builder.binary(
                    node, "add", builder.binary(node, "mul", number, times, part="row"), each, part="number"
                )
        assert number is not None
        whole: Any = 1
        for size in sizes:
            whole = whole * size
        joined = [*shape[:first], whole, *shape[first + len(axes) :]]
        data = builder.reshape(node, data, joined, part="joined")
        return take(builder, node, data, number, first, wrap=False)


@register("aten::one_hot", "niwaki::one_hot")
class OneHot(Operator):
    def refusal(self, node: Node) -> str:
        return (
            ""
            if arguments(node).get("num_classes") != -1
            else "makes as many classes as it finds: it needs num_classes"
        )

    def emit(self, builder: Builder, node: Node) -> int:
        source = source_of(node)
        classes = shape_of(node)[-1]
        index = checked(builder, node, builder.plain(source, torch.int64), classes, wrap=False)
        column = builder.reshape(node, index, [*shape_of(source), 1], part="column")
        same = builder.binary(node, "eq", column, builder.arange(node, classes, "classes"), part="same")
        return builder.cast(node, same, torch.int64, torch.bool)


@register("aten::unfold")
class Windows(Operator):
    """Tensor.unfold: windows along an axis, which become a last axis."""

    def refusal(self, node: Node) -> str:
        return "" if rank_of(source_of(node)) else "works on a single number"

    def emit(self, builder: Builder, node: Node) -> int:
        given, source = arguments(node), source_of(node)
        axis = axis_of(source, int(given["dimension"]))
        count, size = shape_of(node)[axis], shape_of(node)[-1]
        if self._in_order(source, axis, size, given["step"]):
            return self._columns(builder, node, int(size), int(given["step"]))
        step = builder.operand(node, given["step"], torch.int64)
        begins = builder.binary(node, "mul", builder.arange(node, count, "windows"), step, part="begins")
        begins = builder.reshape(node, begins, [count, 1], part="rows")
        places = builder.binary(node, "add", begins, builder.arange(node, size, "within"), part="places")
        value = take(builder, node, builder.plain(source), places, axis, wrap=False, part="taken")
        rank = rank_of(node)
        order = [place for place in range(rank) if place != axis + 1] + [axis + 1]
        return builder.permute(node, value, order)

    def _in_order(self, source: Node, axis: int, size: Any, step: Any) -> bool:
        """Whether no place has to be looked up: windows of the last axis of numbers, as of a signal."""
        rank = rank_of(source)
        whole = isinstance(size, int) and isinstance(step, int) and size > 0
        return whole and axis == rank - 1 and rank <= 3 and dtype_of(source) == torch.float32

    def _columns(self, builder: Builder, node: Node, size: int, step: int) -> int:
        *outer, length = shape_of(source_of(node))
        outer = [*outer, *[1] * (2 - len(outer))]
        value = builder.reshape(node, builder.plain(source_of(node)), [*outer, 1, length], part="rows")
        windows = {"kernel": [1, size], "stride": [1, step], "padding": [0, 0], "dilation": [1, 1]}
        value = builder.add("unfold", node, [value], windows, part="taken")
        count = shape_of(node)[-2]
        value = builder.reshape(node, value, [*outer, size, count], part="columns")
        value = builder.permute(node, value, [0, 1, 3, 2], part="windows")
        return builder.reshape(node, value, shape_of(node))


@register("aten::im2col")
class Columns(Operator):
    """torch.nn.functional.unfold: the pixels under each place of a window."""

    def emit(self, builder: Builder, node: Node) -> int:
        given, source = arguments(node), source_of(node)
        names = {"kernel": "kernel_size", "stride": "stride", "padding": "padding", "dilation": "dilation"}
        windows = {ours: [int(number) for number in given[theirs]] for ours, theirs in names.items()}
        value = builder.plain(source)
        if rank_of(source) == 3:
            value = builder.reshape(node, value, [1, *shape_of(source)], part="image")
            value = builder.add("unfold", node, [value], windows, part="columns")
            return builder.reshape(node, value, shape_of(node))
        return builder.add("unfold", node, [value], windows)


@register("aten::bucketize", "aten::searchsorted")
class Bucketize(Operator):
    """How many of the boundaries lie below each value. searchsorted: each row of values has its own boundaries."""

    def refusal(self, node: Node) -> str:
        given = arguments(node)
        if given.get("sorter") is not None:
            return "takes boundaries in another order"
        return "" if is_tensor(given["self"]) else "looks for a number"

    def emit(self, builder: Builder, node: Node) -> int:
        given = arguments(node)
        boundaries, values = given["boundaries" if "boundaries" in given else "sorted_sequence"], given["self"]
        dtype = torch.promote_types(dtype_of(boundaries), dtype_of(values))
        column = builder.reshape(node, builder.plain(values, dtype), [*shape_of(values), 1], part="column")
        bounds = builder.plain(boundaries, dtype)
        if rank_of(boundaries) > 1:
            shape = shape_of(boundaries)
            bounds = builder.reshape(node, bounds, [*shape[:-1], 1, shape[-1]], part="rows")
        if given["right"] or given.get("side") == "right":  # what is no number lies behind all
            above = builder.binary(node, "lt", column, bounds, part="above")
            below = builder.unary(node, "logical_not", above, part="below")
        else:
            below = builder.binary(node, "lt", bounds, column, part="below")
        counted = builder.cast(node, below, torch.int64, torch.bool)
        axes = {"function": "sum", "axes": [rank_of(values)], "keepdims": 0}
        count = builder.add("reduce", node, [counted], axes, part="count")
        return builder.cast(node, count, dtype_of(node), torch.int64)
