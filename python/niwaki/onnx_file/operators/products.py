"""Products of matrices, and attention."""

from __future__ import annotations

import numpy as np

from niwaki.onnx_file.registry import Node, writes
from niwaki.onnx_file.writer import Writer

_LOWEST = float(np.finfo(np.float32).min)


def _transposed(writer: Writer, x: str, rank: int) -> str:
    return x if rank < 2 else writer.op("Transpose", x, perm=[*range(rank - 2), rank - 1, rank - 2])


@writes("matmul")
def _matmul(writer: Writer, node: Node) -> None:
    b = writer.read(node, 1)
    if node.integer("transpose_b"):
        b = _transposed(writer, b, writer.value(node, 1).rank)
    writer.finish(node, writer.op("MatMul", writer.read(node), b))


@writes("attention")
def _attention(writer: Writer, node: Node) -> None:
    """A row that sees no key is zeros, where a softmax of nothing is not a number, unless that is what is wanted.

    Where niwaki multiplies codes of 8 bits, which it makes when it runs, this is in float32: nothing in the file says
    what they are.
    """
    node.word("precision")
    nan_rows = bool(node.integer("nan_rows"))
    q, k, v = (writer.read(node, index) for index in range(3))
    q = writer.op("Mul", q, writer.floats(node.number_of("scale")))
    scores = writer.op("MatMul", q, _transposed(writer, k, writer.value(node, 1).rank))
    seen = []
    if node.integer("causal"):
        rows, columns = (writer.scalar(writer.value(node, index).dims[-2]) for index in (0, 1))
        zero, one = writer.constant(np.int64(0)), writer.constant(np.int64(1))
        down = writer.op("Unsqueeze", writer.op("Range", zero, rows, one), writer.integers([1]))
        seen.append(writer.op("GreaterOrEqual", down, writer.op("Range", zero, columns, one)))
    if node.given(3) and writer.value(node, 3).dtype == "bool":
        seen.append(writer.read(node, 3))
    elif node.given(3):
        scores = writer.op("Add", scores, writer.read(node, 3))
        if not nan_rows:
            seen.append(writer.op("Greater", scores, writer.floats(-np.inf)))
    if not seen:
        writer.finish(node, writer.op("MatMul", writer.op("Softmax", scores, axis=-1), v))
        return
    visible = seen[0] if len(seen) == 1 else writer.op("And", *seen)
    scores = writer.op("Where", visible, scores, writer.floats(-np.inf if nan_rows else _LOWEST))
    if nan_rows:
        writer.finish(node, writer.op("MatMul", writer.op("Softmax", scores, axis=-1), v))
        return
    chances = writer.op("Where", visible, writer.op("Softmax", scores, axis=-1), writer.floats(0.0))
    writer.finish(node, writer.op("MatMul", chances, v))
