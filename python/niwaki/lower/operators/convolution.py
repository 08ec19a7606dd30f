"""Convolutions with float32 weights, of one to three dimensions, also transposed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from niwaki.lower.builder import Builder
from niwaki.lower.nodes import arguments, constant_of, dtype_of, is_constant, operator_name, rank_of, shape_of, size_of
from niwaki.lower.operators.registry import Operator, register


def spread(value: Any, count: int, otherwise: int = 1) -> list[Any]:
    """A number for each of `count` axes, of one number, of several, or of none."""
    if value is None or (isinstance(value, Sequence) and not value):
        return [otherwise] * count
    values = list(value) if isinstance(value, Sequence) else [value]
    return values * count if len(values) == 1 else values


def batched(builder: Builder, node: Node, source: Node, rank: int) -> int:
    """A tensor with a batch axis, which is added where it is one image alone."""
    value = builder.plain(source)
    return value if rank_of(source) == rank else builder.reshape(node, value, [1, *shape_of(source)], part="batched")


def unbatched(builder: Builder, node: Node, value: int, rank: int) -> int:
    """A result in the shape of the node's."""
    return value if rank_of(node) == rank else builder.reshape(node, value, shape_of(node), part="unbatched")


def _padding(padding: Any, kernel: Sequence[int], dilation: Sequence[int]) -> list[Any]:
    """Before and after, for each axis."""
    if padding == "same":
        totals = [step * (size - 1) for size, step in zip(kernel, dilation, strict=True)]
        return [end for total in totals for end in (total // 2, total - total // 2)]
    if padding == "valid":
        return [0] * (2 * len(kernel))
    return [end for each in spread(padding, len(kernel), 0) for end in (each, each)]


def _computed(given: Mapping[str, Any]) -> str:
    """Which of weight and bias is no constant; empty where both are."""
    named = (name for name in ("weight", "bias") if isinstance(given.get(name), Node) and not is_constant(given[name]))
    return next(named, "")


def _has_columns(node: Node, given: Mapping[str, Any]) -> bool:
    """Whether it can be a product with the windows of its input."""
    kernel = shape_of(given["weight"])[2:]
    return operator_name(node) in ("aten::conv1d", "aten::conv2d") and all(isinstance(size, int) for size in kernel)


def _product(builder: Builder, node: Node, given: Mapping[str, Any]) -> int:
    """The product of weights that are computed and the windows of images, or of rows as images of one pixel height."""
    shape = shape_of(given["weight"])
    inputs, kernel = shape[1], [int(size) for size in shape[2:]]
    axes, groups = len(kernel), given["groups"]
    dilation = spread(given["dilation"], axes)
    around = _padding(given["padding"], kernel, dilation)
    value = batched(builder, node, given["input"], axes + 2)
    shape = shape_of(given["input"])
    batch, channels, *sizes = shape if len(shape) == axes + 2 else [1, *shape]
    if any(around):
        padding = {"padding": builder.dims([0, 0, 0, 0, *around]), "mode": "constant", "value": 0.0}
        value = builder.add("pad", node, [value], padding, part="padded")
    windows: dict[str, Any] = {"kernel": kernel, "stride": spread(given["stride"], axes), "dilation": dilation}
    if axes == 1:
        value = builder.reshape(node, value, [batch, channels, 1, sizes[0] + sum(around)], part="image")
        windows = {name: [1, *numbers] for name, numbers in windows.items()}
    value = builder.add("unfold", node, [value], {**windows, "padding": [0, 0]}, part="windows")
    elements = inputs * math.prod(kernel)
    value = builder.reshape(node, value, [batch, groups, elements, -1], part="groups")
    weight = builder.reshape(node, builder.plain(given["weight"]), [groups, -1, elements], part="weight")
    value = builder.add("matmul", node, [weight, value], {"transpose_b": 0}, part="product")
    if given.get("bias") is not None:
        bias = builder.reshape(node, builder.plain(given["bias"]), [groups, -1, 1], part="bias")
        value = builder.binary(node, "add", value, bias, part="sum")
    return builder.reshape(node, value, shape_of(node))


@register(
    "aten::conv1d", "aten::conv2d", "aten::conv3d", "aten::conv_transpose1d", "aten::conv_transpose2d",
    "aten::conv_transpose3d", "aten::convolution", "aten::_convolution",
)  # fmt: skip
class Convolution(Operator):
    computes = True

    def refusal(self, node: Node) -> str:
        given = arguments(node)
        computed = _computed(given)
        if computed and not _has_columns(node, given):
            return f"has a {computed} that is computed while it runs"
        if dtype_of(node) != torch.float32:
            return f"works on {dtype_of(node)}"
        return "" if 3 <= rank_of(given["weight"]) <= 5 else "has other dimensions than one to three"

    def emit(self, builder: Builder, node: Node) -> int:
        given = arguments(node)
        if _computed(given):
            return _product(builder, node, given)
        weight = constant_of(given["weight"])
        kernel = list(weight.shape[2:])
        axes = len(kernel)
        transposed = bool(given.get("transposed", "transpose" in operator_name(node)))
        dilation = spread(given["dilation"], axes)
        attributes: dict[str, Any] = {
            "stride": spread(given["stride"], axes),
            "dilation": dilation,
            "padding": builder.dims(_padding(given["padding"], kernel, dilation)),
            "groups": int(given["groups"]),
            "transposed": int(transposed),
        }
        if transposed:
            more = [size_of(size) for size in spread(given["output_padding"], axes, 0)]
            # A number that follows from sizes is so much less of the padding behind.
            attributes["output_padding"] = [size if isinstance(size, int) else 0 for size in more]
            for axis, size in enumerate(more):
                if not isinstance(size, int):
                    attributes["padding"][2 * axis + 1] = attributes["padding"][2 * axis + 1] - builder.dim(size)
        tensors = {"weight": np.ascontiguousarray(weight.numpy())}
        if given.get("bias") is not None:
            tensors["bias"] = np.ascontiguousarray(constant_of(given["bias"]).numpy())
        source = batched(builder, node, given["input"], axes + 2)
        value = builder.add("convolution", node, [source], attributes, tensors)
        return unbatched(builder, node, value, axes + 2)
