"""Moving parts of values: joined, cut out, chosen by indices, framed."""

from __future__ import annotations

import numpy as np

from niwaki.onnx_file.registry import Node, Refusal, writes
from niwaki.onnx_file.writer import Writer

_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


@writes("concat")
def _concat(writer: Writer, node: Node) -> None:
    parts = [writer.read(node, index) for index in range(len(node.inputs))]
    writer.finish(node, writer.op("Concat", *parts, axis=node.integer("axis")))


@writes("slice")
def _slice(writer: Writer, node: Node) -> None:
    ends = (writer.size(node.attributes[name][0]) for name in ("start", "end"))
    over, step = writer.integers([node.integer("axis")]), writer.integers([node.integer("step")])
    writer.finish(node, writer.op("Slice", writer.read(node), *ends, over, step))


@writes("pad")
def _pad(writer: Writer, node: Node) -> None:
    value = writer.value(node)
    padding, mode = node.sizes("padding", 2 * value.rank), node.word("mode")
    ends = writer.shape([*padding[0::2], *padding[1::2]])
    if value.quantized:
        q = node.integer("q")
        added = np.float32((q - value.zero_point) * np.float32(value.scale)) if q >= 0 else np.float32(0)
    else:
        added = np.dtype(value.dtype).type(node.number_of("value"))
    given = [writer.constant(added)] if mode == "constant" else []
    x = writer.read(node)
    if value.dtype == "bool":
        raise Refusal("it pads bools")
    writer.finish(node, writer.op("Pad", x, ends, *given, mode=_MODES[mode]))


@writes("take")
def _take(writer: Writer, node: Node) -> None:
    """Rows of a table of uint8 are bytes until they are taken."""
    axis = node.integer("axis")
    node.integer("wrap")  # ONNX counts negative indices from the end, always
    if writer.value(node).quantized:
        made = writer.op("Gather", writer.quantized(node.inputs[0]), writer.read(node, 1), axis=axis)
        writer.set_bytes(node.outputs[0], made)
    else:
        writer.finish(node, writer.op("Gather", writer.read(node), writer.read(node, 1), axis=axis))


@writes("gather")
def _gather(writer: Writer, node: Node) -> None:
    made = writer.op("GatherElements", writer.read(node), writer.read(node, 1), axis=node.integer("axis"))
    writer.finish(node, made)


@writes("scatter")
def _scatter(writer: Writer, node: Node) -> None:
    data, indices, updates = (writer.read(node, index) for index in range(3))
    if writer.value(node, 1).dims != writer.value(node, 2).dims:
        indices = writer.op("Expand", indices, writer.op("Shape", updates))
    function = node.word("function")
    reduction = {} if function == "set" else {"reduction": function}
    writer.finish(node, writer.op("ScatterElements", data, indices, updates, axis=node.integer("axis"), **reduction))


@writes("unfold")
def _unfold(writer: Writer, node: Node) -> None:
    """A convolution whose channels are the places of a window."""
    channels = writer.value(node).dims[1]
    if not isinstance(channels, int):
        raise Refusal("the number of its channels is free")
    height, width = node.sizes("kernel", 2)
    places = np.eye(height * width, dtype=np.float32).reshape(-1, 1, height, width)
    weight = writer.constant(np.tile(places, (channels, 1, 1, 1)), "places")
    pads = node.sizes("padding", 2)
    columns = writer.op(
        "Conv", writer.read(node), weight, kernel_shape=[height, width], group=channels, pads=[*pads, *pads],
        strides=node.sizes("stride", 2), dilations=node.sizes("dilation", 2),
    )  # fmt: skip
    writer.finish(node, writer.op("Reshape", columns, writer.integers([0, channels * height * width, -1])))
