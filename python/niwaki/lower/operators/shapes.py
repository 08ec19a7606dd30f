"""The same elements in another shape or order: reshape, permute, expand, concatenate, slice, repeat, roll, flip."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch.fx import Node

from niwaki.lower.builder import Builder
from niwaki.lower.nodes import (
    arguments,
    axis_of,
    dtype_of,
    is_constant,
    is_tensor,
    label,
    operator_name,
    rank_of,
    shape_of,
    size_of,
    squeezed_sizes,
    tensor_of,
)
from niwaki.lower.operators.registry import Operator, register
from niwaki.lower.operators.unary import source_of
from niwaki.lower.quantized import QParams

END = 2**63 - 1
"""An end that no size reaches: to the end."""


class Shape(Operator, ABC):
    """Reads one tensor; its uint8 form has that tensor's scale."""

    keeps = True

    def quantizable(self, node: Node) -> bool:
        source = source_of(node)
        return dtype_of(node) == torch.float32 and not is_constant(source) and min(rank_of(node), rank_of(source)) > 0

    @abstractmethod
    def steps(self, builder: Builder, node: Node, value: int, qparams: QParams | None) -> int:
        """Adds the operators that make the result of `value`: uint8 with `qparams`, plain without."""

    def emit(self, builder: Builder, node: Node) -> int:
        return self.steps(builder, node, builder.plain(source_of(node)), None)

    def emit_u8(self, builder: Builder, node: Node) -> int:
        qparams = builder.types.qparams(node)
        return self.steps(builder, node, builder.quantized(source_of(node), qparams), qparams)


class OneStep(Shape):
    """A single operator."""

    @abstractmethod
    def attributes(self, builder: Builder, node: Node) -> tuple[str, dict[str, Any]]:
        """The operator and its attributes; the same for both forms."""

    def steps(self, builder: Builder, node: Node, value: int, qparams: QParams | None) -> int:
        op, attributes = self.attributes(builder, node)
        return builder.add(op, node, [value], attributes, qparams=qparams)


@register(
    "aten::flatten", "aten::view", "aten::reshape", "aten::_unsafe_view", "aten::squeeze", "aten::unsqueeze",
    "aten::unflatten", "aten::view_as", "aten::reshape_as", "aten::ravel", "aten::atleast_1d", "aten::atleast_2d",
    "aten::atleast_3d",
)  # fmt: skip
class Reshape(OneStep):
    """A new shape for the same elements."""

    moves = True

    def refusal(self, node: Node) -> str:
        return "" if dtype_of(node) == dtype_of(source_of(node)) else "reads the bytes as another type"

    def attributes(self, builder: Builder, node: Node) -> tuple[str, dict[str, Any]]:
        for size in squeezed_sizes(node):
            builder.forbid(size, 1, f"{label(node)} (squeeze) would leave out a dim of size 1")
        return "reshape", {"shape": builder.shape(node)}


def order_of(node: Node) -> list[int]:
    """Which axis of its input each axis of the result is, of an operator that reorders axes."""
    given, name = arguments(node), operator_name(node).removeprefix("aten::")
    rank = rank_of(node)
    axes = list(range(rank))
    if name in ("permute", "transpose", "swapaxes", "swapdims"):
        if "dims" in given:
            return [int(axis) % rank for axis in given["dims"]]
        first, second = (int(axis) % max(rank, 1) for axis in list(given.values())[1:3])
        if rank:
            axes[first], axes[second] = axes[second], axes[first]
        return axes
    if name in ("movedim", "moveaxis"):
        source, target = (
            [dims] if isinstance(dims, int) else list(dims) for dims in (given["source"], given["destination"])
        )
        places = {int(to) % rank: int(of) % rank for of, to in zip(source, target, strict=True)}
        rest = iter([axis for axis in axes if axis not in places.values()])
        return [places[axis] if axis in places else next(rest) for axis in axes]
    if name == "numpy_T":
        return axes[::-1]
    if rank >= 2:  # t, mT, adjoint and the like
        axes[-1], axes[-2] = axes[-2], axes[-1]
    return axes


@register(
    "aten::permute", "aten::transpose", "aten::t", "aten::mT", "aten::matrix_H", "aten::mH", "aten::adjoint",
    "aten::numpy_T", "aten::swapaxes", "aten::swapdims", "aten::movedim", "aten::moveaxis",
)  # fmt: skip
class Permute(OneStep):
    moves = True

    def attributes(self, builder: Builder, node: Node) -> tuple[str, dict[str, Any]]:
        return "permute", {"axes": order_of(node)}


