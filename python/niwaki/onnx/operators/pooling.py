"""Pools."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from niwaki.onnx.call import Call
from niwaki.onnx.dtypes import INT64
from niwaki.onnx.errors import Refusal
from niwaki.onnx.functions import pooling, windows
from niwaki.onnx.operators.shape import moved
from niwaki.onnx.operators.windows import Windows, windows_of
from niwaki.onnx.registry import operator

_MAX: dict[int, Any] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE: dict[int, Any] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_GLOBAL: dict[str, dict[int, Any]] = {
    "GlobalAveragePool": {3: F.adaptive_avg_pool1d, 4: F.adaptive_avg_pool2d, 5: F.adaptive_avg_pool3d},
    "GlobalMaxPool": {3: F.adaptive_max_pool1d, 4: F.adaptive_max_pool2d, 5: F.adaptive_max_pool3d},
}


def _kernel(call: Call) -> list[int]:
    kernel = call.integers("kernel_shape")
    if not kernel or len(kernel) != call.rank() - 2:
        raise Refusal("its kernel_shape has not one size for each spatial dimension")
    return kernel


def _torch_has(shape: Windows) -> list[int] | None:
    """The padding, where torch's pools can have it: the same on both sides, and at most half a kernel."""
    padding = shape.symmetric
    if padding is None or len(padding) > 3 or any(2 * p > k for p, k in zip(padding, shape.kernel, strict=True)):
        return None
    return padding


def _generic(call: Call, x: Any, kind: str, shape: Windows, ceil: bool, include: bool) -> Any:
    upper = shape.auto == "SAME_UPPER"
    return call.call(
        windows.pool, x, kind, shape.kernel, shape.stride, shape.dilation, shape.pads, upper, ceil, include
    )


@operator("MaxPool", since=1)
def _max_pool(call: Call) -> Any:
    shape = windows_of(call, _kernel(call))
    ceil = call.flag("ceil_mode")
    column_major = call.flag("storage_order")
    padding = _torch_has(shape)
    value = call.value(0)
    whole = not value.dtype.is_floating_point
    x = call.raw(0)
    if call.outputs > 1:
        if padding is None or whole:
            raise Refusal("it gives indices of windows that torch has not")
        function = _MAX[len(padding)]
        made = call.call(
            function, x, shape.kernel, shape.stride, padding, shape.dilation, ceil_mode=ceil, return_indices=True
        )
        indices = call.call(windows.max_pool_indices, x, call.call(pooling.item, made, 1), column_major)
        return call.call(pooling.item, made, 0), call.result(indices, INT64, output=1)
    if padding is None or (whole and not value.carried):
        return moved(call, _generic(call, x, "max", shape, ceil, include=False))
    function = _MAX[len(padding)]
    return moved(call, call.call(function, x, shape.kernel, shape.stride, padding, shape.dilation, ceil_mode=ceil))


@operator("AveragePool", since=1)
def _average_pool(call: Call) -> Any:
    shape = windows_of(call, _kernel(call))
    ceil, include = call.flag("ceil_mode"), call.flag("count_include_pad")
    padding = _torch_has(shape)
    # With a window that reaches over the end, the divisors of torch differ where there is padding.
    if padding is None or any(d != 1 for d in shape.dilation) or (ceil and any(padding)):
        return _generic(call, call.x(), "mean", shape, ceil, include)
    function = _AVERAGE[len(padding)]
    return call.call(function, call.x(), shape.kernel, shape.stride, padding, ceil, include)


@operator("LpPool", since=2)
def _lp_pool(call: Call) -> Any:
    shape = windows_of(call, _kernel(call))
    ceil, power = call.flag("ceil_mode"), call.integer("p", 2)
    powers = call.call(pooling.powers, call.x(), power)
    return call.call(torch.pow, _generic(call, powers, "sum", shape, ceil, include=False), 1 / power)


@operator("GlobalAveragePool", "GlobalMaxPool", since=1)
def _global(call: Call) -> Any:
    rank = call.rank()
    function = _GLOBAL[call.operator].get(rank)
    if function is not None:
        return call.call(function, call.x(), 1)
    axes = list(range(2, rank))
    if not axes:
        return call.x()
    reduce = torch.mean if call.operator == "GlobalAveragePool" else torch.amax
    return call.call(reduce, call.x(), axes, keepdim=True)


@operator("GlobalLpPool", since=2)
def _global_lp(call: Call) -> Any:
    power = call.integer("p", 2)
    powers = call.call(pooling.powers, call.x(), power)
    return call.call(torch.pow, call.call(torch.sum, powers, list(range(2, call.rank())), keepdim=True), 1 / power)


@operator("MaxUnpool", since=9)
def _max_unpool(call: Call) -> Any:
    kernel = call.integers("kernel_shape") or []
    stride = call.integers("strides") or [1] * len(kernel)
    pads = call.integers("pads") or [0] * (2 * len(kernel))
    spatial = len(kernel)
    own = call.dims()
    smallest = own[:2] + [
        call.call(pooling.unpooled, size, k, s, pads[axis] + pads[axis + spatial])
        for axis, (size, k, s) in enumerate(zip(own[2:], kernel, stride, strict=True))
    ]
    indices = call.x(1)
    if not call.given(2):
        return call.call(windows.max_unpool, call.x(0), indices, smallest)
    # Indices count through the smallest tensor that gives what is here.
    sizes = call.elements(2)
    return call.call(pooling.unpool_into, call.x(0), indices, smallest, sizes)
