"""Sequences of tensors, which are taken apart while a file is converted: their lengths have to be known."""

from __future__ import annotations

import operator as python
from typing import Any

import torch
from torch.fx import Node

from niwaki.onnx.call import Call
from niwaki.onnx.errors import Refusal
from niwaki.onnx.operators.shape import moved
from niwaki.onnx.registry import operator
from niwaki.onnx.values import Value


def _items(call: Call, index: int = 0) -> list[Value]:
    items = call.value(index).items
    if items is None:
        raise Refusal(f"its input {index} is no sequence")
    return items


def _sequence(items: list[Value], elem: int) -> Value:
    return Value(None, items[0].elem if items else elem, None, items=items)


def _place(call: Call, index: int, count: int, *, end: bool = False) -> int:
    """Where in a sequence, counted from the start; the end by default."""
    place = int(call.whole(index)) if call.given(index) else count if end else count - 1
    most = count if end else count - 1
    if not -count <= place <= most:
        raise Refusal(f"it asks for element {place} of a sequence of {count}")
    return place + count if place < 0 else place


@operator("SequenceConstruct", since=11)
def _construct(call: Call) -> Any:
    return _sequence([call.value(index) for index in range(len(call.inputs))], call.value(0).elem)


@operator("SequenceEmpty", since=11)
def _empty(call: Call) -> Any:
    return _sequence([], call.integer("dtype", 1))


@operator("SequenceLength", since=11)
def _length(call: Call) -> Any:
    return torch.tensor(len(_items(call)))


@operator("SequenceAt", since=11)
def _at(call: Call) -> Any:
    items = _items(call)
    value = items[_place(call, 1, len(items))]
    return Value(value.data, value.elem, value.dims, carried=value.carried, fill=value.fill)


@operator("SequenceInsert", since=11)
def _insert(call: Call) -> Any:
    items = list(_items(call))
    items.insert(_place(call, 2, len(items), end=True), call.value(1))
    return _sequence(items, call.value(1).elem)


@operator("SequenceErase", since=11)
def _erase(call: Call) -> Any:
    items = list(_items(call))
    del items[_place(call, 1, len(items))]
    return _sequence(items, call.value(0).elem)


@operator("SplitToSequence", since=11)
def _split(call: Call) -> Any:
    axis = call.axis(call.integer("axis", 0), call.rank())
    keep = call.flag("keepdims", True) or call.given(1)
    size = call.dims()[axis]
    if not call.given(1):
        parts: list[Any] = [1] * _known(size)
    elif call.value(1).rank == 0:
        step = int(call.whole(1))
        parts = [min(step, _known(size) - start) for start in range(0, _known(size), step)]
    else:
        parts = call.elements(1)
    made = call.call(torch.split, call.raw(0), parts, axis)
    own = call.value(0).dims or ()
    items = []
    for index, part in enumerate(parts):
        each = call.call(python.getitem, made, index)
        dims = (*own[:axis], None if isinstance(part, Node) else part, *own[axis + 1 :])
        if not keep:
            each, dims = call.call(torch.squeeze, each, axis), (*own[:axis], *own[axis + 1 :])
        found = moved(call, each)
        found.dims = dims
        items.append(found)
    return _sequence(items, call.value(0).elem)


def _known(size: Any) -> int:
    if isinstance(size, Node):
        raise Refusal("it makes a sequence whose length is not known")
    return int(size)


@operator("ConcatFromSequence", since=11)
def _concat(call: Call) -> Any:
    items = _items(call)
    new = call.flag("new_axis")
    rank = items[0].rank if items else None
    if rank is None:
        raise Refusal("it joins nothing, or values of unknown rank")
    axis = call.axis(call.integer("axis", 0), rank + new)
    made = call.call(torch.stack if new else torch.cat, [call.tensor_of(item) for item in items], axis)
    return call.result(made, items[0].elem, (None,) * (rank + new))
