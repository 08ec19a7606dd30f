"""How long a single layer takes here, in the engine, at the sizes and with the zeros that it would have."""

from __future__ import annotations

import statistics

import numpy as np
from numpy.typing import NDArray
from torch import nn

from niwaki import _core

# Calls of a layer: the median of this many, after a few that are not counted.
_CALLS, _WARM = 15, 3

Geometry = tuple[object, ...]


def geometry(layer: nn.Conv2d | nn.Linear, shape: tuple[int, ...]) -> Geometry:
    """What a layer's time depends on, besides its zeros: equal layers are timed once."""
    if isinstance(layer, nn.Conv2d):
        border = layer.padding if isinstance(layer.padding, str) else tuple(layer.padding)
        return ("conv2d", tuple(layer.weight.shape), layer.stride, border, layer.dilation, layer.groups, shape[1:])
    return ("linear", tuple(layer.weight.shape), shape[1:])


def time_layer(
    layer: nn.Conv2d | nn.Linear, weight: NDArray[np.int8], shape: tuple[int, ...], threads: int
) -> float | None:
    """Milliseconds of one call with one input.

    Args:
        layer: its stride, padding and so on.
        weight: int8, of the shape of its weight, with the zeros in place.
        shape: of its input, [N, C, H, W] or [..., C].
        threads: that work on it.

    Returns:
        None for a layer that the engine cannot run alone.
    """
    graph = _graph(layer, weight, shape)
    if graph is None:
        return None
    image = isinstance(layer, nn.Conv2d)
    size = (1, *shape[1:]) if image else (int(np.prod(shape[1:-1])) or 1, shape[-1])
    x = np.random.default_rng(0).standard_normal(size, dtype=np.float32)
    model = _core.Model(graph, threads=threads)
    session = _core.Session(model, threads)
    (out,) = session.output_shapes([size])
    y = np.empty(out, np.float32)
    position = next(i for i, step in enumerate(model.steps()) if step["op"] in ("conv2d", "linear"))
    times = []
    for call in range(_WARM + _CALLS):
        session.run([(x.ctypes.data, x.shape)], [y.ctypes.data])
        if call >= _WARM:
            times.append(session.profile()[position])
    return statistics.median(times)


def _graph(layer: nn.Conv2d | nn.Linear, weight: NDArray[np.int8], shape: tuple[int, ...]) -> _core.Graph | None:
    graph = _core.Graph()
    outputs = len(weight)
    tensors: dict[str, NDArray[np.generic]] = {
        "weight": np.ascontiguousarray(weight),
        "weight_scale": np.full(outputs, 0.01, np.float32),
        "bias": np.zeros(outputs, np.int32),
    }
    if isinstance(layer, nn.Linear):
        source = graph.add_input("x", "float32", [graph.add_size("rows"), shape[-1]])
        attributes: dict[str, int | list[int]] = {}
    else:
        if len(shape) != 4:
            return None
        sizes = [graph.add_size(name, hint=shape[axis]) for name, axis in (("batch", 0), ("height", 2), ("width", 3))]
        source = graph.add_input("x", "float32", [sizes[0], shape[1], *sizes[1:]])
        attributes = {
            "stride": list(layer.stride), "padding": _padding(layer), "dilation": list(layer.dilation),
            "groups": layer.groups,
        }  # fmt: skip
    (x,) = graph.add_node("quantize", "x", [source], {}, {}, [(0.02, 128)])
    op = "linear" if isinstance(layer, nn.Linear) else "conv2d"
    (y,) = graph.add_node(op, "layer", [x], attributes, tensors, [(0.02, 128)])
    (y,) = graph.add_node("dequantize", "y", [y], {}, {})
    graph.add_output(y, "y")
    return graph


def _padding(layer: nn.Conv2d) -> list[int]:
    """Top, left, bottom, right."""
    if layer.padding == "valid":
        return [0, 0, 0, 0]
    if layer.padding == "same":
        ends = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        return [ends[0] // 2, ends[1] // 2, ends[0] - ends[0] // 2, ends[1] - ends[1] // 2]
    rows, columns = (int(border) for border in layer.padding)
    return [rows, columns, rows, columns]
