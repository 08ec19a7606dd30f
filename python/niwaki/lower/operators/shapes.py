"""What moves elements and computes nothing: concat, slice, pad, reshape, shuffle, upsampling. All keep the scale."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch.fx import Node

from niwaki.lower.builder import Builder
from niwaki.lower.nodes import arguments, data_inputs, shape_of
from niwaki.lower.operators.registry import Operator, register

_END = 2**31 - 1


class _Shape(Operator):
    def shared(self, node: Node) -> Sequence[Node]:
        return data_inputs(node)


@register("aten::cat", "aten::concat", "aten::concatenate")
class Concat(_Shape):
    def refusal(self, node: Node) -> str:
        given = arguments(node)
        parts = given["tensors"]
        rank = len(shape_of(node))
        if not all(isinstance(part, Node) and part in data_inputs(node) for part in parts):
            return "joins parameters"
        if int(given["dim"]) % rank != 1:
            return "joins along another dimension than the channels"
        return "" if all(len(shape_of(part)) == rank for part in parts) else "joins tensors of several ranks"

    def emit(self, builder: Builder, node: Node) -> int:
        return builder.add("concat", node, list(arguments(node)["tensors"]))


@register("aten::slice")
class Slice(_Shape):
    def refusal(self, node: Node) -> str:
        given = arguments(node)
        shape = shape_of(data_inputs(node)[0])
        axis = int(given["dim"]) % len(shape)
        if axis == 0:
            return "takes a part of the batch"
        if 0 in shape_of(node):
            return "selects nothing"
        return (
            "" if all(not isinstance(given[name], Node) for name in ("start", "end", "step")) else "has computed bounds"
        )

    def emit(self, builder: Builder, node: Node) -> int:
        given = arguments(node)
        attributes = {
            "axis": int(given["dim"]) % len(shape_of(node)),
            "start": int(given["start"] or 0),
            "end": min(_END if given["end"] is None else int(given["end"]), _END),
            "step": int(given["step"]),
        }
        return builder.add("slice", node, data_inputs(node), attributes)


@register("aten::pad", "aten::constant_pad_nd")
class Pad(_Shape):
    """Padding with a constant, of channels, rows and columns."""

    def refusal(self, node: Node) -> str:
        given = arguments(node)
        pads = [int(pad) for pad in given["pad"]]
        if given.get("mode", "constant") != "constant":
            return f"pads in mode '{given['mode']}'"
        if min(pads, default=0) < 0:
            return "crops: its padding is negative"
        if any(pads[2 * (len(shape_of(node)) - 1) :]):
            return "pads the batch"
        return "" if math.isfinite(self.value(node)) else "pads with a value that is not finite"

    @staticmethod
    def value(node: Node) -> float:
        return float(arguments(node).get("value") or 0.0)

    def reals(self, node: Node) -> Sequence[float]:
        return [self.value(node)]

    def emit(self, builder: Builder, node: Node) -> int:
        # torch begins with the last dimension: left, right, top, bottom, front, back
        pads = [int(pad) for pad in arguments(node)["pad"]]
        rank = len(shape_of(node))
        pads += [0] * (2 * (rank - 1) - len(pads))
        per_axis = [pads[2 * i : 2 * i + 2] for i in range(rank - 1)][::-1]
        padding = [side for sides in per_axis for side in sides] + [0] * (6 - 2 * (rank - 1))
        value = builder.qparams(node).quantize(self.value(node))
        return builder.add("pad", node, data_inputs(node), {"padding": padding, "value": value})


@register("aten::upsample_nearest2d", "aten::_upsample_nearest_exact2d")
class UpsampleNearest(_Shape):
    """Each pixel several times. A size that was given is taken as so many times that of the example input."""

    def refusal(self, node: Node) -> str:
        before, after = shape_of(data_inputs(node)[0])[2:], shape_of(node)[2:]
        if any(b % a for a, b in zip(before, after, strict=True)):
            return f"makes {after} of {before}, which is no whole number of times"
        return ""

    def emit(self, builder: Builder, node: Node) -> int:
        before, after = shape_of(data_inputs(node)[0])[2:], shape_of(node)[2:]
        scale = [b // a for a, b in zip(before, after, strict=True)]
        return builder.add("upsample_nearest2d", node, data_inputs(node), {"scale": scale})


@register("aten::channel_shuffle", "aten::native_channel_shuffle")
class ChannelShuffle(_Shape):
    def refusal(self, node: Node) -> str:
        return "" if len(shape_of(node)) == 4 else "works on a tensor of another rank than 4"

    def emit(self, builder: Builder, node: Node) -> int:
        return builder.add("channel_shuffle", node, data_inputs(node), {"groups": int(arguments(node)["groups"])})


@register("aten::flatten", "aten::view", "aten::reshape", "aten::_unsafe_view", "aten::squeeze", "aten::unsqueeze")
class Reshape(_Shape):
    """A new shape for the same elements, image by image. What grows with the image is left open."""

    def refusal(self, node: Node) -> str:
        before, after = shape_of(data_inputs(node)[0]), shape_of(node)
        if before[1:] != after[1:] and len(after) == 4 and len(before) == 4 and not _open(before, after):
            return f"makes {after} of {before}, which holds for one image size only"
        return ""

    def emit(self, builder: Builder, node: Node) -> int:
        source = data_inputs(node)[0]
        before, after = shape_of(source), shape_of(node)
        if before[1:] == after[1:] and len(before) == len(after):
            return builder.values[source]
        if len(after) == 2:
            shape = [-1]
        elif len(before) == 2:
            shape = list(after[1:])
        else:
            shape = _open(before, after)
        return builder.add("reshape", node, [source], {"shape": shape})


def _open(before: list[int], after: list[int]) -> list[int]:
    """Rank 4 to rank 4: [C', H', W'] with the one dimension that grows with the image as -1; empty where two do."""
    if before[2:] == [1, 1]:
        return list(after[1:])
    growing = [axis for axis in (1, 2, 3) if after[axis] % (before[2] * before[3]) == 0]
    return [-1 if axis == growing[0] else after[axis] for axis in (1, 2, 3)] if len(growing) == 1 else []
