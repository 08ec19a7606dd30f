"""Shapes as values, and values in other shapes."""

from __future__ import annotations

import itertools
import operator as python
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from niwaki.onnx.call import Call, array_of
from niwaki.onnx.dtypes import INT64
from niwaki.onnx.errors import Refusal
from niwaki.onnx.functions import sizes as size_functions
from niwaki.onnx.registry import operator
from niwaki.onnx.values import Dims, Value


@operator("Shape", since=1)
def _shape(call: Call) -> Any:
    rank = call.rank()
    start, end = call.integer("start", 0), call.integer("end", rank)
    return call.result(array_of(call.dims()[start if start else None : end if call.has("end") else None]), INT64)


@operator("Size", since=1)
def _size(call: Call) -> Any:
    total: Any = 1
    for size in call.dims():
        if isinstance(total, Node) or isinstance(size, Node):
            total = call.call(size_functions.product, [total, size])
            call.builder.nonnegative.add(total)
        else:
            total *= size
    return call.result(array_of([total], ()), INT64)


def numbers(dims: list[Any]) -> Dims:
    """Sizes as a shape: nodes are not known."""
    return tuple(None if isinstance(size, Node) else size for size in dims)


def moved(call: Call, data: Any, dims: Dims | None = None) -> Value:
    """A result that has the elements of the first input."""
    value = call.value(0)
    found = call.result(data, value.elem, dims, carried=value.carried)
    found.fill = value.fill
    return found


@operator("Reshape", since=5)
def _reshape(call: Call) -> Any:
    zero_is_zero = call.flag("allowzero")
    if call.value(0).sizes:
        shape = call.elements(1)
        if any(isinstance(size, Node) for size in shape):
            raise Refusal("it gives sizes a shape that is not known")
        return call.result(call.value(0).data.reshape(shape), call.value(0).elem)
    x = call.raw(0)
    sizes = call.elements(1)
    if zero_is_zero and 0 in sizes and -1 in sizes:
        raise Refusal("its shape has both 0 and -1")
    if not zero_is_zero and 0 in sizes:
        known = call.value(0).rank
        if known is not None:
            own = call.dims()
            if any(size == 0 and axis >= known for axis, size in enumerate(sizes)):
                raise Refusal("its shape has a 0 for an axis that its input has not")
            sizes = [own[axis] if size == 0 else size for axis, size in enumerate(sizes)]
        else:
            return moved(call, call.call(size_functions.sized, x, sizes))
    # One -1 instead of a product of sizes: a graph that is easier to read.
    dims = tuple(None if isinstance(size, Node) or size == -1 else size for size in sizes)
    maybe = [axis for axis, size in enumerate(sizes) if isinstance(size, Node) and not _is_size(call, size)]
    if maybe and not zero_is_zero and call.value(0).rank is not None:
        # What is computed may come out as 0 or -1, whose meaning is another one.
        return moved(call, call.call(size_functions.reshaped, x, sizes), dims)
    return moved(call, call.method("reshape", x, sizes), dims)


def _is_size(call: Call, size: Node) -> bool:
    return call.builder.never_negative(size)


@operator("Flatten", since=1, moves=True)
def _flatten(call: Call) -> Any:
    rank = call.rank()
    axis = call.integer("axis", 1)
    axis = axis + rank if axis < 0 else axis
    if not 0 <= axis <= rank:
        raise Refusal(f"it names axis {axis} of a value of rank {rank}")
    if axis == 1 and rank >= 2:
        return moved(call, call.call(torch.flatten, call.raw(0), 1))
    return moved(call, call.call(size_functions.flattened, call.raw(0), axis))


@operator("Squeeze", since=1)
def _squeeze(call: Call) -> Any:
    rank = call.rank()
    axes = _axes(call)
    dims = call.value(0).dims
    assert dims is not None
    if axes is None:
        if None in dims:
            raise Refusal("it does not say which axes are to go, and not all sizes are known")
        axes = [axis for axis, size in enumerate(dims) if size == 1]
    axes = sorted(call.axis(axis, rank) for axis in axes)
    for axis in axes:
        if dims[axis] not in (1, None):
            raise Refusal(f"its axis {axis} is to go and has {dims[axis]} elements")
    if call.value(0).sizes:
        return call.result(np.squeeze(call.value(0).data, tuple(axes)), call.value(0).elem)
    kept = tuple(size for axis, size in enumerate(dims) if axis not in axes)
    if all(dims[axis] == 1 for axis in axes):
        return moved(call, call.call(torch.squeeze, call.raw(0), axes[0] if len(axes) == 1 else tuple(axes)), kept)
    # torch leaves an axis of more than one element, where ONNX has an error.
    return moved(call, call.call(size_functions.squeezed, call.raw(0), axes), kept)


