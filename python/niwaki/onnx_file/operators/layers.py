"""Layers with int8 weights, in the forms that runtimes compute with integers.

A layer of uint8 results is Conv or Gemm between DequantizeLinear and QuantizeLinear, its bias int32 in units of the
input's scale times the weight's. Without a grid for the result, ONNX Runtime would compute a convolution in float32: it
is ConvInteger then, and its sum is scaled; Gemm needs no such thing. OpenVINO knows what to do with the first form, and
computes ConvInteger and MatMulInteger in float32.
"""

from __future__ import annotations

import numpy as np

from niwaki.onnx_file.operators.quantized import bounded
from niwaki.onnx_file.registry import Node, writes
from niwaki.onnx_file.writer import Writer


def _weight(writer: Writer, node: Node) -> str:
    """The weight [outputs, ...] as float32, of int8 with a scale for each output."""
    stored = writer.constant(writer.tensor(node, "weight"), "weight")
    scale = writer.constant(writer.tensor(node, "weight_scale"), "weight_scale")
    zero = writer.constant(np.zeros(scale_count(writer, node), np.int8), "weight_zero_point")
    return writer.op("DequantizeLinear", stored, scale, zero, axis=0)


def scale_count(writer: Writer, node: Node) -> int:
    """Output channels."""
    return int(writer.tensor(node, "weight_scale").shape[0])


def _units(writer: Writer, node: Node) -> np.ndarray:
    """What a step of the sums is worth, for each output channel."""
    units: np.ndarray = np.float32(writer.value(node).scale) * writer.tensor(node, "weight_scale")
    return units


def _bias(writer: Writer, node: Node) -> str:
    bias = writer.tensor(node, "bias")
    if not bias.any():
        return ""
    units = writer.constant(_units(writer, node), "bias_scale")
    zero = writer.constant(np.zeros(bias.shape, np.int32), "bias_zero_point")
    return writer.op("DequantizeLinear", writer.constant(bias, "bias"), units, zero, axis=0)


@writes("conv2d")
def _conv2d(writer: Writer, node: Node) -> None:
    pads = node.sizes("padding", 4)  # top, left, bottom, right
    window = {
        "strides": node.sizes("stride", 2),
        "dilations": node.sizes("dilation", 2),
        "group": node.integer("groups"),
        "kernel_shape": list(writer.tensor(node, "weight").shape[2:]),
    }
    read, bytes_read = node.inputs[0], ""
    if not all(isinstance(pad, int) for pad in pads):
        top, left, bottom, right = pads
        ends = writer.shape([0, 0, top, left, 0, 0, bottom, right])
        padded = writer.op("Pad", writer.plain(read), ends, writer.floats(0.0))
        bytes_read = writer.quantize(padded, writer.values[read])
        pads = [0, 0, 0, 0]
    window["pads"] = pads
    if writer.with_integers and not writer.made(node).quantized:
        writer.finish(node, _integer_convolution(writer, node, bytes_read or writer.quantized(read), window))
        return
    x = writer.dequantize(bytes_read, writer.values[read]) if bytes_read else writer.plain(read)
    bias = _bias(writer, node)
    made = writer.op("Conv", x, _weight(writer, node), *([bias] if bias else []), **window)
    _finish(writer, node, made)


def _integer_convolution(writer: Writer, node: Node, x: str, window: dict[str, object]) -> str:
    weight = writer.constant(writer.tensor(node, "weight"), "weight")
    zero = writer.constant(np.uint8(writer.value(node).zero_point), "zero_point")
    sums = writer.op("ConvInteger", x, weight, zero, **window)
    bias = writer.tensor(node, "bias")
    if bias.any():
        sums = writer.op("Add", sums, writer.constant(bias.reshape(-1, 1, 1), "bias"))
    units = writer.constant(_units(writer, node).reshape(-1, 1, 1), "units")
    return writer.op("Mul", writer.op("Cast", sums, to=1), units)


def _finish(writer: Writer, node: Node, made: str) -> None:
    """The result, to which a residual is added on the result's own grid."""
    value = writer.made(node)
    if node.given(1):
        made = writer.op("Add", writer.rounded(made, value), writer.read(node, 1))
    if value.quantized:
        bounded(writer, node, made)
    else:
        writer.finish(node, made)


@writes("linear")
def _linear(writer: Writer, node: Node) -> None:
    """Rows are those of a matrix: only Gemm takes an int32 bias where its sums are integers."""
    value, made = writer.value(node), writer.made(node)
    x = writer.read(node)
    if value.rank != 2:
        columns = value.dims[-1] if isinstance(value.dims[-1], int) else writer.tensor(node, "weight").shape[1]
        x = writer.rounded(writer.op("Reshape", x, writer.integers([-1, columns])), value)
    bias = _bias(writer, node)
    # Not the transposed weight, which OpenVINO would transpose back whenever it runs.
    y = writer.op("Gemm", x, _weight(writer, node), *([bias] if bias else []), transB=1)
    if made.rank != 2:
        if made.quantized:
            y = writer.rounded(y, made)
        y = writer.reshape(y, made.dims)
    _finish(writer, node, y)


@writes("dynamic_linear")
def _dynamic_linear(writer: Writer, node: Node) -> None:
    """Each row has its own grid, which runtimes have no operator for. Zero points differ by row, so 128 is taken off
    instead and what that leaves out is added: docs/architecture.md, "Numbers".
    """
    x = writer.read(node)
    if not writer.with_integers:
        y = writer.op("MatMul", x, writer.op("Transpose", _weight(writer, node), perm=[1, 0]))
        writer.finish(node, writer.op("Add", y, writer.constant(writer.tensor(node, "bias"), "bias")))
        return
    weight = writer.tensor(node, "weight")
    zero, half, step = writer.floats(0.0), writer.floats(510.0), writer.floats(1e-30)
    axes = writer.integers([-1])
    high = writer.op("Max", writer.op("ReduceMax", x, axes), zero)
    low = writer.op("Min", writer.op("ReduceMin", x, axes), zero)
    span = writer.op("Sub", writer.op("Div", high, half), writer.op("Div", low, half))
    scale = writer.op("Max", writer.op("Mul", span, writer.floats(2.0)), step)
    point = writer.op("Min", writer.op("Round", writer.op("Div", writer.op("Neg", low), scale)), writer.floats(255.0))
    steps = writer.op("Round", writer.op("Mul", x, writer.op("Reciprocal", scale)))
    q = writer.op("Clip", writer.op("Add", steps, point), zero, writer.floats(255.0))
    middle = writer.constant(np.uint8(128))
    sums = writer.op("MatMulInteger", writer.op("Cast", q, to=2), writer.constant(weight.T, "weight"), middle)
    totals = writer.constant(weight.astype(np.int64).sum(axis=1).astype(np.float32), "totals")
    rest = writer.op("Mul", writer.op("Sub", writer.floats(128.0), point), totals)
    y = writer.op("Add", writer.op("Cast", sums, to=1), rest)
    y = writer.op("Mul", writer.op("Mul", y, writer.constant(writer.tensor(node, "weight_scale"), "units")), scale)
    writer.finish(node, writer.op("Add", y, writer.constant(writer.tensor(node, "bias"), "bias")))
