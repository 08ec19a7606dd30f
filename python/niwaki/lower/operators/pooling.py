"""Pools of one to three dimensions; those of one and two have a uint8 form, that of images."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from niwaki.lower.builder import Builder
from niwaki.lower.nodes import (
    arguments,
    data_inputs,
    dtype_of,
    label,
    operator_name,
    parts_read,
    rank_of,
    shape_of,
)
from niwaki.lower.operators.convolution import batched, spread, unbatched
from niwaki.lower.operators.registry import Operator, register
from niwaki.lower.operators.unary import source_of
from niwaki.lower.quantized import QParams


def _axes(node: Node) -> int:
    """How many dimensions the window of a pool has, by its name."""
    return int(operator_name(node).split("pool")[1][0])


def _has_images(node: Node) -> bool:
    """Whether a pool has a batch and one or two dimensions; rows are images of one row."""
    return _axes(node) <= 2 and rank_of(node) == _axes(node) + 2


def _pooled_images(
    builder: Builder, node: Node, operator: str, attributes: dict[str, Any], read: QParams | None = None
) -> int:
    """The uint8 form of a pool; `read`: scale and zero point of what it reads, where they are not the source's own."""
    made, source = builder.types.qparams(node), source_of(node)
    value = builder.quantized(source, read)
    if _axes(node) == 2:
        return builder.add(operator, node, [value], attributes, qparams=made)
    batch, channels, length = shape_of(source)
    image = {"shape": builder.dims([batch, channels, 1, length])}
    read = read or builder.types.qparams(source)
    value = builder.add("reshape", node, [value], image, qparams=read, part="image")
    value = builder.add(operator, node, [value], attributes, qparams=made)
    return builder.add("reshape", node, [value], {"shape": builder.shape(node)}, qparams=made, part="rows")


def _whole(value: int | None) -> int:
    return 0 if value is None else int(value)


class _Pool(Operator):
    function = "max"
    several = False  # whether torch's operator gives places, too

    def window(self, node: Node) -> dict[str, Any]:
        given, axes = arguments(node), _axes(node)
        kernel = [int(size) for size in spread(given["kernel_size"], axes)]
        pads = [int(size) for size in spread(given["padding"], axes, 0)]
        attributes = {
            "kernel": kernel,
            "stride": [int(step) for step in spread(given["stride"] or kernel, axes)],
            "padding": [end for pad in pads for end in (pad, pad)],
            "ceil_mode": int(bool(given["ceil_mode"])),
        }
        if "dilation" in given:
            attributes["dilation"] = [int(step) for step in spread(given["dilation"], axes)]
        return attributes

    def image_window(self, node: Node) -> dict[str, Any]:
        """The same for the uint8 form, of an image of one row or of several; padding is top, left, bottom, right."""
        window = self.window(node)
        if _axes(node) == 1:
            steps: dict[str, Any] = {
                name: [1, *window[name]] for name in ("kernel", "stride", "dilation") if name in window
            }
            window = {**window, **steps, "padding": [0, 0, *window["padding"]]}
        top, bottom, left, right = window["padding"]
        return {**window, "padding": [top, left, bottom, right]}

    def refusal(self, node: Node) -> str:
        given = arguments(node)
        if any(isinstance(size, Node) for name in ("kernel_size", "stride") for size in spread(given[name], 1)):
            return "has a window that is as large as its input says"
        if (given.get("divisor_override") or 1) < 1:
            return "has a negative divisor"
        return "" if dtype_of(data_inputs(node)[0]) == torch.float32 else f"works on {dtype_of(data_inputs(node)[0])}"

    def quantizable(self, node: Node) -> bool:
        return not self.several and _has_images(node)

    def extra(self, node: Node) -> dict[str, Any]:
        """Attributes of one kind of pool alone."""
        return {}

    def emit(self, builder: Builder, node: Node) -> int | list[int]:
        rank = _axes(node) + 2
        attributes = {"function": self.function, **self.window(node), **self.extra(node)}
        source = source_of(node)
        value = builder.add("pool", node, [batched(builder, node, source, rank)], attributes)
        if self.several:
            windows = [self._places(builder, node, attributes, axis) for axis in range(_axes(node))]
            return _with_places(builder, node, value, rank, windows)
        return unbatched(builder, node, value, rank)

    @staticmethod
    def _places(builder: Builder, node: Node, window: dict[str, Any], axis: int) -> int:
        """The elements of each window along an axis, [windows, kernel]; beyond an end those next to it."""
        axes = _axes(node)
        size, count = shape_of(source_of(node))[axis - axes], node.meta["val"][0].shape[axis - axes]
        step, before, kernel = window["stride"][axis], window["padding"][2 * axis], window["kernel"][axis]
        dilation = window["dilation"][axis] if "dilation" in window else 1
        begins = builder.binary(
            node, "mul", builder.arange(node, count, "windows"), builder.scalar(step, torch.int64), part="steps"
        )
        begins = builder.binary(node, "sub", begins, builder.scalar(before, torch.int64), part="begins")
        taps = builder.constant(torch.arange(kernel) * dilation, f"{label(node)}.taps")
        places = builder.binary(
            node, "add", builder.reshape(node, begins, [count, 1], part="rows"), taps, part="elements"
        )
        # The first tap within, and the last element, which the last tap within is nearest to.
        inside = builder.binary(node, "remainder", places, builder.scalar(dilation, torch.int64), part="first")
        negative = builder.binary(node, "lt", places, builder.scalar(0, torch.int64), part="outside")
        places = builder.add("where", node, [negative, inside, places], part="from")
        return _not_beyond(builder, node, places, begins, size, count, dilation)


