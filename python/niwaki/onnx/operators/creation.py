"""Values that are made of none, or of shapes alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.fx import Node

from niwaki.onnx.call import Call
from niwaki.onnx.dtypes import FLOAT, INT64, dtype_of, is_float
from niwaki.onnx.errors import Refusal
from niwaki.onnx.functions import creation
from niwaki.onnx.registry import operator
from niwaki.onnx.values import value_of


@operator("Constant", since=1)
def _constant(call: Call) -> Any:
    if call.has("value"):
        return value_of(call.attribute("value"))
    for name, dtype in (("value_float", torch.float32), ("value_int", torch.int64)):
        if call.has(name):
            return torch.tensor(call.attribute(name), dtype=dtype)
    for name, dtype in (("value_floats", torch.float32), ("value_ints", torch.int64)):
        if call.has(name):
            return torch.tensor(list(call.attribute(name)), dtype=dtype)
    raise Refusal("it is neither a tensor nor numbers")


@operator("ConstantOfShape", since=9)
def _constant_of_shape(call: Call) -> Any:
    tensor = call.attribute("value", torch.zeros(1))
    number = tensor.reshape(-1)[0].item()
    sizes = call.elements(0)
    dims = tuple(None if isinstance(size, Node) else size for size in sizes)
    dtype = tensor.dtype
    if all(not isinstance(size, Node) for size in sizes) and np.prod(sizes, dtype=np.float64) > 2**20:
        raise Refusal("it makes a tensor of more than a million equal elements")
    found = call.result(call.call(torch.full, sizes, number, dtype=dtype), call.elem(), dims)
    found.fill = float(number)
    return found


@operator("Range", since=11)
def _range(call: Call) -> Any:
    call.only("stash_type", 1)
    elem = call.value(0).elem
    if not is_float(elem):
        start, limit, step = (call.elements(index)[0] for index in range(3))
        return call.result(call.call(torch.arange, start, limit, step, dtype=dtype_of(elem)), elem)
    values = [call.value(index) for index in range(3)]
    if all(value.constant for value in values):
        return creation.float_range(*(call.x(index) for index in range(3)))
    if any(value.sizes for value in values) and all(value.sizes or value.constant for value in values):
        numbers = [call.elements(index)[0] for index in range(3)]
        return call.result(call.call(creation.range_of_sizes, *numbers), elem)
    return call.result(call.call(creation.float_range, *(call.x(index) for index in range(3))), elem)


@operator("EyeLike", since=9)
def _eye_like(call: Call) -> Any:
    elem = int(call.attribute("dtype", call.value(0).elem))
    rows, columns = call.dims()
    return call.result(call.call(creation.eye, rows, columns, call.integer("k", 0), dtype_of(elem)), elem)


@operator("OneHot", since=9)
def _one_hot(call: Call) -> Any:
    depth = call.elements(1)[0] if not is_float(call.value(1).elem) else int(call.whole(1))
    axis = call.axis(call.integer("axis", -1), call.rank() + 1)
    return call.result(call.call(creation.one_hot, call.x(0), depth, call.x(2), axis), call.value(2).elem)


@operator("BlackmanWindow", "HannWindow", "HammingWindow", since=17)
def _window(call: Call) -> Any:
    elem = call.integer("output_datatype", FLOAT)
    size = call.elements(0)[0]
    periodic = call.flag("periodic", True)
    kind = call.operator.removesuffix("Window").lower()
    return call.result(call.call(creation.window, kind, size, periodic, dtype_of(elem)), elem)


@operator("NonZero", since=9)
def _non_zero(call: Call) -> Any:
    return call.result(call.call(creation.non_zero, call.x()), INT64, (call.rank(), None))
