"""Elements by their indices."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from niwaki.onnx.call import Call
from niwaki.onnx.dtypes import FLOAT, INT8, UINT8, is_float
from niwaki.onnx.errors import Refusal
from niwaki.onnx.functions import indexing
from niwaki.onnx.operators.quantized import as_float, dequantize
from niwaki.onnx.operators.shape import moved
from niwaki.onnx.own_scales import FILE_SCALE
from niwaki.onnx.registry import operator
from niwaki.onnx.values import Value


@operator("Gather", since=1)
def _gather(call: Call) -> Any:
    data, indices = call.value(0), call.value(1)
    axis = call.axis(call.integer("axis", 0), call.rank())
    if data.sizes and indices.constant:
        size = data.data.shape[axis]
        places = np.array(indices.data.tolist(), dtype=np.int64)
        if places.size and (places.min() < -size or places.max() >= size):
            raise Refusal(f"it takes an element that a value of {size} elements has not")
        return call.result(np.asarray(np.take(data.data, places, axis), dtype=object), data.elem)
    if data.constant and data.data.dim() == 2 and axis == 0 and is_float(data.elem) and not indices.constant:
        return _embedding(call, call.whole(0))
    table = _quantized_table(call, axis)
    if table is not None:
        found = _embedding(call, table)
        return Value(found, FLOAT, None if indices.dims is None else (*indices.dims, table.shape[1]))
    known = data.dims[axis] if data.dims is not None else None
    if indices.constant and indices.data.dim() == 0:
        index = int(indices.data)
        if known is not None and not -known <= index < known:
            raise Refusal(f"it takes element {index} of {known}")
        return moved(call, call.call(torch.select, call.raw(0), axis, index))
    if indices.sizes and indices.data.ndim == 0:
        return moved(call, call.call(torch.select, call.raw(0), axis, indices.data[()]))
    return moved(call, call.call(indexing.take, call.raw(0), call.x(1), axis))


def _quantized_table(call: Call, axis: int) -> torch.Tensor | None:
    """What rows of a table of integers stand for, where they are all dequantized by one scale; takes that node in."""
    data = call.value(0)
    if not data.constant or data.data.dim() != 2 or axis or data.elem not in (INT8, UINT8) or call.value(1).constant:
        return None
    after = call.following("DequantizeLinear")
    if after is None or not after.others or len(after.others) > 2:
        return None
    numbers: list[Any] = [
        each.data if each is not None and each.constant and each.data.numel() == 1 else None for each in after.others
    ]
    if any(number is None for number in numbers) or numbers[0].dtype != torch.float32:
        return None
    after.take()
    scale, zero = numbers[0].reshape([]), numbers[1].reshape([]).float() if len(numbers) == 2 else None
    table: torch.Tensor = dequantize(call, as_float(call, 0), scale, zero)
    return table


def _embedding(call: Call, table: torch.Tensor) -> Any:
    scale = call.builder.scales.get(id(table))

    def make() -> nn.Module:
        layer = nn.Embedding(table.shape[0], table.shape[1], _weight=table)
        layer.weight.requires_grad_(True)
        if scale is not None:
            setattr(layer, FILE_SCALE, scale)
        return layer

    indices = call.value(1)
    found = call.x(1)
    if not indices.sizes:
        found = call.call(indexing.counted, found, table.shape[0])
    return call.layer(("embedding", call.value(0).data), make, found)


@operator("GatherElements", since=11)
def _gather_elements(call: Call) -> Any:
    axis = call.axis(call.integer("axis", 0), call.rank())
    return call.call(indexing.gather_elements, call.x(0), call.x(1), axis)


@operator("GatherND", since=11)
def _gather_nd(call: Call) -> Any:
    dims = call.value(1).dims
    depth = dims[-1] if dims else None
    if depth is None:
        raise Refusal("it is not known how many axes it indexes")
    batch = call.integer("batch_dims", 0)
    return moved(call, call.call(indexing.gather_nd, call.raw(0), call.x(1), depth, batch))


@operator("Compress", since=9)
def _compress(call: Call) -> Any:
    axis = call.attribute("axis")
    condition = call.x(1)
    if axis is None:
        return call.call(indexing.compress, call.method("reshape", call.x(0), -1), condition, 0)
    return call.call(indexing.compress, call.x(0), condition, call.axis(int(axis), call.rank()))


@operator("Unique", since=11)
def _unique(call: Call) -> Any:
    axis = call.attribute("axis")
    is_sorted = call.flag("sorted", True)
    made = call.call(indexing.unique, call.x(0), None if axis is None else int(axis), is_sorted)
    return [call.call(indexing.item, made, index) for index in range(4)]


@operator("TensorScatter", since=24)
def _tensor_scatter(call: Call) -> Any:
    mode = call.only("mode", "linear", "circular")
    rank = call.rank()
    axis = call.axis(call.integer("axis", -2), rank)
    if axis == 0:
        raise Refusal("it writes along the batch")
    return call.call(indexing.tensor_scatter, call.x(0), call.x(1), call.optional(2), axis, mode == "circular")