def _not_beyond(builder: Builder, node: Node, places: int, begins: int, size: Any, count: Any, dilation: int) -> int:
    """Taps behind the last element take the last tap that is not."""
    last = builder.binary(
        node, "sub", builder.operand(node, size, torch.int64), builder.scalar(1, torch.int64), part="end"
    )
    if dilation > 1:
        over = builder.binary(node, "sub", last, begins, part="left")
        over = builder.binary(node, "remainder", over, builder.scalar(dilation, torch.int64), part="over")
        last = builder.reshape(node, builder.binary(node, "sub", last, over, part="ends"), [count, 1], part="last")
    return builder.binary(node, "minimum", places, last, part="places")


def _with_places(builder: Builder, node: Node, value: int, rank: int, windows: list[int]) -> list[int]:
    """Largest values, and which elements of an image they are, row by row: the first of equals.

    Args:
        value: the largest values, with a batch axis.
        windows: for each axis the elements of each window, [windows, elements].
    """
    source, axes = source_of(node), rank - 2
    made = list(node.meta["val"][0].shape)
    if not set(parts_read(node)) - {0}:
        return [value if rank_of(source) == rank else builder.reshape(node, value, made, part="unbatched")]
    sizes, counts = shape_of(source)[-axes:], made[-axes:]
    outer = ([1, *shape_of(source)] if rank_of(source) < rank else shape_of(source))[:2]
    # [N, C, windows, elements, windows, elements, ...] becomes [N, C * windows ..., elements ...].
    spread = batched(builder, node, source, rank)
    index: int | None = None
    for axis, window in enumerate(windows):
        spread = builder.add("take", node, [spread, window], {"axis": 2 + 2 * axis, "wrap": 0}, part=f"axis{axis}")
    order = [0, 1, *range(2, 2 + 2 * axes, 2), *range(3, 3 + 2 * axes, 2)]
    spread = builder.permute(node, spread, order, part="together")
    for axis, window in enumerate(windows):
        shape: list[Any] = [1] * (2 * axes)
        shape[axis], shape[axes + axis] = counts[axis], -1
        row = builder.reshape(node, window, shape, part=f"line{axis}")
        if index is not None:
            index = builder.binary(node, "mul", index, builder.operand(node, sizes[axis], torch.int64), part="row")
            row = builder.binary(node, "add", index, row, part="element")
        index = row
    assert index is not None
    pixels: Any = 1
    for count in counts:
        pixels = pixels * count
    table = builder.reshape(node, index, [pixels, -1], part="table")
    flat = builder.reshape(node, spread, [outer[0] * outer[1], pixels, -1], part="flat")
    which = builder.add("arg_reduce", node, [flat], {"function": "argmax", "axis": 2, "keepdims": 1}, part="which")
    wide = {"shape": builder.dims([outer[0] * outer[1], -1, -1])}
    table = builder.add("expand", node, [table], wide, part="tables")
    places = builder.add("gather", node, [table, which], {"axis": 2}, part="places")
    return [
        value if rank_of(source) == rank else builder.reshape(node, value, made, part="unbatched"),
        builder.reshape(node, places, made, part="shaped"),
    ]


