"""torch.nn.functional.fold: columns of windows become images, in which what lies on each other is added."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.fx import Node

from niwaki.lower.builder import Builder
from niwaki.lower.nodes import arguments, dtype_of, rank_of, shape_of, size_of
from niwaki.lower.operators.indexing import take
from niwaki.lower.operators.registry import Operator, register
from niwaki.lower.operators.unary import source_of


@register("aten::col2im")
class Fold(Operator):
    """One axis after the other: each pixel adds up what windows have for it."""

    def refusal(self, node: Node) -> str:
        return "" if dtype_of(node) == torch.float32 else f"works on {dtype_of(node)}"

    def emit(self, builder: Builder, node: Node) -> int:
        given = arguments(node)
        height, width = (size_of(size) for size in given["output_size"])
        rows, columns = (_Axis(given, axis) for axis in (0, 1))
        down, across = rows.windows(height), columns.windows(width)
        batch, channels = ([1] * (4 - rank_of(node)) + shape_of(node))[:2]
        images = batch * channels
        kernel = [rows.kernel, columns.kernel]
        value = builder.reshape(node, builder.plain(source_of(node)), [images, *kernel, down, across], part="windows")
        value = builder.permute(node, value, [0, 1, 3, 2, 4], part="rows")
        value = rows.add_up(builder, node, value, images, height, columns.kernel * across, "height")
        value = columns.add_up(builder, node, value, images * height, width, 1, "width")
        return builder.reshape(node, value, shape_of(node))


class _Axis:
    """Windows along one axis. Pixel q of the padded axis is element i of window (q - i dilation) / stride.

    That has to be a whole number, so these i lie `every` apart, from one on that follows from q % stride. Where there
    are no such element and window, there are zeros: elements behind the last one, windows around all.
    """

    def __init__(self, given: dict[str, Any], axis: int) -> None:
        names = ("kernel_size", "dilation", "padding", "stride")
        self.kernel, self.dilation, self.padding, self.stride = (int(given[name][axis]) for name in names)
        self.every = self.stride // math.gcd(self.dilation, self.stride)
        self.turns = -(-self.kernel // self.every)

    def windows(self, size: Any) -> Any:
        """How many there are."""
        return (size + 2 * self.padding - self.dilation * (self.kernel - 1) - 1) // self.stride + 1

    def _first(self) -> torch.Tensor:
        """The first i for each q % stride; one behind the last where there is none."""
        none = self.turns * self.every
        places = {i * self.dilation % self.stride: i for i in range(self.every)}
        return torch.tensor([places.get(rest, none) for rest in range(self.stride)])

    def add_up(self, builder: Builder, node: Node, value: int, outer: Any, size: Any, inner: Any, part: str) -> int:
        """The elements of [outer, kernel, windows, inner] become [outer, size, inner]."""
        first = self._first()
        elements = int(first.max()) + (self.turns - 1) * self.every + 1
        around = -(-self.dilation * (elements - 1) // self.stride)
        length = self.windows(size) + 2 * around
        value = builder.reshape(node, value, [outer, self.kernel, self.windows(size), inner], part=f"{part}.windows")
        ends = [0, 0, 0, elements - self.kernel, around, around, 0, 0]
        padded = {"padding": ends, "mode": "constant", "value": 0.0}
        value = builder.add("pad", node, [value], padded, part=f"{part}.padded")
        value = builder.reshape(node, value, [outer, elements * length, inner], part=f"{part}.places")

        def with_number(function: str, number: int, size: Any) -> int:
            other = builder.operand(node, size, torch.int64)
            return builder.binary(node, function, number, other, part=f"{part}.{function}")

        pixel = with_number("add", builder.arange(node, size, f"{part}.pixels"), self.padding)
        rest = with_number("remainder", pixel, self.stride)
        element = take(builder, node, builder.constant(first), rest, 0, wrap=False, part=f"{part}.element")
        found: int | None = None
        for turn in range(self.turns):
            element = with_number("add", element, self.every) if turn else element
            offset = with_number("mul", element, -self.dilation)
            window = builder.binary(node, "add", pixel, offset, part=f"{part}.add")
            window = with_number("add", with_number("floor_div", window, self.stride), around)
            place = builder.binary(node, "add", with_number("mul", element, length), window, part=f"{part}.place")
            each = take(builder, node, value, place, 1, wrap=False, part=f"{part}.taken")
            found = each if found is None else builder.binary(node, "add", found, each, part=f"{part}.sum")
        assert found is not None
        return found
