"""Quantized operators, computed on the file's own grid: integers that are held as float32."""

from __future__ import annotations

from typing import Any

import torch

from niwaki.onnx.call import Call
from niwaki.onnx.dtypes import FLOAT, INT32, RANGES, UINT8, dtype_of, is_float, name_of
from niwaki.onnx.errors import Refusal
from niwaki.onnx.functions import quantized
from niwaki.onnx.operators.convolution import convolve
from niwaki.onnx.operators.matrix import linear
from niwaki.onnx.registry import operator
from niwaki.onnx.values import Dims, Value


def as_float(call: Call, index: int) -> Any:
    """The integers of an input as float32."""
    value = call.value(index)
    if value.carried:
        return value.data
    return call.method("to", call.x(index), torch.float32)


def along(call: Call, index: int, axis: int, rank: int, block: int = 0) -> Any:
    """A scale or a zero point of an input of so many dimensions, so that it broadcasts. None where it is not given."""
    if not call.given(index):
        return None
    value = call.value(index)
    data = as_float(call, index) if not is_float(value.elem) else call.x(index)
    if block:
        return call.call(quantized.blocks, data, axis, block)
    if value.rank == 0 or value.dims == (1,):
        return call.method("reshape", data, []) if value.rank else data
    if value.rank != 1:
        raise Refusal(f"its scale '{value.name}' is neither one number, nor one for each element of an axis")
    return call.method("reshape", data, [1] * axis + [-1] + [1] * (rank - axis - 1))


def number_of(scale: Any) -> Any:
    """A constant of one element as a number, so that the code is easier to read."""
    if isinstance(scale, torch.Tensor) and scale.numel() == 1 and scale.dtype == torch.float32:
        return float(scale)
    return scale


def quantize(call: Call, x: Any, scale: Any, zero: Any, elem: int, dims: Dims | None) -> Value:
    """x on a grid of integers."""
    if elem not in RANGES:
        raise Refusal(f"it quantizes to {name_of(elem)}")
    low, high = RANGES[elem]
    if elem == INT32:
        raise Refusal("it quantizes to int32")
    zero = 0.0 if zero is None else number_of(zero)
    made = call.call(quantized.quantize, x, number_of(scale), zero, low, high)
    return Value(made, elem, dims, carried=True)


def dequantize(call: Call, q: Any, scale: Any, zero: Any) -> Any:
    """What integers stand for."""
    made = call.call(quantized.dequantize, q, number_of(scale), None if zero is None else number_of(zero))
    if isinstance(made, torch.Tensor):
        call.builder.scales[id(made)] = torch.as_tensor(scale)
        call.builder.keep(made)
    return made


@operator("QuantizeLinear", since=10)
def _quantize_linear(call: Call) -> Any:
    call.unused("saturate")  # of 8-bit floats
    call.only("precision", 0, FLOAT)
    value = call.value(0)
    rank = call.rank()
    axis = call.integer("axis", 1)
    block = call.integer("block_size", 0)
    elem = call.integer("output_dtype", 0) or (call.value(2).elem if call.given(2) else UINT8)
    one = call.value(1).rank == 0 or call.value(1).dims == (1,)
    axis = 0 if one else call.axis(axis, rank)
    scale, zero = along(call, 1, axis, rank, block), along(call, 2, axis, rank, block)
    x = call.x(0) if value.elem == FLOAT else call.method("to", call.x(0), torch.float32)
    return quantize(call, x, scale, zero, elem, value.dims)


@operator("DequantizeLinear", since=10)
def _dequantize_linear(call: Call) -> Any:
    rank = call.rank()
    value = call.value(0)
    if value.elem not in RANGES:
        raise Refusal(f"it is given {name_of(value.elem)}")
    call.only("output_dtype", 0, call.value(1).elem)
    axis = call.integer("axis", 1)
    block = call.integer("block_size", 0)
    one = call.value(1).rank == 0 or call.value(1).dims == (1,)
    axis = 0 if one else call.axis(axis, rank)
    scale, zero = along(call, 1, axis, rank, block), along(call, 2, axis, rank, block)
    made = dequantize(call, as_float(call, 0), scale, zero)
    elem = call.value(1).elem
    if elem != FLOAT:
        made = call.method("to", made, dtype_of(elem))
    return call.result(_named(call, made), elem, value.dims)


