"""Moving all elements of a value."""

from __future__ import annotations

from niwaki.onnx_file.registry import Node, writes
from niwaki.onnx_file.writer import Writer

_FIRST, _LAST = -(2**63), 2**63 - 1


@writes("reshape")
def _reshape(writer: Writer, node: Node) -> None:
    writer.finish(node, writer.reshape(writer.read(node), node.attributes["shape"], writer.value(node).dims))


@writes("permute")
def _permute(writer: Writer, node: Node) -> None:
    writer.finish(node, writer.op("Transpose", writer.read(node), perm=node.attributes["axes"]))


@writes("expand")
def _expand(writer: Writer, node: Node) -> None:
    dims = [1 if dim == -1 else dim for dim in node.attributes["shape"]]
    writer.finish(node, writer.op("Expand", writer.read(node), writer.shape(dims)))


@writes("flip")
def _flip(writer: Writer, node: Node) -> None:
    axes = node.attributes["axes"]
    back = writer.integers([-1] * len(axes))
    ends = writer.integers([_FIRST] * len(axes))
    writer.finish(node, writer.op("Slice", writer.read(node), back, ends, writer.integers(axes), back))


@writes("roll")
def _roll(writer: Writer, node: Node) -> None:
    x, dims = writer.read(node), writer.value(node).dims
    for shift, axis in zip(node.attributes["shifts"], node.attributes["axes"], strict=True):
        size = dims[axis]
        if isinstance(shift, int) and isinstance(size, int):
            first = -shift % size if size else 0
            begin = writer.integers([first])
        else:
            begin = writer.size(("%", ("-", 0, shift), size))
        over, end = writer.integers([axis]), writer.integers([_LAST])
        parts = (writer.op("Slice", x, begin, end, over), writer.op("Slice", x, writer.integers([0]), begin, over))
        x = writer.op("Concat", *parts, axis=axis)
    writer.finish(node, x)


@writes("tile")
def _tile(writer: Writer, node: Node) -> None:
    x, repeats = writer.read(node), node.attributes["repeats"]
    more = len(repeats) - writer.value(node).rank
    if more:
        x = writer.op("Unsqueeze", x, writer.integers(range(more)))
    writer.finish(node, writer.op("Tile", x, writer.shape(repeats)))
