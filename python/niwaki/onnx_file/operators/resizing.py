"""Resizing, and sampling at the places that a grid says."""

from __future__ import annotations

from typing import Any

import numpy as np

from niwaki.onnx_file.registry import Node, Refusal, writes
from niwaki.onnx_file.writer import Writer


@writes("upsample_nearest2d")
def _upsample(writer: Writer, node: Node) -> None:
    writer.finish(node, _repeated(writer, node, node.sizes("scale", 2)))


def _repeated(writer: Writer, node: Node, times: list[int]) -> str:
    """Each element so many times along each axis."""
    return writer.op(
        "Resize", writer.read(node), "", writer.floats(1, 1, *times), mode="nearest", nearest_mode="floor",
        coordinate_transformation_mode="asymmetric",
    )  # fmt: skip


@writes("interpolate", "resize")
def _interpolate(writer: Writer, node: Node) -> None:
    axes = writer.value(node).rank - 2
    mode = node.word("mode")
    sizes, scales = node.sizes("size", axes), [float(scale) for scale in node.sizes("scales", axes)]
    if mode.startswith("nearest"):
        times = [_times(*each) for each in zip(writer.value(node).dims[2:], sizes, scales, strict=True)]
        if all(times):
            writer.finish(node, _repeated(writer, node, times))
            return
        x = writer.read(node)
        for axis in range(axes):
            places = _nearest(writer, writer.value(node).dims[2 + axis], sizes[axis], scales[axis], mode)
            x = writer.op("Gather", x, places, axis=2 + axis)
        writer.finish(node, x)
        return
    options: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": "half_pixel"}
    if node.integer("align_corners"):
        options["coordinate_transformation_mode"] = "align_corners"
    if mode == "cubic":
        options["cubic_coeff_a"] = -0.75
    if all(scales) and not node.integer("align_corners"):
        given = ["", writer.floats(1.0, 1.0, *scales)]
    elif any(scales) and not node.integer("align_corners"):
        raise Refusal("it has a scale for some of its axes alone")
    else:
        front = writer.op("Shape", writer.read(node), end=2)
        given = ["", "", writer.op("Concat", front, writer.shape(sizes), axis=0)]
    writer.finish(node, writer.op("Resize", writer.read(node), *given, **options))


def _times(before: Any, after: Any, scale: float) -> int:
    """How often each element is repeated; 0 where that is no whole number, or not known."""
    if scale:
        return int(scale) if scale.is_integer() else 0
    whole = isinstance(before, int) and isinstance(after, int) and before > 0 and after % before == 0
    return after // before if whole else 0


def _nearest(writer: Writer, before: Any, after: Any, scale: float, mode: str) -> str:
    """Which element of an axis each one of the result is, int64.

    Resize divides by the scale where torch multiplies by its inverse, so it may fall on the other side of a whole
    number, and take the neighbour.
    """
    half = np.float32(0.5 if mode == "nearest-exact" else 0.0)
    if isinstance(before, int) and isinstance(after, int):
        step = np.float32(1.0 / scale) if scale else np.float32(before) / np.float32(after)
        places = np.floor((np.arange(after, dtype=np.float32) + half) * step)
        return writer.constant(np.minimum(places, before - 1).astype(np.int64), "places")
    if scale:
        inverse = writer.constant(np.float32(1.0 / scale))
    else:
        inverse = writer.op("Div", *(writer.op("Cast", writer.scalar(size), to=1) for size in (before, after)))
    numbers = writer.op("Range", *(writer.scalar(size) for size in (0, after, 1)))
    steps = writer.op("Add", writer.op("Cast", numbers, to=1), writer.constant(half))
    places = writer.op("Cast", writer.op("Floor", writer.op("Mul", steps, inverse)), to=7)
    return writer.op("Min", places, writer.scalar(("-", before, 1)))


@writes("grid_sample")
def _grid_sample(writer: Writer, node: Node) -> None:
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(node.word("mode"), "nearest")
    made = writer.op(
        "GridSample", writer.read(node), writer.read(node, 1), mode=mode, padding_mode=node.word("padding_mode"),
        align_corners=node.integer("align_corners"),
    )  # fmt: skip
    writer.finish(node, made)
