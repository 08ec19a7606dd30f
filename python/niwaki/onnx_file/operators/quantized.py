"""Operators of uint8 values: between DequantizeLinear and QuantizeLinear."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from niwaki.onnx_file.registry import Node, Refusal, writes
from niwaki.onnx_file.writer import Value, Writer

_Reals = NDArray[np.float64]


@writes("quantize")
def _quantize(writer: Writer, node: Node) -> None:
    if "phases" in node.attributes:
        raise Refusal("it is in the form that a model has in memory")
    writer.finish(node, writer.read(node))


@writes("dequantize")
def _dequantize(writer: Writer, node: Node) -> None:
    writer.finish(node, writer.read(node))


def bounded(writer: Writer, node: Node, made: str) -> None:
    """The uint8 result of a node that bounds what it rounds: rounded first, so that runtimes see the layer alone."""
    value = writer.made(node)
    low, high = node.integer("low"), node.integer("high")
    if (low, high) == (0, 255):
        writer.finish(node, made)
    else:
        writer.finish(node, clipped(writer, writer.rounded(made, value), value, low, high))


def clipped(writer: Writer, x: str, value: Value, low: int, high: int) -> str:
    """Numbers of a grid within two of its steps."""
    if high == 255 and low == value.zero_point:
        return writer.op("Relu", x)
    ends = [np.float32((q - value.zero_point) * np.float32(value.scale)) for q in (low, high)]
    lower = writer.constant(ends[0]) if low > 0 else ""
    upper = [writer.constant(ends[1])] if high < 255 else []
    return writer.op("Clip", x, *([lower, *upper] if lower or upper else []))


@writes("clamp")
def _clamp(writer: Writer, node: Node) -> None:
    low, high = node.integer("low"), node.integer("high")
    value = writer.made(node)
    if (low, high) == (0, 255):  # as a ReLU is where nothing lies below zero: the grid ends there
        writer.set_bytes(node.outputs[0], writer.quantized(node.inputs[0]))
    else:
        writer.finish(node, clipped(writer, writer.read(node), value, low, high))


@writes("add")
def _add(writer: Writer, node: Node) -> None:
    bounded(writer, node, writer.op("Add", writer.read(node), writer.read(node, 1)))


@writes("mul")
def _mul(writer: Writer, node: Node) -> None:
    bounded(writer, node, writer.op("Mul", writer.read(node), writer.read(node, 1)))


@writes("extreme")
def _extreme(writer: Writer, node: Node) -> None:
    op = "Max" if node.word("function") == "maximum" else "Min"
    bounded(writer, node, writer.op(op, writer.read(node), writer.read(node, 1)))


@writes("prelu")
def _prelu(writer: Writer, node: Node) -> None:
    slope = writer.tensor(node, "slope")
    shape = [-1] + [1] * (writer.value(node).rank - 2)
    bounded(writer, node, writer.op("PRelu", writer.read(node), writer.constant(slope.reshape(shape), "slope")))


def _turned(writer: Writer, node: Node, apart: Sequence[Any], order: list[int]) -> str:
    """The input with the shape `apart`, and its axes in another order."""
    value = writer.value(node)
    x = writer.rounded(writer.reshape(writer.read(node), apart, value.dims), value)
    return writer.rounded(writer.op("Transpose", x, perm=order), value)


@writes("channel_shuffle")
def _channel_shuffle(writer: Writer, node: Node) -> None:
    value = writer.value(node)
    batch, channels, *rest = value.dims
    if not isinstance(channels, int):
        raise Refusal("the number of its channels depends on sizes")
    groups = node.integer("groups")
    apart = (batch, groups, channels // groups, *rest)
    writer.finish(
        node, writer.reshape(_turned(writer, node, apart, [0, 2, 1, *range(3, len(apart))]), value.dims, (batch,))
    )


@writes("pixel_shuffle")
def _pixel_shuffle(writer: Writer, node: Node) -> None:
    value = writer.value(node)
    batch, channels, *sides = value.dims
    if not isinstance(channels, int):
        raise Refusal("the number of its channels depends on sizes")
    made = writer.made(node)
    pixels = len(sides)
    factors = node.sizes("factors", 2)[2 - pixels :]
    order = [0, 1, *chain.from_iterable((2 + pixels + side, 2 + side) for side in range(pixels))]
    x = _turned(writer, node, (batch, made.dims[1], *factors, *sides), order)
    apart = (batch, made.dims[1], *chain.from_iterable(zip(sides, factors, strict=True)))
    writer.finish(node, writer.reshape(x, made.dims, apart))


@writes("table")
def _table(writer: Writer, node: Node) -> None:
    """A function that runtimes have is written as such, where it gives the same table; any other one as a table."""
    table = writer.tensor(node, "table")
    value, made = writer.value(node), writer.made(node)
    if value.quantized and made.quantized:
        reals = (np.arange(256) - value.zero_point) * np.float64(value.scale)
        for function, write in _FUNCTIONS:
            if _gives(function(reals), made, table):
                writer.finish(node, write(writer, writer.read(node)))
                return
    places = writer.op("Cast", writer.quantized(node.inputs[0]), to=6)
    writer.set_bytes(node.outputs[0], writer.op("Gather", writer.constant(table, "table"), places))


def _gives(reals: _Reals, made: Value, table: NDArray[np.uint8]) -> bool:
    """Whether a function gives a table, but for halves that are rounded otherwise."""
    steps = np.clip(np.rint(reals / made.scale) + made.zero_point, 0, 255)
    apart = np.abs(steps - table)
    return bool(apart.max() <= 1 and np.count_nonzero(apart) <= _HALVES)


_HALVES = 2


def _sigmoid(x: _Reals) -> _Reals:
    made: _Reals = 1 / (1 + np.exp(-np.clip(x, -700, 700)))
    return made


_erf = np.vectorize(math.erf, otypes=[np.float64])


def _gelu_tanh(x: _Reals) -> _Reals:
    made: _Reals = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return made


def _one(op: str, **attributes: object) -> Callable[[Writer, str], str]:
    return lambda writer, x: writer.op(op, x, **attributes)


def _leaky(slope: float) -> tuple[Callable[[_Reals], _Reals], Callable[[Writer, str], str]]:
    return lambda x: np.where(x > 0, x, x * slope), _one("LeakyRelu", alpha=slope)


_FUNCTIONS: list[tuple[Callable[[_Reals], _Reals], Callable[[Writer, str], str]]] = [
    (lambda x: x, lambda writer, x: x),
    (lambda x: np.maximum(x, 0), _one("Relu")),
    (_sigmoid, _one("Sigmoid")),
    (np.tanh, _one("Tanh")),
    (lambda x: x * _sigmoid(x), lambda writer, x: writer.op("Mul", x, writer.op("Sigmoid", x))),
    (lambda x: np.clip(x / 6 + 0.5, 0, 1), _one("HardSigmoid", alpha=1 / 6, beta=0.5)),
    (lambda x: x * np.clip(x / 6 + 0.5, 0, 1), _one("HardSwish")),
    (lambda x: 0.5 * x * (1 + _erf(x / math.sqrt(2))), _one("Gelu")),
    (_gelu_tanh, _one("Gelu", approximate="tanh")),
    (lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))), _one("Elu")),
    (lambda x: x * np.tanh(np.logaddexp(0, x)), _one("Mish")),
    *(_leaky(slope) for slope in (0.01, 0.1, 0.2, 0.3)),
]
