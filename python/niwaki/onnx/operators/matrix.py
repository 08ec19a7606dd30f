"""Matrix products, as linear layers where one of the matrices is in the file."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from niwaki.onnx.call import Call
from niwaki.onnx.dtypes import is_float
from niwaki.onnx.functions import matrix
from niwaki.onnx.operators.convolution import with_weights
from niwaki.onnx.registry import operator
from niwaki.onnx.values import Value


@operator("MatMul", since=1)
def _matmul(call: Call) -> Any:
    a, b = call.value(0), call.value(1)
    if b.constant and b.data.dim() == 2 and not a.constant and is_float(b.elem) and (a.rank or 0) >= 1:
        return linear(call, call.x(0), b.data, transposed=False)
    if not is_float(a.elem):
        return call.call(matrix.integer_product, call.x(0), call.x(1))
    return call.call(torch.matmul, call.x(0), call.x(1))


def linear(call: Call, x: Any, weight: torch.Tensor, *, transposed: bool, bias: torch.Tensor | None = None) -> Any:
    """A linear layer of a matrix [inputs, outputs], or [outputs, inputs] where it is transposed already.

    An addition of a bias behind it is taken in.
    """
    outputs, inputs = weight.shape if transposed else weight.shape[::-1]
    if bias is None:
        after = call.following("Add")
        found = _as_bias(after.others[0], outputs, call.value(0)) if after is not None else None
        if after is not None and found is not None:
            bias = found
            after.take()

    def make() -> nn.Module:
        layer = nn.Linear(inputs, outputs, bias is not None, device="meta")
        scale = call.builder.scales.get(id(weight))
        if transposed:
            return with_weights(layer, weight, bias, scale)
        return with_weights(layer, weight.t().contiguous(), bias, scale.t() if scale is not None else None)

    return call.layer(("linear", weight, transposed, bias), make, x)


def _as_bias(value: Value | None, outputs: int, x: Value) -> torch.Tensor | None:
    """A constant that is added to each row, as a bias; None where it is anything else."""
    if value is None or not value.constant or not is_float(value.elem):
        return None
    data: torch.Tensor = value.data
    rows = data.dim() <= max(1, x.rank or 1) and data.numel() == outputs and data.dim() and data.shape[-1] == outputs
    return (data if data.dim() == 1 else data.reshape(-1)) if rows else None


@operator("Gemm", since=7)
def _gemm(call: Call) -> Any:
    alpha, beta = call.number("alpha", 1.0), call.number("beta", 1.0)
    trans_a, trans_b = call.flag("transA"), call.flag("transB")
    b = call.value(1)
    outputs = b.data.shape[0 if trans_b else 1] if b.constant and b.data.dim() == 2 else None
    bias = None
    plain = not call.given(2)
    if call.given(2) and outputs is not None:
        c = call.value(2)
        if c.constant and (c.data.numel() == 1 or (c.data.numel() == outputs and c.data.shape[-1] == outputs)):
            bias = c.data if c.data.dim() == 1 and beta == 1 else c.data.reshape(-1) * beta
            bias = bias if bias.numel() == outputs else bias.expand(outputs).contiguous()
            plain = True
    if outputs is not None and plain and alpha == 1 and not trans_a and is_float(b.elem) and not call.value(0).constant:
        return linear(call, call.x(0), b.data, transposed=trans_b, bias=bias)
    return call.call(matrix.gemm, call.x(0), call.x(1), call.optional(2), alpha, beta, trans_a, trans_b)


@operator("Einsum", since=12)
def _einsum(call: Call) -> Any:
    equation = call.word("equation").replace(" ", "")
    return call.call(torch.einsum, equation, *call.all())


@operator("CumSum", since=11)
def _cumsum(call: Call) -> Any:
    return _cumulated(call, "sum")


@operator("CumProd", since=26)
def _cumprod(call: Call) -> Any:
    return _cumulated(call, "product")


def _cumulated(call: Call, kind: str) -> Any:
    exclusive, reverse = call.flag("exclusive"), call.flag("reverse")
    axis = call.axis(int(call.whole(1).reshape(-1)[0]), call.rank())
    if not exclusive and not reverse and kind == "sum" and is_float(call.value(0).elem):
        return call.call(torch.cumsum, call.x(0), axis)
    return call.call(matrix.cumulated, call.x(0), axis, kind, exclusive, reverse)
