"""Functions of each element by itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from niwaki.onnx.call import Call
from niwaki.onnx.dtypes import BOOL, FLOAT, INT4, INT32, INT64, UINT4, dtype_of, is_float, name_of
from niwaki.onnx.errors import Refusal
from niwaki.onnx.operators.sizes import map_sizes
from niwaki.onnx.registry import operator
from niwaki.onnx.values import Value

_FUNCTIONS: dict[str, tuple[int, Callable[..., Any]]] = {
    "Acos": (7, torch.acos), "Acosh": (9, torch.acosh), "Asin": (7, torch.asin), "Asinh": (9, torch.asinh),
    "Atan": (7, torch.atan), "Atanh": (9, torch.atanh), "Cos": (7, torch.cos), "Cosh": (9, torch.cosh),
    "Erf": (9, torch.erf), "Exp": (6, torch.exp), "Log": (6, torch.log), "Reciprocal": (6, torch.reciprocal),
    "Sin": (7, torch.sin), "Sinh": (9, torch.sinh), "Sqrt": (6, torch.sqrt), "Tan": (7, torch.tan),
    "Tanh": (6, torch.tanh), "Sigmoid": (6, torch.sigmoid),
    "IsNaN": (9, torch.isnan), "Not": (1, torch.logical_not), "BitwiseNot": (18, torch.bitwise_not),
    "Det": (11, torch.linalg.det),
}  # fmt: skip


def _make(name: str, since: int, function: Callable[..., Any]) -> None:
    @operator(name, since=since)
    def make(call: Call) -> Any:
        if name == "Erf" and not is_float(call.value(0).elem):
            raise Refusal(f"it is given {name_of(call.value(0).elem)}")
        return call.call(function, call.x())


for _name, (_since, _function) in _FUNCTIONS.items():
    _make(_name, _since, _function)


def _of_sizes(call: Call, one: Callable[[Any], Any], otherwise: Callable[..., Any], elem: int | None = None) -> Any:
    """A function of integers and sizes, or of a tensor."""
    if call.in_sizes(0):
        return call.result(map_sizes(one, call.array(0)), elem or call.value(0).elem)
    return call.call(otherwise, call.x())


@operator("Neg", since=6)
def _neg(call: Call) -> Any:
    return _of_sizes(call, lambda each: call.call(_negative, each), torch.neg)


def _negative(size: Any) -> Any:
    return -size


@operator("Abs", since=6)
def _abs(call: Call) -> Any:
    return _of_sizes(call, lambda each: call.call(abs, each), torch.abs)


@operator("Floor", since=6)
def _floor(call: Call) -> Any:
    return _whole_number(call, math.floor, torch.floor)


@operator("Ceil", since=6)
def _ceil(call: Call) -> Any:
    return _whole_number(call, math.ceil, torch.ceil)


def _whole_number(call: Call, of_size: Callable[..., Any], of_tensor: Callable[..., Any]) -> Any:
    """Sizes that were divided are float32 and stay sizes; all else is a tensor."""
    if call.in_sizes(0) and call.value(0).elem == FLOAT:
        whole = map_sizes(lambda each: call.call(of_size, each), call.array(0))
        return call.result(map_sizes(lambda each: call.call(torch.sym_float, each), whole), FLOAT)
    return call.call(of_tensor, call.x())


@operator("Round", since=11)
def _round(call: Call) -> Any:
    return call.call(torch.round, call.x())  # halves to even, as ONNX has it


@operator("Sign", since=9)
def _sign(call: Call) -> Any:
    return call.call(_sign_of, call.x())


def _sign_of(x: torch.Tensor) -> torch.Tensor:
    return torch.sign(x)


@operator("IsInf", since=10)
def _is_inf(call: Call) -> Any:
    negative, positive = call.flag("detect_negative", True), call.flag("detect_positive", True)
    x = call.x()
    if negative and positive:
        return call.call(torch.isinf, x)
    if not negative and not positive:
        return call.call(torch.zeros_like, x, dtype=torch.bool)
    return call.call(torch.eq, x, math.inf if positive else -math.inf)


@operator("Identity", since=1, moves=True)
def _identity(call: Call) -> Any:
    return _same(call)


@operator("Dropout", since=7)
def _dropout(call: Call) -> Any:
    call.unused("ratio", "seed", "is_test")
    if call.given(1):
        call.value(1)
    if call.given(2) and bool(call.whole(2)):
        raise Refusal("it is in training mode")
    x = _same(call)
    if call.outputs < 2:
        return x
    return x, call.call(torch.ones_like, call.x(), dtype=torch.bool if call.version >= 10 else call.value(0).dtype)


def _same(call: Call) -> Value:
    value = call.value(0)
    return Value(value.data, value.elem, value.dims, value.name, value.carried, value.fill, value.items)


@operator("Cast", since=6)
def _cast(call: Call) -> Any:
    call.unused("saturate", "round_mode")  # of 8-bit floats, which are refused
    return cast(call, int(call.attribute("to", 0)))


@operator("CastLike", since=15)
def _cast_like(call: Call) -> Any:
    call.unused("saturate", "round_mode")
    return cast(call, call.value(1).elem)


def cast(call: Call, elem: int) -> Any:
    """The first input in another type."""
    value = call.value(0)
    dtype = dtype_of(elem)
    if value.elem == elem:
        return _same(call)
    if elem in (INT4, UINT4):
        raise Refusal(f"it makes {name_of(elem)}")
    if value.carried and elem == FLOAT:
        return call.result(value.data, FLOAT)
    if value.sizes:
        if elem in (INT32, INT64) and value.elem in (INT32, INT64):
            return call.result(value.data, elem)
        if elem in (INT32, INT64) and value.elem == FLOAT:
            return call.result(map_sizes(lambda each: call.call(math.trunc, each), value.data), elem)
        if elem == FLOAT and value.elem in (INT32, INT64):
            return call.result(map_sizes(lambda each: call.call(torch.sym_float, each), value.data), elem)
    x = call.x()
    if elem == BOOL:
        return call.result(call.call(torch.ne, x, 0), elem)
    return call.result(call.method("to", x, dtype), elem)
