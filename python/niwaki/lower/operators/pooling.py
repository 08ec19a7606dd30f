"""Pools of one to three dimensions; those of images have a uint8 form."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from niwaki.lower.builder import Builder
from niwaki.lower.nodes import (
    arguments,
    data_inputs,
    dtype_of,
    operator_name,
    parts_read,
    rank_of,
    shape_of,
)
from niwaki.lower.operators.convolution import batched, spread, unbatched
from niwaki.lower.operators.registry import Operator, register
from niwaki.lower.operators.unary import source_of


def _axes(node: Node) -> int:
    """How many dimensions the window of a pool has, by its name."""
    return int(operator_name(node).split("pool")[1][0])


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
        """The same for the uint8 form, which takes padding as top, left, bottom, right."""
        window = self.window(node)
        top, bottom, left, right = window["padding"]
        return {**window, "padding": [top, left, bottom, right]}

    def refusal(self, node: Node) -> str:
        given = arguments(node)
        if any(isinstance(size, Node) for name in ("kernel_size", "stride") for size in spread(given[name], 1)):
            return "has a window that is as large as its input says"
        if (given.get("divisor_override") or 1) < 1:
            return "has a negative divisor"
        if self.several and set(parts_read(node)) - {0}:
            return "is asked for places"
        return "" if dtype_of(data_inputs(node)[0]) == torch.float32 else f"works on {dtype_of(data_inputs(node)[0])}"

    def quantizable(self, node: Node) -> bool:
        return _axes(node) == 2 and not self.several and rank_of(node) == 4

    def extra(self, node: Node) -> dict[str, Any]:
        """Attributes of one kind of pool alone."""
        return {}

    def emit(self, builder: Builder, node: Node) -> int | list[int]:
        rank = _axes(node) + 2
        attributes = {"function": self.function, **self.window(node), **self.extra(node)}
        source = source_of(node)
        value = builder.add("pool", node, [batched(builder, node, source, rank)], attributes)
        if self.several:
            return [value if rank_of(source) == rank else _without_batch(builder, node, value)]
        return unbatched(builder, node, value, rank)


def _without_batch(builder: Builder, node: Node, value: int) -> int:
    return builder.reshape(node, value, list(node.meta["val"][0].shape), part="unbatched")


@register("aten::max_pool1d", "aten::max_pool2d", "aten::max_pool3d")
class MaxPool(_Pool):
    keeps = True
    only_float = ("aten::max_pool1d", "aten::max_pool3d")

    def emit_u8(self, builder: Builder, node: Node) -> int:
        qparams = builder.types.qparams(node)
        source = builder.quantized(source_of(node), qparams)
        return builder.add("max_pool2d", node, [source], self.image_window(node), qparams=qparams)


@register("aten::max_pool1d_with_indices", "aten::max_pool2d_with_indices", "aten::max_pool3d_with_indices")
class MaxPoolWithIndices(_Pool):
    several = True


@register("aten::avg_pool1d", "aten::avg_pool2d", "aten::avg_pool3d")
class AvgPool(_Pool):
    function = "average"
    bounds = True
    only_float = ("aten::avg_pool1d", "aten::avg_pool3d")

    def extra(self, node: Node) -> dict[str, Any]:
        given = arguments(node)
        return {
            "count_include_pad": int(bool(given["count_include_pad"])),
            "divisor": _whole(given.get("divisor_override")),
        }

    def emit_u8(self, builder: Builder, node: Node) -> int:
        attributes = {**self.image_window(node), **self.extra(node)}
        source = builder.quantized(source_of(node))
        return builder.add("avg_pool2d", node, [source], attributes, qparams=builder.types.qparams(node))


class _Adaptive(Operator):
    function = "average"
    several = False

    def refusal(self, node: Node) -> str:
        if self.several and set(parts_read(node)) - {0}:
            return "is asked for places"
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
            return [value if rank_of(source) == rank else _without_batch(builder, node, value)]
        return unbatched(builder, node, value, rank)


@register(
    "aten::adaptive_avg_pool1d", "aten::adaptive_avg_pool2d", "aten::adaptive_avg_pool3d", "aten::_adaptive_avg_pool2d",
    "aten::_adaptive_avg_pool3d",
)  # fmt: skip
class AdaptiveAvgPool(_Adaptive):
    bounds = True
    only_float = ("aten::adaptive_avg_pool1d", "aten::adaptive_avg_pool3d", "aten::_adaptive_avg_pool3d")

    def quantizable(self, node: Node) -> bool:
        return _axes(node) == 2 and rank_of(node) == 4

    def emit_u8(self, builder: Builder, node: Node) -> int:
        size = {"size": builder.dims(self._size(node))}
        source = builder.quantized(source_of(node))
        return builder.add("adaptive_avg_pool2d", node, [source], size, qparams=builder.types.qparams(node))


@register("aten::adaptive_max_pool1d", "aten::adaptive_max_pool2d", "aten::adaptive_max_pool3d")
class AdaptiveMaxPool(_Adaptive):
    function = "max"
    several = True
