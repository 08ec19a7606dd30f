"""What only moves elements: transposing, slicing, channels to pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.fx import Node

from niwaki.onnx.call import Call
from niwaki.onnx.errors import Refusal
from niwaki.onnx.functions import layout
from niwaki.onnx.operators.shape import moved
from niwaki.onnx.registry import operator

_INFINITE = 2**31 - 1


@operator("Transpose", since=1)
def _transpose(call: Call) -> Any:
    rank = call.rank()
    axes = call.integers("perm") or list(reversed(range(rank)))
    axes = [call.axis(axis, rank) for axis in axes]
    if sorted(axes) != list(range(rank)):
        raise Refusal(f"its perm {axes} does not name each of {rank} axes once")
    if call.value(0).sizes:
        return call.result(np.transpose(call.value(0).data, axes), call.value(0).elem)
    own = call.value(0).dims
    assert own is not None
    return moved(call, call.call(torch.permute, call.raw(0), axes), tuple(own[axis] for axis in axes))


@operator("Slice", since=1, until=9)
def _old_slice(call: Call) -> Any:
    starts, ends = call.integers("starts") or [], call.integers("ends") or []
    return _slice(call, starts, ends, call.integers("axes"), [1] * len(starts))


@operator("Slice", since=10)
def _new_slice(call: Call) -> Any:
    starts, ends = call.elements(1), call.elements(2)
    axes = [int(axis) for axis in call.whole(3).tolist()] if call.given(3) else None
    steps = [int(step) for step in call.whole(4).tolist()] if call.given(4) else [1] * len(starts)
    return _slice(call, starts, ends, axes, steps)


def _slice(call: Call, starts: list[Any], ends: list[Any], axes: list[int] | None, steps: list[int]) -> Any:
    rank = call.rank()
    axes = [call.axis(axis, rank) for axis in (range(len(starts)) if axes is None else axes)]
    if not len(starts) == len(ends) == len(axes) == len(steps) or len(set(axes)) != len(axes) or 0 in steps:
        raise Refusal("its starts, ends, axes and steps do not fit together")
    if call.value(0).sizes:
        if any(isinstance(each, Node) for each in (*starts, *ends)):
            raise Refusal("it takes a part of sizes that is not known")
        where = [slice(None)] * rank
        for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
            where[axis] = slice(start, None if step < 0 and end < -call.value(0).data.shape[axis] else end, step)
        return call.result(call.value(0).data[tuple(where)], call.value(0).elem)
    x = call.raw(0)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step < 0:
            x = call.call(layout.backwards, x, axis, start, end, step)
        elif not (_is(start, 0) and not isinstance(end, Node) and end >= _INFINITE and step == 1):
            x = call.call(layout.part, x, axis, start, _end(end), step)
    return moved(call, x)


def _is(size: Any, number: int) -> bool:
    return not isinstance(size, Node) and size == number


def _end(end: Any) -> Any:
    return None if not isinstance(end, Node) and end >= _INFINITE else end


@operator("DepthToSpace", since=1)
def _depth_to_space(call: Call) -> Any:
    size = call.integer("blocksize", 1)
    mode = call.only("mode", "DCR", "CRD") if call.version >= 11 else "DCR"
    if mode == "CRD" and call.rank() == 4:
        return call.call(F.pixel_shuffle, call.x(), size)
    return call.call(layout.depth_to_space, call.x(), size, mode == "DCR")


@operator("SpaceToDepth", since=1)
def _space_to_depth(call: Call) -> Any:
    size = call.integer("blocksize", 1)
    mode = call.only("mode", "DCR", "CRD") if call.version >= 28 else "DCR"
    return call.call(layout.space_to_depth, call.x(), size, mode == "DCR")


@operator("Trilu", since=14)
def _trilu(call: Call) -> Any:
    upper = call.flag("upper", True)
    shift = call.elements(1)[0] if call.given(1) else 0
    return call.call(torch.triu if upper else torch.tril, call.x(), shift)


@operator("ReverseSequence", since=10)
def _reverse_sequence(call: Call) -> Any:
    time, batch = call.integer("time_axis", 0), call.integer("batch_axis", 1)
    return call.call(layout.reverse_sequence, call.x(0), call.x(1), time, batch)


@operator("Col2Im", since=18)
def _col2im(call: Call) -> Any:
    image, block = ([int(each) for each in call.whole(index).tolist()] for index in (1, 2))
    if len(image) != 2:
        raise Refusal(f"it makes images of {len(image)} dimensions; 2 are supported")
    pads = call.integers("pads") or [0] * 4
    dilations, strides = call.integers("dilations") or [1, 1], call.integers("strides") or [1, 1]
    if pads[:2] != pads[2:]:
        raise Refusal(f"its pads {pads} are not the same on both sides")
    return call.call(F.fold, call.x(0), image, block, dilations, pads[:2], strides)
