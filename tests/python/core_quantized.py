"""What operators of uint8 compute (docs/architecture.md): a value is a tensor beside its (scale, zero point)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from core_plain import Attributes, Values, adds_to, interpolate, pool_max
from numpy.typing import NDArray

Quantization = tuple[float, int]
OPERATORS: dict[str, Callable[..., Any]] = {}
_operator = adds_to(OPERATORS)


def _f32(x: float) -> torch.Tensor:
    return torch.tensor(x, dtype=torch.float32)


def _round(t: torch.Tensor, made: Quantization, attributes: Attributes) -> torch.Tensor:
    zero = made[1]
    low, high = int(attributes.get("low", 0)), int(attributes.get("high", 255))
    return (t.clamp(low - zero, high - zero).round() + zero).to(torch.uint8)


@_operator("quantize")
def _quantize(x: Values, a: Attributes, t: Any, read: Any, made: Quantization) -> torch.Tensor:
    steps = x[0] * (_f32(1.0) / _f32(made[0]))
    steps = torch.where(steps.isnan(), torch.tensor(-math.inf), steps)
    return _round(steps, made, a)


@_operator("dequantize")
def _dequantize(x: Values, a: Attributes, t: Any, read: Any, made: Any) -> torch.Tensor:
    scale, zero = read[0]
    return (x[0].int() - zero).float() * _f32(scale)


def _layer(sums: torch.Tensor, axis: int, x: Values, a: Attributes, t: Any, read: Any, made: Any) -> torch.Tensor:
    shape = [-1 if place == axis else 1 for place in range(sums.dim())]
    acc = (sums + t["bias"].double().reshape(shape)).float()
    units = _f32(read[0][0]) * t["weight_scale"]
    if made is None:
        return acc * units.reshape(shape)
    steps = acc * (units / _f32(made[0])).reshape(shape)
    if len(x) > 1:
        steps = steps + (x[1].int() - read[1][1]).float() * (_f32(read[1][0]) / _f32(made[0]))
    return _round(steps, made, a)


@_operator("conv2d")
def _conv2d(x: Values, a: Attributes, t: Any, read: Any, made: Any) -> torch.Tensor:
    top, left, bottom, right = a.get("padding", [0, 0, 0, 0])
    steps = F.pad(x[0].double() - read[0][1], (left, right, top, bottom))
    stride, dilation = a.get("stride", [1, 1]), a.get("dilation", [1, 1])
    sums = F.conv2d(steps, t["weight"].double(), None, stride, 0, dilation, a.get("groups", 1))
    return _layer(sums, 1, x, a, t, read, made)


@_operator("linear")
def _linear(x: Values, a: Attributes, t: Any, read: Any, made: Any) -> torch.Tensor:
    sums = F.linear(x[0].double() - read[0][1], t["weight"].double())
    return _layer(sums, sums.dim() - 1, x, a, t, read, made)


@_operator("max_pool2d")
def _max_pool2d(x: Values, a: Attributes, t: Any, read: Any, made: Any) -> torch.Tensor:
    return pool_max(x[0].float(), _as_pairs(a)).to(torch.uint8)


def _as_pairs(a: Attributes) -> Attributes:
    top, left, bottom, right = a.get("padding", [0, 0, 0, 0])
    return {**a, "padding": [top, bottom, left, right]}


def _average(sums: torch.Tensor, counts: torch.Tensor, read: Quantization, made: Quantization, a: Attributes) -> Any:
    return _round(sums.round().float() * ((_f32(read[0]) / _f32(made[0])) / counts.round().float()), made, a)


@_operator("avg_pool2d")
def _avg_pool2d(x: Values, a: Attributes, t: Any, read: Any, made: Any) -> torch.Tensor:
    top, left, bottom, right = a.get("padding", [0, 0, 0, 0])
    ends = (left, right, top, bottom)
    assert (top, left) == (bottom, right)

    def total(values: torch.Tensor, padding: Sequence[int] = (top, left)) -> torch.Tensor:
        return F.avg_pool2d(values, a["kernel"], a["stride"], padding, bool(a["ceil_mode"]), divisor_override=1)

    ones = torch.ones(1, 1, *x[0].shape[2:], dtype=torch.float64)
    counts = total(F.pad(ones, ends, value=1.0), (0, 0)) if a["count_include_pad"] else total(ones)
    if a["divisor"]:
        counts = torch.full_like(counts, a["divisor"])
    return _average(total(x[0].double() - read[0][1]), counts, read[0], made, a)


@_operator("adaptive_avg_pool2d")
def _adaptive_avg_pool2d(x: Values, a: Attributes, t: Any, read: Any, made: Any) -> torch.Tensor:
    rows, columns = (
        torch.tensor([-(-(i + 1) * size // n) - i * size // n for i in range(n)], dtype=torch.float64)
        for size, n in zip(x[0].shape[2:], a["size"], strict=True)
    )
    counts = rows[:, None] * columns
    means = F.adaptive_avg_pool2d(x[0].double() - read[0][1], a["size"])
    return _average(means * counts, counts, read[0], made, a)


@_operator("add")
def _add(x: Values, a: Attributes, t: Any, read: Any, made: Any) -> torch.Tensor:
    parts = [(q.int() - r[1]).float() * (_f32(r[0]) / _f32(made[0])) for q, r in zip(x, read, strict=True)]
    return _round(parts[0] + parts[1], made, a)


@_operator("mul")
def _mul(x: Values, a: Attributes, t: Any, read: Any, made: Any) -> torch.Tensor:
    product = (x[0].int() - read[0][1]) * (x[1].int() - read[1][1])
    return _round(product.float() * ((_f32(read[0][0]) * _f32(read[1][0])) / _f32(made[0])), made, a)


@_operator("extreme")
def _extreme(x: Values, a: Attributes, t: Any, read: Any, made: Any) -> torch.Tensor:
    parts = [(q.int() - r[1]).float() * (_f32(r[0]) / _f32(made[0])) for q, r in zip(x, read, strict=True)]
    return _round(getattr(torch, a["function"])(*parts), made, a)


@_operator("prelu")
def _prelu(x: Values, a: Attributes, t: Any, read: Any, made: Any) -> torch.Tensor:
    value, factor = (x[0].int() - read[0][1]).float(), _f32(read[0][0]) / _f32(made[0])
    below = (t["slope"] * factor).reshape([-1] + [1] * (value.dim() - 2))
    return _round(torch.where(value > 0, value * factor, value * below), made, a)


@_operator("resize")
def _resize(x: Values, a: Attributes, t: Any, read: Any, made: Any) -> torch.Tensor:
    if a["mode"].startswith("nearest"):
        assert read[0] == made
        return interpolate([x[0].float()], a, t).to(torch.uint8)
    axes = x[0].dim() - 2
    value = x[0].double()
    for axis in range(-1, -1 - axes, -1):  # along the width, rounded to 2^-6, then the height
        value = value.movedim(axis, -1) @ _whole_weights(a, axes, axis, x[0].shape[axis]).T
        value = (value / 2**8 + 0.5).floor().movedim(-1, axis) if axis == -1 else value.movedim(-1, axis)
    if axes == 1:
        value = value * 2**14
    steps = (value - read[0][1] * 2**20).float() * (_f32(read[0][0]) / _f32(made[0]) * _f32(2**-20))
    return _round(steps, made, a)


def _whole_weights(a: Attributes, axes: int, axis: int, size: int) -> torch.Tensor:
    """The weights of one axis, [outputs, inputs], in units of 2^-14; a tap beyond an end is one of the last pixel."""
    count, scale = a["size"][axis], a["scales"][axis]
    places = np.arange(count, dtype=np.float32)
    if a.get("align_corners"):
        places = places * (np.float32(size - 1) / np.float32(count - 1) if count > 1 else np.float32(0))
    else:
        step = np.float32(1 / scale) if scale else np.float32(size) / np.float32(count)
        places = (np.float64(step) * (places + np.float64(0.5)) - 0.5).astype(np.float32)  # one rounding
    if a["mode"] == "linear":
        places = places.clip(0) if size != count else np.arange(count, dtype=np.float32)
    below = np.minimum(np.floor(places), np.float32(size - 1))
    t = (places - below).clip(0, 1)
    if a["mode"] == "linear":
        taps, weights = np.stack([below, below + 1]), np.stack([1 - t, t])
    else:
        taps = np.stack([below + i for i in (-1, 0, 1, 2)])
        weights = np.stack([_far(t + 1), _near(t), _near(1 - t), _far(1 - t + 1)])
    whole = np.rint(weights * np.float32(2**14)).astype(np.int64)
    whole[whole.argmax(0), np.arange(count)] += 2**14 - whole.sum(0)
    found = torch.zeros(count, size, dtype=torch.float64)
    indices = torch.from_numpy(taps.clip(0, size - 1).astype(np.int64))
    return found.scatter_add(1, indices.T, torch.from_numpy(whole).double().T)


def _near(x: NDArray[np.float32]) -> NDArray[np.float32]:
    a = np.float32(-0.75)
    return ((a + 2) * x - (a + 3)) * x * x + 1


def _far(x: NDArray[np.float32]) -> NDArray[np.float32]:
    a = np.float32(-0.75)
    return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a


@_operator("clamp")
def _clamp(x: Values, a: Attributes, t: Any, read: Any, made: Any) -> torch.Tensor:
    assert read[0] == made
    return x[0].clamp(a["low"], a["high"])


@_operator("table")
def _table(x: Values, a: Attributes, t: Any, read: Any, made: Any) -> torch.Tensor:
    return t["table"][x[0].long()]


@_operator("channel_shuffle")
def _channel_shuffle(x: Values, a: Attributes, t: Any, read: Any, made: Any) -> torch.Tensor:
    assert read[0] == made
    return F.channel_shuffle(x[0], a["groups"])


@_operator("pixel_shuffle")
def _pixel_shuffle(x: Values, a: Attributes, t: Any, read: Any, made: Any) -> torch.Tensor:
    assert read[0] == made
    rows, columns = a["factors"]
    parts = x[0].unflatten(1, (-1, rows, columns))
    if x[0].ndim == 3:
        return parts.squeeze(2).transpose(2, 3).flatten(2)
    return parts.permute(0, 1, 4, 2, 5, 3).flatten(4).flatten(2, 3)


@_operator("upsample_nearest2d")
def _upsample(x: Values, a: Attributes, t: Any, read: Any, made: Any) -> torch.Tensor:
    assert read[0] == made
    return x[0].repeat_interleave(a["scale"][0], 2).repeat_interleave(a["scale"][1], 3)
