"""How long a single layer takes here, in the engine, at the sizes and with the zeros that it would have."""

from __future__ import annotations

import statistics

import numpy as np
from numpy.typing import NDArray

from niwaki import _core
from niwaki.modules.layer import Layer

# Calls of a layer: the median of this many, after a few that are not counted.
_CALLS, _WARM = 15, 3

Geometry = tuple[object, ...]


def geometry(layer: Layer, shape: tuple[int, ...]) -> Geometry:
    """What a layer's time depends on, besides its zeros: equal layers are timed once."""
    return (layer.op, tuple(layer.weight.shape), str(layer.attributes()), shape[1:])


def time_layer(layer: Layer, weight: NDArray[np.int8], shape: tuple[int, ...], threads: int) -> float | None:
    """Milliseconds of one call with one input.

    Args:
        layer: its stride, padding and so on.
        weight: int8, of the shape of its weight, with the zeros in place.
        shape: of its input, [N, C, H, W] or [..., C].
        threads: that work on it.

    Returns:
        None for a layer that the engine cannot run alone.
    """
    size = layer.one(shape)
    if size is None:
        return None
    graph = _graph(layer, weight, size)
    x = np.random.default_rng(0).standard_normal(size, dtype=np.float32)
    model = _core.Model(graph, threads=threads)
    session = _core.Session(model, threads)
    (out,) = session.output_shapes([size])
    y = np.empty(out, np.float32)
    position = next(i for i, step in enumerate(model.steps()) if step["op"] == layer.op)
    times = []
    for call in range(_WARM + _CALLS):
        session.run([(x.ctypes.data, x.shape)], [y.ctypes.data])
        if call >= _WARM:
            times.append(session.profile()[position])
    return statistics.median(times)


def _graph(layer: Layer, weight: NDArray[np.int8], shape: tuple[int, ...]) -> _core.Graph:
    graph = _core.Graph()
    outputs = len(weight)
    tensors: dict[str, NDArray[np.generic]] = {
        "weight": np.ascontiguousarray(weight),
        "weight_scale": np.full(outputs, 0.01, np.float32),
        "bias": np.zeros(outputs, np.int32),
    }
    channels = layer.axis(len(shape))
    dims = [n if axis == channels else graph.add_size(f"size{axis}", hint=n) for axis, n in enumerate(shape)]
    source = graph.add_input("x", "float32", dims)
    (x,) = graph.add_node("quantize", "x", [source], {}, {}, [(0.02, 128)])
    (y,) = graph.add_node(layer.op, "layer", [x], layer.attributes(), tensors, [(0.02, 128)])
    (y,) = graph.add_node("dequantize", "y", [y], {}, {})
    graph.add_output(y, "y")
    return graph