@register("aten::flip", "aten::fliplr", "aten::flipud")
class Flip(OneStep):
    moves = True

    def attributes(self, builder: Builder, node: Node) -> tuple[str, dict[str, Any]]:
        name = operator_name(node)
        dims = {"aten::fliplr": [1], "aten::flipud": [0]}.get(name) or arguments(node)["dims"]
        return "flip", {"axes": [axis_of(node, int(axis)) for axis in dims]}


@register("aten::roll")
class Roll(OneStep):
    moves = True

    def refusal(self, node: Node) -> str:
        return "" if arguments(node)["dims"] else "rolls over all elements at once"

    def attributes(self, builder: Builder, node: Node) -> tuple[str, dict[str, Any]]:
        given = arguments(node)
        shifts = given["shifts"] if isinstance(given["shifts"], (list, tuple)) else [given["shifts"]]
        dims = given["dims"] if isinstance(given["dims"], (list, tuple)) else [given["dims"]]
        return "roll", {"shifts": builder.dims(shifts), "axes": [axis_of(node, int(axis)) for axis in dims]}


@register("aten::channel_shuffle", "aten::native_channel_shuffle")
class ChannelShuffle(OneStep):
    moves = True

    def quantizable(self, node: Node) -> bool:
        return super().quantizable(node) and rank_of(node) == 4

    def attributes(self, builder: Builder, node: Node) -> tuple[str, dict[str, Any]]:
        return "channel_shuffle", {"groups": int(arguments(node)["groups"])}

    def emit(self, builder: Builder, node: Node) -> int:
        groups, shape = int(arguments(node)["groups"]), shape_of(node)
        apart = [shape[0], groups, shape[1] // groups, *shape[2:]]
        value = builder.reshape(node, builder.plain(source_of(node)), apart, part="apart")
        value = builder.permute(node, value, [0, 2, 1, *range(3, len(apart))], part="swapped")
        return builder.reshape(node, value, shape)


@register("aten::pixel_shuffle", "aten::pixel_unshuffle")
class PixelShuffle(Shape):
    """Channels become pixels, or pixels channels: two reshapes around a permutation, in either form."""

    moves = True

    def refusal(self, node: Node) -> str:
        return "" if rank_of(node) >= 3 else "works on a tensor of rank below 3"

    def steps(self, builder: Builder, node: Node, value: int, qparams: QParams | None) -> int:
        source, given = source_of(node), arguments(node)
        up = operator_name(node) == "aten::pixel_shuffle"
        factor = int(given["upscale_factor" if up else "downscale_factor"])
        *batch, channels, height, width = shape_of(source)
        rest = len(batch)
        if up:
            apart = [*batch, channels // factor**2, factor, factor, height, width]
            order = [0, 3, 1, 4, 2]
        else:
            apart = [*batch, channels, height // factor, factor, width // factor, factor]
            order = [0, 2, 4, 1, 3]
        axes = [*range(rest), *(rest + axis for axis in order)]
        value = builder.add("reshape", node, [value], {"shape": builder.dims(apart)}, part="apart", qparams=qparams)
        value = builder.add("permute", node, [value], {"axes": axes}, part="swapped", qparams=qparams)
        return builder.add("reshape", node, [value], {"shape": builder.shape(node)}, qparams=qparams)


@register("aten::expand", "aten::expand_as", "aten::broadcast_to")
class Expand(Operator):
    def any_type(self, node: Node) -> bool:
        return True

    def emit(self, builder: Builder, node: Node) -> int:
        return builder.add("expand", node, [builder.plain(source_of(node))], {"shape": builder.shape(node)})


@register("aten::repeat", "aten::tile")
class Repeat(Operator):
    def any_type(self, node: Node) -> bool:
        return True

    def emit(self, builder: Builder, node: Node) -> int:
        given, source = arguments(node), source_of(node)
        repeats = list(given.get("repeats", given.get("dims")) or [])
        repeats = [1] * (rank_of(source) - len(repeats)) + repeats
        return builder.add("tile", node, [builder.plain(source)], {"repeats": builder.dims(repeats)})


@register("aten::repeat_interleave")
class RepeatInterleave(Operator):
    """Each element several times: a new axis, expanded, and taken into the one before it."""

    def any_type(self, node: Node) -> bool:
        return True

    def refusal(self, node: Node) -> str:
        given = arguments(node)
        known = isinstance(size_of(given["repeats"]), (int, torch.SymInt)) and not is_tensor(given["repeats"])
        return "" if known and given.get("dim") is not None else "repeats elements by numbers that it computes"

    def emit(self, builder: Builder, node: Node) -> int:
        given, source = arguments(node), source_of(node)
        axis, shape = axis_of(source, int(given["dim"])), shape_of(source)
        repeats = size_of(given["repeats"])
        value = builder.reshape(node, builder.plain(source), [*shape[: axis + 1], 1, *shape[axis + 1 :]], part="apart")
        wide = [*shape[: axis + 1], repeats, *shape[axis + 1 :]]
        value = builder.add("expand", node, [value], {"shape": builder.dims(wide)}, part="repeated")
        return builder.reshape(node, value, shape_of(node))


@register("aten::cat", "aten::concat", "aten::concatenate")
class Concat(Operator):
    keeps = True

    def any_type(self, node: Node) -> bool:
        return True

    def refusal(self, node: Node) -> str:
        return "" if all(is_tensor(part) for part in arguments(node)["tensors"]) else "joins what is no tensor"

    @staticmethod
    def parts(node: Node) -> list[Node]:
        """What it joins; tensors without elements of rank 1 do not count, as in torch."""
        parts = list(arguments(node)["tensors"])
        return [part for part in parts if rank_of(part) == rank_of(node) and not _empty(part)] or parts[:1]

    def quantizable(self, node: Node) -> bool:
        parts = self.parts(node)
        if any(is_constant(part) or dtype_of(part) != torch.float32 for part in parts):
            return False
        return 2 <= rank_of(node) <= 5 and axis_of(node, int(arguments(node)["dim"])) == 1

    def _attributes(self, node: Node) -> dict[str, int]:
        return {"axis": axis_of(node, int(arguments(node)["dim"]))}

    def emit(self, builder: Builder, node: Node) -> int:
        parts = [builder.plain(part, dtype_of(node)) for part in self.parts(node)]
        return builder.add("concat", node, parts, self._attributes(node))

    def emit_u8(self, builder: Builder, node: Node) -> int:
        qparams = builder.types.qparams(node)
        parts = [builder.quantized(part, qparams) for part in self.parts(node)]
        return builder.add("concat", node, parts, self._attributes(node), qparams=qparams)


def _empty(node: Node) -> bool:
    value = tensor_of(node)
    return value is not None and any(isinstance(size, int) and size == 0 for size in value.shape)


@register("aten::stack")
class Stack(Operator):
    """A concatenation along a new axis."""

    def any_type(self, node: Node) -> bool:
        return True

    def emit(self, builder: Builder, node: Node) -> int:
        given = arguments(node)
        axis = axis_of(node, int(given["dim"]))
        shape = list(shape_of(node))
        shape[axis] = 1
        parts = [
            builder.reshape(node, builder.plain(part, dtype_of(node)), shape, part=f"part{index}")
            for index, part in enumerate(given["tensors"])
        ]
        return builder.add("concat", node, parts, {"axis": axis})


@register("aten::slice", "aten::narrow")
class Slice(OneStep):
    """Elements from start to end, with a step."""

    def takes_part(self, node: Node) -> bool:
        return True

    def refusal(self, node: Node) -> str:
        if operator_name(node) == "aten::narrow" and is_tensor(arguments(node)["start"]):
            return "begins where a tensor says"
        return ""

    def quantizable(self, node: Node) -> bool:
        return super().quantizable(node) and rank_of(node) in (4, 5) and axis_of(node, int(arguments(node)["dim"])) > 0

    def attributes(self, builder: Builder, node: Node) -> tuple[str, dict[str, Any]]:
        given = arguments(node)
        axis = axis_of(node, int(given["dim"]))
        if operator_name(node) == "aten::narrow":
            start = builder.dim(given["start"])
            return "slice", {"axis": axis, "start": start, "end": start + builder.dim(given["length"]), "step": 1}
        start = 0 if given["start"] is None else builder.dim(given["start"])
        end = END if given["end"] is None else builder.dim(given["end"])
        return "slice", {"axis": axis, "start": start, "end": end, "step": int(given["step"])}


@register("aten::select")
class Select(Shape):
    """One element along an axis: a slice, without that axis."""

    def takes_part(self, node: Node) -> bool:
        return True

    def refusal(self, node: Node) -> str:
        return "takes the element that a tensor says" if is_tensor(arguments(node)["index"]) else ""

    def quantizable(self, node: Node) -> bool:
        return super().quantizable(node) and rank_of(source_of(node)) == 4 and self._axis(node) > 0

    @staticmethod
    def _axis(node: Node) -> int:
        return axis_of(source_of(node), int(arguments(node)["dim"]))

    def steps(self, builder: Builder, node: Node, value: int, qparams: QParams | None) -> int:
        index = size_of(arguments(node)["index"])
        last = isinstance(index, int) and index == -1
        bounds = {"start": builder.dim(index), "end": END if last else builder.dim(index) + 1, "step": 1}
        value = builder.add("slice", node, [value], {"axis": self._axis(node), **bounds}, part="slice", qparams=qparams)
        return builder.add("reshape", node, [value], {"shape": builder.shape(node)}, qparams=qparams)


@register("aten::slice_scatter", "aten::select_scatter")
class Scatter(Operator):
    """A tensor with a part of it replaced: what is before, the part, what is after, joined.

    Where every so many elements are replaced, each place takes its element from the one or the other.
    """

    def refusal(self, node: Node) -> str:
        return "" if isinstance(arguments(node).get("step", 1), int) else "takes a step that it computes"

    def emit(self, builder: Builder, node: Node) -> int:
        given = arguments(node)
        whole, part = given["self" if "self" in given else "input"], given["src"]
        axis = axis_of(whole, int(given["dim"]))
        size = shape_of(whole)[axis]
        if operator_name(node) == "aten::select_scatter":
            start = _from_front(size_of(given["index"]), size)
            end = start + 1
            shape = [1 if place == axis else length for place, length in enumerate(shape_of(whole))]
            value = builder.reshape(node, builder.plain(part, dtype_of(node)), shape, part="part")
        else:
            start = 0 if given["start"] is None else _from_front(size_of(given["start"]), size)
            value = builder.plain(part, dtype_of(node))
            if given["step"] != 1:
                return self._every(builder, node, axis, start, value)
            end = start + shape_of(part)[axis]
        source = builder.plain(whole)
        parts = [value]
        if not (isinstance(start, int) and start == 0):
            before = {"axis": axis, "start": 0, "end": builder.dim(start), "step": 1}
            parts.insert(0, builder.add("slice", node, [source], before, part="before"))
        if _expression(end) != _expression(size):
            after = {"axis": axis, "start": builder.dim(end), "end": END, "step": 1}
            parts.append(builder.add("slice", node, [source], after, part="after"))
        return value if len(parts) == 1 else builder.add("concat", node, parts, {"axis": axis})

    @staticmethod
    def _every(builder: Builder, node: Node, axis: int, start: Any, part: int) -> int:
        given = arguments(node)
        whole = given["self" if "self" in given else "input"]
        size, count = shape_of(whole)[axis], shape_of(given["src"])[axis]
        zero, one, step = (builder.scalar(number, torch.int64) for number in (0, 1, int(given["step"])))
        first, end = (builder.operand(node, number, torch.int64) for number in (start, count))
        behind = builder.binary(node, "sub", builder.arange(node, size, "places"), first, part="behind")
        index = builder.binary(node, "floor_div", behind, step, part="index")
        index = builder.binary(node, "maximum", index, zero, part="from")
        index = builder.binary(node, "minimum", index, builder.binary(node, "sub", end, one, part="last"), part="to")
        # A place is replaced if the element that is nearest lies on it.
        met = builder.binary(node, "eq", builder.binary(node, "mul", index, step, part="on"), behind, part="met")
        column = [size if place == axis else 1 for place in range(rank_of(whole))]
        replaced = builder.reshape(node, met, column, part="replaced")
        spread = builder.add("take", node, [part, index], {"axis": axis}, part="spread")
        return builder.add("where", node, [replaced, spread, builder.plain(whole)])


def _from_front(index: Any, size: Any) -> Any:
    return size + index if isinstance(index, int) and index < 0 else index


def _expression(size: Any) -> Any:
    return size.node.expr if isinstance(size, torch.SymInt) else size
