"""Along axes: sums and their like, norms, order."""

from __future__ import annotations

from typing import Any

import numpy as np

from niwaki.onnx_file.registry import Node, Refusal, writes
from niwaki.onnx_file.writer import Writer

_REDUCE = {
    "sum": "ReduceSum", "mean": "ReduceMean", "max": "ReduceMax", "min": "ReduceMin", "prod": "ReduceProd",
    "norm2": "ReduceL2", "sum_abs": "ReduceL1",
}  # fmt: skip


def _product(dims: list[Any]) -> Any:
    made: Any = 1
    for dim in dims:
        made = made * dim if isinstance(made, int) and isinstance(dim, int) else ("*", made, dim)
    return made


@writes("reduce")
def _reduce(writer: Writer, node: Node) -> None:
    function, value = node.word("function"), writer.value(node)
    axes = [int(axis) for axis in node.attributes["axes"]]
    over = [writer.integers(axes)] if axes else []
    keep = node.integer("keepdims")
    x = writer.read(node)
    if function in ("any", "all"):
        op = "ReduceMax" if function == "any" else "ReduceMin"
        numbers = writer.op(op, writer.op("Cast", x, to=6), *over, keepdims=keep)
        made = writer.op("Cast", numbers, to=9)
    elif function == "var":
        count = _product([value.dims[axis] for axis in axes or range(value.rank)])
        apart = writer.op("Sub", x, writer.op("ReduceMean", x, *over, keepdims=1))
        total = writer.op("ReduceSum", writer.op("Mul", apart, apart), *over, keepdims=keep)
        counted = writer.op("Cast", writer.scalar(count), to=1)
        made = writer.op("Div", total, writer.op("Sub", counted, writer.floats(node.number_of("correction"))))
    else:
        made = writer.op(_REDUCE[function], x, *over, keepdims=keep)
    writer.finish(node, made)


@writes("arg_reduce")
def _arg_reduce(writer: Writer, node: Node) -> None:
    op = "ArgMax" if node.word("function") == "argmax" else "ArgMin"
    made = writer.op(op, writer.read(node), axis=node.integer("axis"), keepdims=node.integer("keepdims"))
    writer.finish(node, made)


@writes("cumsum")
def _cumsum(writer: Writer, node: Node) -> None:
    writer.finish(node, writer.op("CumSum", writer.read(node), writer.constant(np.int64(node.integer("axis")))))


@writes("softmax")
def _softmax(writer: Writer, node: Node) -> None:
    op = "LogSoftmax" if node.integer("log") else "Softmax"
    writer.finish(node, writer.op(op, writer.read(node), axis=node.integer("axis")))


def _ones(writer: Writer, node: Node, axes: int) -> str:
    dims = writer.value(node).dims[-axes:]
    if not all(isinstance(dim, int) for dim in dims):
        raise Refusal("it normalizes axes whose sizes are free, without a weight")
    return writer.constant(np.ones([int(str(dim)) for dim in dims], np.float32), "ones")


@writes("layer_norm")
def _layer_norm(writer: Writer, node: Node) -> None:
    axes = node.integer("axes")
    given = [writer.constant(writer.tensor(node, name), name) for name in ("weight", "bias") if name in node.tensors]
    if "weight" not in node.tensors:
        given = [_ones(writer, node, axes), *given]
    made = writer.op("LayerNormalization", writer.read(node), *given, axis=-axes, epsilon=node.number_of("eps"))
    writer.finish(node, made)


@writes("rms_norm")
def _rms_norm(writer: Writer, node: Node) -> None:
    x, axes = writer.read(node), writer.integers(range(-node.integer("axes"), 0))
    mean = writer.op("ReduceMean", writer.op("Mul", x, x), axes, keepdims=1)
    root = writer.op("Sqrt", writer.op("Add", mean, writer.floats(node.number_of("eps"))))
    made = writer.op("Div", x, root)
    if "weight" in node.tensors:
        made = writer.op("Mul", made, writer.constant(writer.tensor(node, "weight"), "weight"))
    writer.finish(node, made)


@writes("group_norm")
def _group_norm(writer: Writer, node: Node) -> None:
    value, groups = writer.value(node), node.integer("groups")
    x = writer.op("Reshape", writer.read(node), writer.integers([0, groups, -1]))
    one, none = (writer.constant(np.full(groups, number, np.float32)) for number in (1, 0))
    made = writer.op("InstanceNormalization", x, one, none, epsilon=node.number_of("eps"))
    made = writer.op("Reshape", made, writer.shape_of(node.inputs[0]))
    shape = [-1] + [1] * (value.rank - 2)
    for name, op in (("weight", "Mul"), ("bias", "Add")):
        if name in node.tensors:
            made = writer.op(op, made, writer.constant(writer.tensor(node, name).reshape(shape), name))
    writer.finish(node, made)


@writes("topk")
def _topk(writer: Writer, node: Node) -> None:
    k = writer.size(node.attributes["k"][0])
    largest, axis = node.integer("largest"), node.integer("axis")
    made = writer.several("TopK", [writer.read(node), k], 2, axis=axis, largest=largest, sorted=1)
    for number, name in zip(node.outputs, made, strict=True):
        writer.set(number, name)


@writes("sort")
def _sort(writer: Writer, node: Node) -> None:
    axis, x = node.integer("axis"), writer.read(node)
    k = writer.op("Shape", x, start=axis, end=axis + 1)
    made = writer.several("TopK", [x, k], 2, axis=axis, largest=node.integer("descending"), sorted=1)
    for number, name in zip(node.outputs, made, strict=True):
        writer.set(number, name)