def _named(call: Call, made: Any) -> Any:
    """A weight that was dequantized has the name of what it was."""
    if isinstance(made, torch.Tensor):
        source = call.value(0)
        call.builder.names[id(made)] = source.name
        call.builder.keep(made)
    return made


@operator("DynamicQuantizeLinear", since=11)
def _dynamic_quantize_linear(call: Call) -> Any:
    made = call.call(quantized.dynamic, call.x(0))
    q, scale, zero = (call.call(quantized.item, made, index) for index in range(3))
    return [
        Value(q, UINT8, call.value(0).dims, carried=True),
        call.result(scale, FLOAT, (), output=1),
        Value(zero, UINT8, (), carried=True),
    ]


def shifted(call: Call, index: int, zero: int, axis: int) -> Any:
    """Integers without their zero point, which may be one for each element of an axis."""
    q = as_float(call, index)
    if not call.given(zero):
        return q
    point = along(call, zero, axis, call.rank(index))
    if isinstance(point, torch.Tensor) and not bool(point.any()):
        return q
    return call.call(torch.sub, q, number_of(point))


@operator("MatMulInteger", since=10)
def _matmul_integer(call: Call) -> Any:
    a = shifted(call, 0, 2, max(0, call.rank() - 2))
    return Value(integer_product(call, a, 1, 3), INT32, call.result(None, INT32).dims, carried=True)


def integer_product(call: Call, a: Any, index: int, zero: int) -> Any:
    """The product of integers and the matrix of an input without its zero point."""
    weight = call.value(index)
    b = shifted(call, index, zero, call.rank(index) - 1)
    if weight.constant and weight.data.dim() == 2 and isinstance(b, torch.Tensor):
        call.builder.keep(b)
        return call.layer(("linear", weight.data), lambda: _integer_linear(b), a)
    return call.call(torch.matmul, a, b)


def _integer_linear(weight: torch.Tensor) -> torch.nn.Module:
    layer = torch.nn.Linear(weight.shape[0], weight.shape[1], bias=False, device="meta")
    layer.weight = torch.nn.Parameter(weight.t().contiguous())
    return layer


@operator("ConvInteger", since=10)
def _conv_integer(call: Call) -> Any:
    x, w = shifted(call, 0, 2, 1), shifted(call, 1, 3, 0)
    made = convolve(call, x, call.value(1).data, w, None, (call.value(1).data,))
    return Value(made, INT32, call.result(None, INT32).dims, carried=True)


@operator("QLinearMatMul", since=10)
def _qlinear_matmul(call: Call) -> Any:
    rank, columns = call.rank(), call.rank(3)
    a = dequantize(
        call, as_float(call, 0), along(call, 1, max(0, rank - 2), rank), along(call, 2, max(0, rank - 2), rank)
    )
    b = dequantize(call, as_float(call, 3), along(call, 4, columns - 1, columns), along(call, 5, columns - 1, columns))
    if isinstance(b, torch.Tensor) and b.dim() == 2:
        made = linear(call, a, b, transposed=False)
    else:
        made = call.call(torch.matmul, a, b)
    dims = call.result(None, UINT8).dims
    return quantize(call, made, along(call, 6, 0, 1), along(call, 7, 0, 1), call.value(7).elem, dims)


@operator("QLinearConv", since=10)
def _qlinear_conv(call: Call) -> Any:
    rank = call.rank()
    x_scale = along(call, 1, 0, rank)
    x = dequantize(call, as_float(call, 0), x_scale, along(call, 2, 0, rank))
    w_scale = along(call, 4, 0, rank)
    weight = dequantize(call, as_float(call, 3), w_scale, along(call, 5, 0, rank))
    bias = None
    if call.given(8):
        each = call.method("reshape", w_scale, -1)
        bias = call.call(torch.mul, as_float(call, 8), call.call(torch.mul, each, x_scale))
    call.value(1)
    made = _quantized_convolution(call, x, weight, bias)
    dims = call.result(None, UINT8).dims
    return quantize(call, made, along(call, 6, 0, 1), along(call, 7, 0, 1), call.value(7).elem, dims)


def _quantized_convolution(call: Call, x: Any, weight: Any, bias: Any) -> Any:
    # The kernel is read from the weight, which lies in another place than in a Conv.
    call.inputs[1], kept = call.inputs[3], call.inputs[1]
    try:
        return convolve(call, x, weight, weight, bias, (call.value(3).data,))
    finally:
        call.inputs[1] = kept
