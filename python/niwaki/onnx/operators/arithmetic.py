"""Sums, products, quotients and what else takes two tensors or more, element by element."""

from __future__ import annotations

import operator as python
from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
from torch.fx import Node

from niwaki.onnx.call import Call
from niwaki.onnx.dtypes import FLOAT, is_float
from niwaki.onnx.errors import Refusal
from niwaki.onnx.functions import numbers
from niwaki.onnx.functions import sizes as size_functions
from niwaki.onnx.operators.sizes import map_sizes
from niwaki.onnx.registry import operator
from niwaki.onnx.values import Value

_SIGNS: dict[Any, Callable[..., Any]] = {
    torch.add: python.add, torch.sub: python.sub, torch.mul: python.mul, torch.div: python.truediv,
    torch.lt: python.lt, torch.le: python.le, torch.gt: python.gt, torch.ge: python.ge, torch.eq: python.eq,
}  # fmt: skip


def operand(call: Call, index: int, other: int) -> Any:
    """An input, as a number of Python where it is one and the other input has all dimensions of the result."""
    value = call.value(index)
    beside = call.value(other)
    plain = value.constant and value.data.numel() == 1 and not value.carried and value.dtype != torch.bool
    if plain and not beside.constant and beside.rank is not None and value.data.dim() <= beside.rank:
        return value.data.item()
    return call.x(index)


def both(call: Call, function: Callable[..., Any], **kwargs: Any) -> Any:
    """A function of two inputs, of which the second may be a number, and the first for what Python has a sign."""
    a, b = operand(call, 0, 1), operand(call, 1, 0)
    if not isinstance(a, (int, float)):
        return call.call(function, a, b, **kwargs)
    if function in _SIGNS and not kwargs:
        return call.call(_SIGNS[function], a, b)
    return call.call(function, call.x(0), b, **kwargs)


def _exact(number: Any) -> bool:
    """Whether products of a size and this number are exact in float32: an integer, or one of a few binary places."""
    return isinstance(number, Node) or (abs(number) < 256 and float(number * 256).is_integer())


def _fit(call: Call) -> bool:
    """Whether both are sizes whose sum or product is the same for Python as for float32."""
    if not call.in_sizes(0, 1):
        return False
    floats = FLOAT in (call.value(0).elem, call.value(1).elem)
    return not floats or all(_exact(each) for index in (0, 1) for each in call.array(index).flat)


def _simple(call: Call, function: Callable[..., Any], a: Any, b: Any) -> Any:
    """The result of a function of two sizes, without what changes nothing."""
    neutral = {python.add: 0, python.mul: 1, python.sub: 0, python.floordiv: 1}[function]
    if not isinstance(b, Node) and b == neutral:
        return a
    if function in (python.add, python.mul) and not isinstance(a, Node) and a == neutral:
        return b
    found = call.call(function, a, b)
    if isinstance(found, Node) and function is not python.sub and all(map(call.builder.never_negative, (a, b))):
        call.builder.nonnegative.add(found)
    return found


@operator("Add", since=7)
def _add(call: Call) -> Any:
    if _fit(call):
        return _sizes(call, python.add)
    return both(call, torch.add)


@operator("Sub", since=7)
def _sub(call: Call) -> Any:
    if _fit(call):
        return _sizes(call, python.sub)
    return both(call, torch.sub)


@operator("Mul", since=7)
def _mul(call: Call) -> Any:
    if _fit(call):
        return _sizes(call, python.mul)
    return both(call, torch.mul)


def _sizes(call: Call, function: Callable[..., Any]) -> Value:
    made = map_sizes(lambda a, b: _simple(call, function, a, b), call.array(0), call.array(1))
    return call.result(made, call.value(0).elem)


@operator("Div", since=7)
def _div(call: Call) -> Any:
    floats = is_float(call.value(0).elem)
    if call.in_sizes(0, 1):
        a, b = call.array(0), call.array(1)
        if not floats:
            return call.result(map_sizes(lambda x, y: _quotient(call, x, y), a, b), call.value(0).elem)
        # A quotient by an integer rounds to no other whole number than the true one, for sizes below 2^24.
        if all(not isinstance(each, Node) and float(each).is_integer() and each > 0 for each in b.flat):
            return call.result(map_sizes(lambda x, y: call.call(python.truediv, x, y), a, b), FLOAT)
    if floats:
        return both(call, torch.div)
    return both(call, torch.div, rounding_mode="trunc")