def _axes(call: Call) -> list[int] | None:
    """Axes that are an attribute or, from opset 13 on, an input."""
    if call.version >= 13:
        return [int(each) for each in call.whole(1).reshape(-1).tolist()] if call.given(1) else None
    return call.integers("axes")


@operator("Unsqueeze", since=1)
def _unsqueeze(call: Call) -> Any:
    axes = _axes(call)
    assert axes is not None
    rank = call.rank()
    whole = rank + len(axes)
    axes = sorted(call.axis(axis, whole) for axis in axes)
    if len(set(axes)) != len(axes):
        raise Refusal("it names an axis twice")
    if call.value(0).sizes:
        return call.result(np.expand_dims(call.value(0).data, tuple(axes)), call.value(0).elem)
    x = call.raw(0)
    dims = list(call.value(0).dims or ())
    for axis in axes:
        x = call.call(torch.unsqueeze, x, axis)
        dims.insert(axis, 1)
    return moved(call, x, tuple(dims))


@operator("Expand", since=8)
def _expand(call: Call) -> Any:
    sizes = call.elements(1)
    if call.value(0).sizes and not any(isinstance(size, Node) for size in sizes):
        shape = np.broadcast_shapes(call.value(0).data.shape, tuple(sizes))
        return call.result(np.broadcast_to(call.value(0).data, shape), call.value(0).elem)
    x, rank = call.raw(0), call.rank()
    own = call.value(0).dims
    assert own is not None
    whole = max(rank, len(sizes))
    before = [1] * (whole - rank) + list(own)
    after = [1] * (whole - len(sizes)) + list(sizes)
    dims = tuple(None if isinstance(b, Node) else a if b == 1 else b for a, b in zip(before, after, strict=True))
    # Two sizes that are both unknown may each be the 1 that is repeated.
    if any(a is None and isinstance(b, Node) for a, b in zip(before, after, strict=True)):
        return moved(call, call.call(size_functions.expand, x, sizes), dims)
    target = []
    for axis, (a, b) in enumerate(zip(before, after, strict=True)):
        stays = a not in (1, None) or (not isinstance(b, Node) and b == 1)
        target.append((1 if axis < whole - rank else -1) if stays else b)
    return moved(call, x if target == [-1] * rank else call.method("expand", x, target), dims)


@operator("Tile", since=6)
def _tile(call: Call) -> Any:
    repeats = call.elements(1)
    if len(repeats) != call.rank():
        raise Refusal("it has not one number of repeats for each axis")
    if call.value(0).sizes:
        if any(isinstance(each, Node) for each in repeats):
            return call.result(call.method("repeat", call.x(0), repeats))
        return call.result(np.tile(call.value(0).data, repeats), call.value(0).elem)
    return moved(call, call.method("repeat", call.raw(0), repeats))


@operator("Concat", since=4)
def _concat(call: Call) -> Any:
    values = [call.value(index) for index in range(len(call.inputs))]
    rank = call.rank()
    axis = call.axis(call.integer("axis", 1), rank)
    count = len(values)
    if call.in_sizes(*range(count)):
        return call.result(np.concatenate([call.array(index) for index in range(count)], axis), values[0].elem)
    carried = all(value.carried for value in values)
    parts = [value.data if carried else call.tensor_of(value) for value in values]
    found = call.result(call.call(torch.cat, parts, axis), values[0].elem, carried=carried)
    fills = {value.fill for value in values}
    found.fill = fills.pop() if len(fills) == 1 else None
    return found


@operator("Split", since=2, until=12)
def _old_split(call: Call) -> Any:
    return _split(call, call.integers("split"))


@operator("Split", since=13)
def _new_split(call: Call) -> Any:
    return _split(call, call.elements(1) if call.given(1) else None)


def _split(call: Call, parts: list[Any] | None) -> Any:
    axis = call.axis(call.integer("axis", 0), call.rank())
    size = call.dims()[axis]
    if parts is None:
        count = call.integer("num_outputs", call.outputs)
        if isinstance(size, Node):
            step = call.call(size_functions.rounded_up, size, count)
            made = call.call(size_functions.in_parts, call.raw(0), step, count, axis)
            return [moved(call, call.call(python.getitem, made, index)) for index in range(count)]
        step = -(-size // count)
        parts = [max(0, min(step, size - step * index)) for index in range(count)]
    if call.value(0).sizes:
        ends = np.cumsum([0, *parts])
        data = call.value(0).data
        take = [data[(slice(None),) * axis + (slice(a, b),)] for a, b in itertools.pairwise(ends)]
        return [call.result(each, call.value(0).elem) for each in take]
    made = call.call(torch.split, call.raw(0), parts, axis)
    own = list(call.value(0).dims or ())
    results = []
    for index, part in enumerate(parts):
        dims = (*own[:axis], None if isinstance(part, Node) else part, *own[axis + 1 :])
        results.append(moved(call, call.call(python.getitem, made, index), dims))
    return results
