"""Activations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from niwaki.onnx.call import Call
from niwaki.onnx.dtypes import is_float
from niwaki.onnx.errors import Refusal
from niwaki.onnx.functions import numbers
from niwaki.onnx.registry import operator


@operator("Relu", since=6)
def _relu(call: Call) -> Any:
    return call.call(F.relu, call.x())


@operator("LeakyRelu", since=6)
def _leaky_relu(call: Call) -> Any:
    return call.call(F.leaky_relu, call.x(), call.number("alpha", 0.01))


@operator("ThresholdedRelu", since=10)
def _thresholded_relu(call: Call) -> Any:
    return call.call(F.threshold, call.x(), call.number("alpha", 1.0), 0.0)


@operator("Elu", since=6)
def _elu(call: Call) -> Any:
    return call.call(F.elu, call.x(), call.number("alpha", 1.0))


@operator("Celu", since=12)
def _celu(call: Call) -> Any:
    return call.call(F.celu, call.x(), call.number("alpha", 1.0))


@operator("Selu", since=6)
def _selu(call: Call) -> Any:
    alpha = call.number("alpha", 1.67326319217681884765625)
    gamma = call.number("gamma", 1.05070102214813232421875)
    if abs(alpha - 1.6732632) < 1e-6 and abs(gamma - 1.050701) < 1e-6:
        return call.call(F.selu, call.x())
    return call.call(torch.mul, call.call(F.elu, call.x(), alpha), gamma)


@operator("HardSigmoid", since=6)
def _hard_sigmoid(call: Call) -> Any:
    alpha, beta = call.number("alpha", 0.2), call.number("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-7 and beta == 0.5:
        return call.call(F.hardsigmoid, call.x())
    scaled = call.call(torch.add, call.call(torch.mul, call.x(), alpha), beta)
    return call.call(torch.clamp, scaled, 0.0, 1.0)


@operator("HardSwish", since=14)
def _hard_swish(call: Call) -> Any:
    return call.call(F.hardswish, call.x())


@operator("Softplus", since=1)
def _softplus(call: Call) -> Any:
    return call.call(F.softplus, call.x(), 1, 88)  # beyond the threshold it is x to the last bit


@operator("Softsign", since=1)
def _softsign(call: Call) -> Any:
    return call.call(F.softsign, call.x())


@operator("Mish", since=18)
def _mish(call: Call) -> Any:
    return call.call(F.mish, call.x())


@operator("Swish", since=24)
def _swish(call: Call) -> Any:
    alpha = call.number("alpha", 1.0)
    if alpha == 1.0:
        return call.call(F.silu, call.x())
    return call.call(torch.mul, call.x(), call.call(torch.sigmoid, call.call(torch.mul, call.x(), alpha)))


@operator("Gelu", since=20)
def _gelu(call: Call) -> Any:
    return call.call(F.gelu, call.x(), approximate=call.only("approximate", "none", "tanh"))


@operator("Shrink", since=9)
def _shrink(call: Call) -> Any:
    return call.call(numbers.shrink, call.x(), call.number("lambd", 0.5), call.number("bias", 0.0))


@operator("Softmax", "LogSoftmax", since=13)
def _softmax(call: Call) -> Any:
    function = F.softmax if call.operator == "Softmax" else F.log_softmax
    return call.call(function, call.x(), call.axis(call.integer("axis", -1), call.rank()))


@operator("Softmax", "LogSoftmax", since=1, until=12)
def _old_softmax(call: Call) -> Any:
    function: Any = F.softmax if call.operator == "Softmax" else F.log_softmax
    return _as_matrix(call, lambda x, axis: call.call(function, x, axis))


@operator("Hardmax", since=13)
def _hardmax(call: Call) -> Any:
    return call.call(numbers.hardmax, call.x(), call.axis(call.integer("axis", -1), call.rank()))


@operator("Hardmax", since=1, until=12)
def _old_hardmax(call: Call) -> Any:
    return _as_matrix(call, lambda x, axis: call.call(numbers.hardmax, x, axis))


def _as_matrix(call: Call, last: Callable[[Any, int], Any]) -> Any:
    """A function of all axes from one on together: before opset 13, a value was seen as a matrix."""
    rank = call.rank()
    axis = call.integer("axis", 1)
    axis = axis + rank if axis < 0 else axis
    sizes = call.value(0).dims
    assert sizes is not None
    if axis == rank - 1 or (axis < rank and all(size == 1 for size in sizes[axis + 1 :])):
        return last(call.x(), axis)
    if not 0 <= axis < rank:
        raise Refusal(f"it names axis {axis} of a value of rank {rank}")
    return call.call(numbers.at_once, call.x(), axis, call.operator)


@operator("Clip", since=11)
def _clip(call: Call) -> Any:
    bounds = []
    for index in (1, 2):
        known = call.given(index) and call.value(index).constant and is_float(call.value(index).elem)
        bounds.append(float(call.whole(index)) if known else call.optional(index))
    low, high = bounds
    numeric = all(bound is None or isinstance(bound, float) for bound in bounds)
    if numeric and is_float(call.value(0).elem):
        return _clamp(call, low, high)
    low, high = (call.optional(index) for index in (1, 2))
    return call.call(numbers.clip, call.x(), low, high)


@operator("Clip", since=6, until=6)
def _old_clip(call: Call) -> Any:
    low, high = (call.attribute(name) for name in ("min", "max"))
    return _clamp(call, low, high)


def _clamp(call: Call, low: float | None, high: float | None) -> Any:
    low = None if low is None or low <= -3.4028234e38 else low
    high = None if high is None or high >= 3.4028234e38 or math.isinf(high) else high
    if low is None and high is None:
        return call.value(0).data if not call.value(0).carried else call.x()
    if low == 0.0 and high is None:
        return call.call(F.relu, call.x())
    if low == 0.0 and high == 6.0:
        return call.call(F.relu6, call.x())
    return call.call(torch.clamp, call.x(), low, high)