def _quotient(call: Call, a: Any, b: Any) -> Any:
    positive = not isinstance(b, Node) and b > 0
    if positive and call.builder.never_negative(a):
        return _simple(call, python.floordiv, a, b)
    return call.call(size_functions.truncated, a, b)


@operator("Mod", since=10)
def _mod(call: Call) -> Any:
    c_like = call.flag("fmod")
    if call.in_sizes(0, 1) and not is_float(call.value(0).elem):
        a, b = call.array(0), call.array(1)
        if not c_like or all(map(call.builder.never_negative, (*a.flat, *b.flat))):
            return call.result(map_sizes(lambda x, y: call.call(python.mod, x, y), a, b), call.value(0).elem)
    return both(call, torch.fmod if c_like else torch.remainder)


@operator("Pow", since=7)
def _pow(call: Call) -> Any:
    base, exponent = call.value(0), call.value(1)
    if base.elem == exponent.elem or is_float(base.elem):
        found = call.call(numbers.power, call.x(0), operand(call, 1, 0), base.dtype)
        return call.result(found, base.elem)
    return call.result(call.call(numbers.power, call.x(0), call.x(1), base.dtype), base.elem)


@operator("PRelu", since=7)
def _prelu(call: Call) -> Any:
    x, slope = call.value(0), call.value(1)
    rank = x.rank
    if slope.constant and is_float(x.elem) and rank is not None and rank >= 2:
        per_channel = slope.data.dim() == rank - 1 and slope.data.numel() == slope.data.shape[0]
        if slope.data.numel() == 1 or per_channel:
            weight = slope.data.reshape(-1)

            def make() -> torch.nn.Module:
                layer = torch.nn.PReLU(weight.numel())
                layer.weight = torch.nn.Parameter(weight)
                return layer

            return call.layer(("prelu", slope.data), make, call.x(0))
    return call.call(numbers.prelu, call.x(0), call.x(1))


@operator("BitShift", since=11)
def _shift(call: Call) -> Any:
    direction = call.word("direction")
    if direction not in ("LEFT", "RIGHT"):
        raise Refusal(f"its direction is '{direction}'")
    return call.call(numbers.shift, call.x(0), call.x(1), direction == "LEFT")


@operator("BitwiseAnd", "BitwiseOr", "BitwiseXor", since=18)
def _bitwise(call: Call) -> Any:
    functions = {"BitwiseAnd": torch.bitwise_and, "BitwiseOr": torch.bitwise_or, "BitwiseXor": torch.bitwise_xor}
    return call.call(functions[call.operator], call.x(0), call.x(1))


@operator("Sum", since=8)
def _sum(call: Call) -> Any:
    return reduce(lambda a, b: call.call(torch.add, a, b), call.all())


@operator("Mean", since=8)
def _mean(call: Call) -> Any:
    given = call.all()
    return call.call(torch.div, reduce(lambda a, b: call.call(torch.add, a, b), given), len(given))


@operator("Max", "Min", since=8)
def _extreme(call: Call) -> Any:
    largest = call.operator == "Max"
    if len(call.inputs) == 2 and call.in_sizes(0, 1) and not is_float(call.value(0).elem):
        function = torch.sym_max if largest else torch.sym_min
        made = map_sizes(lambda a, b: call.call(function, a, b), call.array(0), call.array(1))
        return call.result(made, call.value(0).elem)
    function = torch.maximum if largest else torch.minimum
    if len(call.inputs) == 2 and is_float(call.value(0).elem):
        a, b = operand(call, 0, 1), operand(call, 1, 0)
        for x, bound in ((a, b), (b, a)):
            if isinstance(bound, float) and bound == bound:
                return call.call(torch.clamp, x, **{"min" if largest else "max": bound})
    return reduce(lambda a, b: call.call(function, a, b), call.all())
