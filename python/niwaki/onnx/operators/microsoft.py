"""Operators of ONNX Runtime's own domain, com.microsoft, that its optimizer and its quantizer write."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from niwaki.onnx.call import Call
from niwaki.onnx.dtypes import FLOAT, UINT8
from niwaki.onnx.errors import Refusal
from niwaki.onnx.functions import matrix, quantized, windows
from niwaki.onnx.operators.arithmetic import both
from niwaki.onnx.operators.matrix import linear
from niwaki.onnx.operators.normalization import layer_norm
from niwaki.onnx.operators.quantized import (
    along,
    as_float,
    dequantize,
    integer_product,
    number_of,
    quantize,
    shifted,
)
from niwaki.onnx.operators.windows import windows_of
from niwaki.onnx.registry import operator
from niwaki.onnx.values import Dims, Value

_DOMAIN = "com.microsoft"


def _broadcast(*shapes: Dims | None) -> Dims | None:
    """The shape of what values of these shapes broadcast to, as far as it is known."""
    if any(shape is None for shape in shapes):
        return None
    known = [shape for shape in shapes if shape is not None]
    rank = max(map(len, known))
    found: list[int | None] = []
    for axis in range(rank):
        sizes = {shape[axis - rank] for shape in known if axis - rank >= -len(shape)} - {1}
        found.append(1 if not sizes else sizes.pop() if len(sizes) == 1 else None)
    return tuple(found)


def _like(call: Call, data: Any) -> Value:
    """A result of the type and shape of the first input."""
    value = call.value(0)
    return Value(data, value.elem, value.dims)


def _pair(call: Call, index: int) -> Any:
    """What a quantized input stands for: it, its scale and its zero point are inputs one after the other."""
    return dequantize(call, as_float(call, index), along(call, index + 1, 0, 1), along(call, index + 2, 0, 1))


def _grid(call: Call, made: Any, index: int, dims: Dims | None, elem: int | None = None) -> Value:
    """A result on the grid of the scale and the zero point that are inputs from `index` on."""
    kind = call.value(index + 1).elem if call.given(index + 1) else elem or call.value(0).elem
    return quantize(call, made, along(call, index, 0, 1), along(call, index + 1, 0, 1), kind, dims)


@operator("QLinearAdd", "QLinearMul", domain=_DOMAIN)
def _add(call: Call) -> Any:
    function = torch.add if call.operator == "QLinearAdd" else torch.mul
    made = call.call(function, _pair(call, 0), _pair(call, 3))
    return _grid(call, made, 6, _broadcast(call.value(0).dims, call.value(3).dims))


@operator("QLinearSigmoid", domain=_DOMAIN)
def _sigmoid(call: Call) -> Any:
    return _grid(call, call.call(torch.sigmoid, _pair(call, 0)), 3, call.value(0).dims)


@operator("QLinearLeakyRelu", domain=_DOMAIN)
def _leaky_relu(call: Call) -> Any:
    made = call.call(F.leaky_relu, _pair(call, 0), call.number("alpha", 0.01))
    return _grid(call, made, 3, call.value(0).dims)


@operator("QLinearSoftmax", domain=_DOMAIN)
def _softmax(call: Call) -> Any:
    if call.integer("opset", 13) < 13:
        raise Refusal("its softmax is that of before opset 13")
    axis = call.axis(call.integer("axis", -1), call.rank())
    return _grid(call, call.call(F.softmax, _pair(call, 0), axis), 3, call.value(0).dims)


@operator("QLinearConcat", domain=_DOMAIN)
def _concat(call: Call) -> Any:
    axis = call.axis(call.integer("axis", 1), call.rank(2))
    places = range(2, len(call.inputs), 3)
    made = call.call(torch.cat, [_pair(call, index) for index in places], axis)
    shapes = [call.value(index).dims or () for index in places]
    along_axis = [shape[axis] for shape in shapes]
    whole = None if None in along_axis else sum(size for size in along_axis if size is not None)
    dims = (*shapes[0][:axis], whole, *shapes[0][axis + 1 :])
    return quantize(call, made, along(call, 0, 0, 1), along(call, 1, 0, 1), call.value(1).elem, dims)


@operator("QLinearGlobalAveragePool", domain=_DOMAIN)
def _global_average(call: Call) -> Any:
    call.only("channels_last", 0)
    dims = call.value(0).dims
    rank = call.rank()
    made = call.call(torch.mean, _pair(call, 0), list(range(2, rank)), keepdim=True)
    return _grid(call, made, 3, None if dims is None else (*dims[:2], *[1] * (rank - 2)))


@operator("QLinearAveragePool", domain=_DOMAIN)
def _average_pool(call: Call) -> Any:
    call.only("channels_last", 0)
    kernel = call.integers("kernel_shape") or []
    shape = windows_of(call, kernel)
    ceil, include = call.flag("ceil_mode"), call.flag("count_include_pad")
    made = call.call(
        windows.pool, _pair(call, 0), "mean", kernel, shape.stride, shape.dilation, shape.pads,
        shape.auto == "SAME_UPPER", ceil, include,
    )  # fmt: skip
    dims = call.value(0).dims
    return _grid(call, made, 3, None if dims is None else (*dims[:2], *[None] * len(kernel)))


@operator("QGemm", domain=_DOMAIN)
def _gemm(call: Call) -> Any:
    alpha = call.number("alpha", 1.0)
    trans_a, trans_b = call.flag("transA"), call.flag("transB")
    a = _pair(call, 0)
    axis = 0 if trans_b else 1
    scale = along(call, 4, axis, 2)
    b = dequantize(call, as_float(call, 3), scale, along(call, 5, axis, 2))
    bias = None
    if call.given(6):
        unit = call.call(torch.mul, call.method("reshape", scale, -1), call.call(torch.mul, call.x(1), alpha))
        bias = call.call(torch.mul, as_float(call, 6), unit)
    if alpha == 1 and not trans_a and isinstance(b, torch.Tensor) and isinstance(bias, torch.Tensor):
        rows = torch.broadcast_to(bias.reshape(-1), (b.shape[0 if trans_b else 1],)).contiguous()
        made = linear(call, a, b, transposed=trans_b, bias=rows)
    else:
        made = call.call(matrix.gemm, a, b, None, alpha, 1.0, trans_a, trans_b)
        made = made if bias is None else call.call(torch.add, made, bias)
    sizes = call.value(0).dims, call.value(3).dims
    dims = (sizes[0] or (None, None))[1 if trans_a else 0], (sizes[1] or (None, None))[axis]
    if call.given(7):
        return _grid(call, made, 7, dims)
    return Value(made, FLOAT, dims)


@operator("QuantizeLinear", domain=_DOMAIN)
def _quantize(call: Call) -> Any:
    rank = call.rank()
    axis = call.axis(call.integer("axis", 1), rank) if call.value(1).dims not in ((), (1,)) else 0
    zero = along(call, 2, axis, rank)
    elem = call.value(2).elem if call.given(2) else UINT8
    return quantize(call, call.x(0), along(call, 1, axis, rank), zero, elem, call.value(0).dims)


@operator("DequantizeLinear", domain=_DOMAIN)
def _dequantize(call: Call) -> Any:
    rank = call.rank()
    axis = call.axis(call.integer("axis", 1), rank) if call.value(1).dims not in ((), (1,)) else 0
    made = dequantize(call, as_float(call, 0), along(call, 1, axis, rank), along(call, 2, axis, rank))
    return Value(made, FLOAT, call.value(0).dims)


@operator("MatMulIntegerToFloat", domain=_DOMAIN)
def _to_float(call: Call) -> Any:
    a = shifted(call, 0, 4, max(0, call.rank() - 2))
    return _scaled_product(call, a, along(call, 2, 0, 1), (1, 3, 5, 6))


@operator("DynamicQuantizeMatMul", domain=_DOMAIN)
def _dynamic(call: Call) -> Any:
    rounded = call.call(quantized.dynamic, call.x(0))
    q, scale, zero = (call.call(quantized.item, rounded, index) for index in range(3))
    return _scaled_product(call, call.call(torch.sub, q, zero), scale, (1, 2, 3, 4))


def _scaled_product(call: Call, a: Any, scale: Any, places: tuple[int, int, int, int]) -> Value:
    """The product of integers, times their scales; `places` of the weight, its scale and zero point, and the bias."""
    weight, unit, zero, bias = places
    rank, columns = call.rank(), call.rank(weight)
    made = integer_product(call, a, weight, zero)
    made = call.call(torch.mul, made, call.call(torch.mul, scale, number_of(along(call, unit, columns - 1, columns))))
    if call.given(bias):
        made = call.call(torch.add, made, call.x(bias))
    own, other = call.value(0).dims or (None,) * rank, call.value(weight).dims or (None,) * columns
    return Value(made, FLOAT, (*own[:-1], other[-1]))


@operator("FusedMatMul", domain=_DOMAIN)
def _fused_matmul(call: Call) -> Any:
    for name in ("transBatchA", "transBatchB"):
        call.only(name, 0)
    alpha = call.number("alpha", 1.0)
    a, b = call.x(0), call.x(1)
    rank, other = call.rank(), call.rank(1)
    own, sizes = list(call.value(0).dims or ()), list(call.value(1).dims or ())
    if call.flag("transA") and rank > 1:
        a = call.call(torch.transpose, a, -1, -2)
        own[-2:] = own[:-3:-1]
    if call.flag("transB") and other > 1:
        b = call.call(torch.transpose, b, -1, -2)
        sizes[-2:] = sizes[:-3:-1]
    made = call.call(torch.matmul, a, b)
    if rank < 2 or other < 2:
        raise Refusal("it is given a vector")
    lead = _broadcast(tuple(own[:-2]), tuple(sizes[:-2])) or ()
    return Value(made if alpha == 1 else call.call(torch.mul, made, alpha), FLOAT, (*lead, own[-2], sizes[-1]))


@operator("Gelu", domain=_DOMAIN)
def _gelu(call: Call) -> Any:
    return _like(call, call.call(F.gelu, call.x()))


@operator("FastGelu", domain=_DOMAIN)
def _fast_gelu(call: Call) -> Any:
    x = both(call, torch.add) if call.given(1) else call.x()
    return _like(call, call.call(F.gelu, x, approximate="tanh"))


@operator("BiasGelu", domain=_DOMAIN)
def _bias_gelu(call: Call) -> Any:
    return _like(call, call.call(F.gelu, both(call, torch.add)))


@operator("QuickGelu", domain=_DOMAIN)
def _quick_gelu(call: Call) -> Any:
    gate = call.call(torch.sigmoid, call.call(torch.mul, call.x(), call.number("alpha", 1.702)))
    return _like(call, call.call(torch.mul, call.x(), gate))


@operator("SkipLayerNormalization", domain=_DOMAIN)
def _skip_layer_norm(call: Call) -> Any:
    x = both(call, torch.add)
    if call.given(4):
        x = call.call(torch.add, x, call.x(4))
    if call.outputs > 1:
        raise Refusal("more than its first output is used")
    made = layer_norm(call, x, call.rank() - 1, call.number("epsilon", 1e-5), 2, 3)
    return _like(call, made[0] if isinstance(made, list) else made)
