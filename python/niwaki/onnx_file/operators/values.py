"""Values that are made of nothing, or of sizes."""

from __future__ import annotations

import numpy as np
from onnx import numpy_helper

from niwaki.onnx_file.registry import Node, Refusal, writes
from niwaki.onnx_file.writer import TYPES, Writer


@writes("constant")
def _constant(writer: Writer, node: Node) -> None:
    data = writer.tensor(node, "value")
    name = writer.constant(data, "value")
    if writer.made(node).quantized:
        writer.set_bytes(node.outputs[0], name)
    else:
        writer.finish(node, name)


@writes("full")
def _full(writer: Writer, node: Node) -> None:
    dtype = np.dtype(node.word("dtype"))
    value = numpy_helper.from_array(np.array([node.number_of("value")]).astype(dtype))
    made = writer.op("ConstantOfShape", writer.shape(node.attributes["shape"]), value=value)
    if writer.made(node).quantized:
        writer.set_bytes(node.outputs[0], made)
    else:
        writer.finish(node, made)


@writes("arange")
def _arange(writer: Writer, node: Node) -> None:
    numbers = (writer.scalar(node.attributes[name][0]) for name in ("start", "end", "step"))
    made = writer.op("Range", *numbers)
    dtype = node.word("dtype")
    writer.finish(node, made if dtype == "int64" else writer.op("Cast", made, to=TYPES[dtype]))


@writes("linspace")
def _linspace(writer: Writer, node: Node) -> None:
    """The numbers of docs/architecture.md."""
    steps = node.attributes["steps"][0]
    if not isinstance(steps, int):
        raise Refusal("the number of its steps depends on free sizes")
    start, end = (np.float32(node.number_of(name)) for name in ("start", "end"))
    step = (end - start) / np.float32(max(steps - 1, 1))
    places = np.arange(steps, dtype=np.float32)
    numbers = np.where(places < steps // 2, start + places * step, end - (steps - 1 - places) * step)
    numbers = np.full(1, start) if steps == 1 else numbers
    writer.finish(node, writer.constant(numbers.astype(np.float32), "numbers"))


@writes("size")
def _size(writer: Writer, node: Node) -> None:
    writer.finish(node, writer.scalar(node.attributes["value"][0]))
