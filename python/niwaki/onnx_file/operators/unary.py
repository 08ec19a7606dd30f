"""Functions of each element."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from niwaki.onnx_file.registry import Node, writes
from niwaki.onnx_file.writer import TYPES, Writer

_Function = Callable[[Writer, str, float, float], str]

_PLAIN = {
    "abs": "Abs", "neg": "Neg", "sign": "Sign", "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "reciprocal": "Reciprocal",
    "erf": "Erf", "sin": "Sin", "cos": "Cos", "tan": "Tan", "atan": "Atan", "asin": "Asin", "acos": "Acos",
    "sinh": "Sinh", "cosh": "Cosh", "tanh": "Tanh", "sigmoid": "Sigmoid", "hardswish": "HardSwish", "gelu": "Gelu",
    "mish": "Mish", "softsign": "Softsign", "floor": "Floor", "ceil": "Ceil", "round": "Round", "isnan": "IsNaN",
    "isinf": "IsInf", "logical_not": "Not",
}  # fmt: skip


def _scaled(factor: float) -> _Function:
    return lambda w, x, alpha, beta: w.op("Mul", w.op("Log", x), w.floats(factor))


def _expm1(w: Writer, x: str, alpha: float = 0.0, beta: float = 0.0) -> str:
    """exp(x) - 1 without the loss of its digits near 0: tanh(x / 2) (exp(x) + 1)."""
    half = w.op("Tanh", w.op("Mul", x, w.floats(0.5)))
    near = w.op("Mul", half, w.op("Add", w.op("Exp", x), w.floats(1.0)))
    far = w.op("Sub", w.op("Exp", x), w.floats(1.0))
    return w.op("Where", w.op("Less", w.op("Abs", x), w.floats(1.0)), near, far)


def _log1p(w: Writer, x: str, alpha: float = 0.0, beta: float = 0.0) -> str:
    """log(1 + x) without the loss of its digits near 0: 2 atanh(x / (2 + x))."""
    near = w.op("Mul", w.op("Atanh", w.op("Div", x, w.op("Add", x, w.floats(2.0)))), w.floats(2.0))
    far = w.op("Log", w.op("Add", x, w.floats(1.0)))
    return w.op("Where", w.op("Less", w.op("Abs", x), w.floats(0.5)), near, far)


def _softplus(w: Writer, x: str, alpha: float, beta: float) -> str:
    scaled = w.op("Mul", x, w.floats(alpha))
    soft = w.op("Div", w.op("Softplus", scaled), w.floats(alpha))
    return w.op("Where", w.op("Greater", scaled, w.floats(beta)), x, soft)


def _below(w: Writer, x: str, negative: str) -> str:
    """x where x > 0, else another value."""
    return w.op("Where", w.op("Greater", x, w.floats(0.0)), x, negative)


def _elu(w: Writer, x: str, alpha: float, beta: float) -> str:
    return _below(w, x, w.op("Mul", _expm1(w, x), w.floats(alpha)))


def _celu(w: Writer, x: str, alpha: float, beta: float) -> str:
    return _below(w, x, w.op("Mul", _expm1(w, w.op("Mul", x, w.floats(1 / alpha))), w.floats(alpha)))


def trunc(w: Writer, x: str, alpha: float = 0.0, beta: float = 0.0) -> str:
    """Rounded towards zero."""
    return w.op("Where", w.op("Less", x, w.floats(0.0)), w.op("Ceil", x), w.op("Floor", x))


def _finite(w: Writer, x: str, alpha: float, beta: float) -> str:
    return w.op("Not", w.op("Or", w.op("IsNaN", x), w.op("IsInf", x)))


_COMPOSED: dict[str, _Function] = {
    "expm1": _expm1,
    "log1p": _log1p,
    "log2": _scaled(1 / math.log(2)),
    "log10": _scaled(1 / math.log(10)),
    "rsqrt": lambda w, x, alpha, beta: w.op("Reciprocal", w.op("Sqrt", x)),
    "square": lambda w, x, alpha, beta: w.op("Mul", x, x),
    "log_sigmoid": lambda w, x, alpha, beta: w.op("Neg", w.op("Softplus", w.op("Neg", x))),
    "hardsigmoid": lambda w, x, alpha, beta: w.op("HardSigmoid", x, alpha=1 / 6, beta=0.5),
    "silu": lambda w, x, alpha, beta: w.op("Mul", x, w.op("Sigmoid", x)),
    "gelu_tanh": lambda w, x, alpha, beta: w.op("Gelu", x, approximate="tanh"),
    "relu": lambda w, x, alpha, beta: w.op("Relu", x),
    "relu6": lambda w, x, alpha, beta: w.op("Clip", x, w.floats(0.0), w.floats(6.0)),
    "leaky_relu": lambda w, x, alpha, beta: w.op("LeakyRelu", x, alpha=alpha),
    "elu": _elu,
    "celu": _celu,
    "selu": lambda w, x, alpha, beta: w.op("Selu", x),
    "softplus": _softplus,
    "hardshrink": lambda w, x, alpha, beta: w.op("Shrink", x, lambd=alpha, bias=0.0),
    "softshrink": lambda w, x, alpha, beta: w.op("Shrink", x, lambd=alpha, bias=alpha),
    "tanhshrink": lambda w, x, alpha, beta: w.op("Sub", x, w.op("Tanh", x)),
    "threshold": lambda w, x, alpha, beta: w.op("Where", w.op("LessOrEqual", x, w.floats(alpha)), w.floats(beta), x),
    "trunc": trunc,
    "frac": lambda w, x, alpha, beta: w.op("Sub", x, trunc(w, x)),
    "isfinite": _finite,
}


@writes("unary")
def _unary(writer: Writer, node: Node) -> None:
    function, dtype = node.word("function"), np.dtype(writer.value(node).dtype)
    alpha, beta = node.number_of("alpha"), node.number_of("beta")
    x = writer.read(node)
    if function == "clamp":
        ends = [writer.constant(dtype.type(end)) if np.isfinite(end) else "" for end in (alpha, beta)]
        made = writer.op("Clip", x, *(ends if ends[1] else ends[:1] if ends[0] else []))
    elif function == "relu" and dtype != np.float32:
        made = writer.op("Max", x, writer.constant(dtype.type(0)))
    elif function in _PLAIN:
        made = writer.op(_PLAIN[function], x)
    else:
        made = _COMPOSED[function](writer, x, alpha, beta)
    writer.finish(node, made)


@writes("cast")
def _cast(writer: Writer, node: Node) -> None:
    writer.finish(node, writer.op("Cast", writer.read(node), to=TYPES[node.word("dtype")]))


@writes("channel_affine")
def _channel_affine(writer: Writer, node: Node) -> None:
    shape = [-1] + [1] * (writer.value(node).rank - node.integer("axis") - 1)
    gain, shift = (writer.constant(writer.tensor(node, name).reshape(shape), name) for name in ("gain", "shift"))
    writer.finish(node, writer.op("Add", writer.op("Mul", writer.read(node), gain), shift))