@register("aten::max_pool1d", "aten::max_pool2d", "aten::max_pool3d")
class MaxPool(_Pool):
    keeps = True
    only_float = ("aten::max_pool3d",)

    def emit_u8(self, builder: Builder, node: Node) -> int:
        return _pooled_images(builder, node, "max_pool2d", self.image_window(node), builder.types.qparams(node))


@register("aten::max_pool1d_with_indices", "aten::max_pool2d_with_indices", "aten::max_pool3d_with_indices")
class MaxPoolWithIndices(_Pool):
    several = True


@register("aten::avg_pool1d", "aten::avg_pool2d", "aten::avg_pool3d")
class AvgPool(_Pool):
    function = "average"
    bounds = True
    only_float = ("aten::avg_pool3d",)

    def extra(self, node: Node) -> dict[str, Any]:
        given = arguments(node)
        return {
            "count_include_pad": int(bool(given["count_include_pad"])),
            "divisor": _whole(given.get("divisor_override")),
        }

    def emit_u8(self, builder: Builder, node: Node) -> int:
        attributes = {**self.image_window(node), **self.extra(node)}
        return _pooled_images(builder, node, "avg_pool2d", attributes)


class _Adaptive(Operator):
    function = "average"
    several = False

    def refusal(self, node: Node) -> str:
        return "" if dtype_of(data_inputs(node)[0]) == torch.float32 else f"works on {dtype_of(data_inputs(node)[0])}"

    @staticmethod
    def _size(node: Node) -> list[Any]:
        axes = _axes(node)
        own = shape_of(source_of(node))[-axes:]
        size = spread(arguments(node)["output_size"], axes)
        return [was if wanted is None else wanted for wanted, was in zip(size, own, strict=True)]

    def emit(self, builder: Builder, node: Node) -> int | list[int]:
        rank, source = _axes(node) + 2, source_of(node)
        attributes = {"function": self.function, "size": builder.dims(self._size(node))}
        value = builder.add("adaptive_pool", node, [batched(builder, node, source, rank)], attributes)
        if self.several:
            pairs = zip(shape_of(source)[-_axes(node) :], self._size(node), strict=True)
            windows = [self._places(builder, node, size, count) for size, count in pairs]
            return _with_places(builder, node, value, rank, windows)
        return unbatched(builder, node, value, rank)

    @staticmethod
    def _places(builder: Builder, node: Node, size: Any, count: Any) -> int:
        """The elements of each part of an axis, [parts, elements]: from i * size // count on, the last one again."""
        parts, one = builder.arange(node, count, "parts"), builder.scalar(1, torch.int64)
        whole, share = (builder.operand(node, number, torch.int64) for number in (size, count))
        begins = builder.binary(node, "mul", parts, whole, part="shares")
        begins = builder.binary(node, "floor_div", begins, share, part="begins")
        ends = builder.binary(node, "mul", builder.binary(node, "add", parts, one, part="next"), whole, part="bounds")
        ends = builder.binary(node, "add", ends, builder.binary(node, "sub", share, one, part="up"), part="above")
        ends = builder.binary(
            node, "sub", builder.binary(node, "floor_div", ends, share, part="ends"), one, part="last"
        )
        begins, ends = (
            builder.reshape(node, value, [count, 1], part=part) for part, value in (("rows", begins), ("stops", ends))
        )
        most = (size + count - 1) // count + 1
        places = builder.binary(node, "add", begins, builder.arange(node, most, "elements"), part="places")
        return builder.binary(node, "minimum", places, ends, part="within")


@register(
    "aten::adaptive_avg_pool1d", "aten::adaptive_avg_pool2d", "aten::adaptive_avg_pool3d", "aten::_adaptive_avg_pool2d",
    "aten::_adaptive_avg_pool3d",
)  # fmt: skip
class AdaptiveAvgPool(_Adaptive):
    bounds = True
    only_float = ("aten::adaptive_avg_pool3d", "aten::_adaptive_avg_pool3d")

    def quantizable(self, node: Node) -> bool:
        return _has_images(node)

    def emit_u8(self, builder: Builder, node: Node) -> int:
        size = {"size": builder.dims([1] * (2 - _axes(node)) + self._size(node))}
        return _pooled_images(builder, node, "adaptive_avg_pool2d", size)


@register("aten::adaptive_max_pool1d", "aten::adaptive_max_pool2d", "aten::adaptive_max_pool3d")
class AdaptiveMaxPool(_Adaptive):
    function = "max"
    several = True
