"""Convolutions of float32, and pools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from niwaki.onnx_file.operators.quantized import bounded
from niwaki.onnx_file.registry import Node, Refusal, writes
from niwaki.onnx_file.writer import Writer


def _ends(pairs: Sequence[Any]) -> list[Any]:
    """[before_0, after_0, before_1, ...] in ONNX's order: all befores, then all afters."""
    return [*pairs[0::2], *pairs[1::2]]


@writes("convolution")
def _convolution(writer: Writer, node: Node) -> None:
    axes = writer.value(node).rank - 2
    weight = writer.tensor(node, "weight")
    x, pads = writer.read(node), _ends(node.sizes("padding", 2 * axes))
    transposed = bool(node.integer("transposed"))
    if not all(isinstance(pad, int) for pad in pads):
        if transposed:
            raise Refusal("its padding depends on free sizes")
        ends = writer.shape([0, 0, *pads[:axes], 0, 0, *pads[axes:]])
        x, pads = writer.op("Pad", x, ends, writer.floats(0.0)), [0] * (2 * axes)
    given = [x, writer.constant(weight, "weight")]
    if "bias" in node.tensors:
        given.append(writer.constant(writer.tensor(node, "bias"), "bias"))
    made = writer.op(
        "ConvTranspose" if transposed else "Conv", *given, kernel_shape=list(weight.shape[2:]), pads=pads,
        strides=node.sizes("stride", axes), dilations=node.sizes("dilation", axes), group=node.integer("groups"),
        output_padding=node.sizes("output_padding", axes) if transposed else None,
    )  # fmt: skip
    writer.finish(node, made)


def _pooled(writer: Writer, node: Node, function: str, pads: list[int]) -> str:
    axes = writer.value(node).rank - 2
    kernel = node.sizes("kernel", axes)
    window: dict[str, Any] = {
        "kernel_shape": kernel,
        "strides": node.sizes("stride", axes),
        "pads": pads,
        "ceil_mode": node.integer("ceil_mode"),
    }
    if function == "max":
        return writer.op("MaxPool", writer.read(node), dilations=node.sizes("dilation", axes), **window)
    divisor, include = node.integer("divisor"), node.integer("count_include_pad")
    if node.integer("ceil_mode") and (divisor or include) and any((*pads, *(size != 1 for size in kernel))):
        raise Refusal("runtimes differ in what they divide by where its windows reach beyond the padding (ceil_mode)")
    made = writer.op("AveragePool", writer.read(node), count_include_pad=1 if divisor else include, **window)
    if divisor and divisor != int(np.prod(kernel)):
        made = writer.op("Mul", made, writer.floats(float(np.prod(kernel)) / divisor))
    return made


@writes("max_pool2d")
def _max_pool2d(writer: Writer, node: Node) -> None:
    writer.finish(node, _pooled(writer, node, "max", node.sizes("padding", 4)))


@writes("avg_pool2d")
def _avg_pool2d(writer: Writer, node: Node) -> None:
    bounded(writer, node, _pooled(writer, node, "average", node.sizes("padding", 4)))


@writes("pool")
def _pool(writer: Writer, node: Node) -> None:
    axes = writer.value(node).rank - 2
    pads = _ends(node.sizes("padding", 2 * axes))
    writer.finish(node, _pooled(writer, node, node.word("function"), pads))


def _parts(size: int, parts: int) -> list[tuple[int, int]]:
    return [(part * size // parts, -((part + 1) * size // -parts)) for part in range(parts)]


def _means(size: int, parts: int) -> NDArray[np.float32]:
    """The matrix [size, parts] whose product with an axis are the means of its parts."""
    matrix = np.zeros((size, parts), np.float32)
    for part, (begin, end) in enumerate(_parts(size, parts)):
        matrix[begin:end, part] = 1 / (end - begin)
    return matrix


def _adapted(writer: Writer, node: Node, function: str) -> str:
    """One window; windows of one size; for means that differ in size, products with matrices."""
    value = writer.value(node)
    axes, before = value.rank - 2, value.dims[2:]
    after = node.sizes("size", axes)
    x = writer.read(node)
    if all(size == 1 for size in after):
        return writer.op("GlobalAveragePool" if function == "average" else "GlobalMaxPool", x)
    if before == tuple(after):
        return x
    if not all(isinstance(size, int) for size in (*before, *after)):
        raise Refusal("its windows depend on free sizes; compile the network for one size of its inputs")
    if all(size % parts == 0 for size, parts in zip(before, after, strict=True)):
        kernel = [size // parts for size, parts in zip(before, after, strict=True)]
        op = "AveragePool" if function == "average" else "MaxPool"
        return writer.op(op, x, kernel_shape=kernel, strides=kernel)
    if function != "average":
        raise Refusal("its windows differ in size")
    for axis in range(axes):  # each time the last axis, which then becomes the first of them
        x = writer.op("MatMul", x, writer.constant(_means(before[-1 - axis], after[-1 - axis]), "means"))
        x = writer.op("Transpose", x, perm=[0, 1, axes + 1, *range(2, axes + 1)]) if axes > 1 else x
    return x


@writes("adaptive_avg_pool2d")
def _adaptive_avg_pool2d(writer: Writer, node: Node) -> None:
    bounded(writer, node, _adapted(writer, node, "average"))


@writes("adaptive_pool")
def _adaptive_pool(writer: Writer, node: Node) -> None:
    writer.finish(node, _adapted(writer, node, node.word("function")))
