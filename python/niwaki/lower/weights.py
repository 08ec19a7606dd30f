"""Weights, scales and biases of a layer as the core takes them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_BIAS_BITS = 22  # of a layer that is only a bias: exact in float32, and far finer than any uint8 output
_INT32 = 2**31 - 1
_TINY = 1e-30


def quantize_bias(
    weight: NDArray[np.int8], scale: NDArray[np.float32], bias: NDArray[np.floating] | None, input_scale: float
) -> dict[str, NDArray[np.generic]]:
    """The tensors of a conv2d or linear: bias as int32 in units of input_scale * scale.

    Where the weights of an output channel are all zero, its scale says nothing; it is then chosen to suit the bias.
    Where a bias would not fit int32 beside the sum of products, the channel gets a larger scale and its weights are
    rounded to it.

    Args:
        weight: int8 [O, ...].
        scale: float32 [O], positive.
        bias: real numbers [O]; None for zeros.
        input_scale: scale of the uint8 input.
    """
    weight = np.ascontiguousarray(weight, dtype=np.int8)
    outputs = weight.shape[0]
    rows = weight.reshape(outputs, -1).astype(np.int64)
    units = scale.astype(np.float64).copy()
    real = np.zeros(outputs) if bias is None else bias.astype(np.float64)
    step = float(np.float32(input_scale))

    empty = ~rows.any(axis=1)
    units[empty] = np.where(real[empty] == 0, 1.0, np.maximum(np.abs(real[empty]) / (step * 2**_BIAS_BITS), _TINY))
    units = units.astype(np.float32).astype(np.float64)

    room = _INT32 - 255 * np.abs(rows).sum(axis=1) - 1
    excess = np.abs(real) / (step * units) / room
    for channel in np.flatnonzero(excess > 1):
        grown = np.float32(units[channel] * excess[channel] * 1.001)
        rows[channel] = np.rint(rows[channel] * (units[channel] / grown))
        units[channel] = grown
    return {
        "weight": rows.reshape(weight.shape).astype(np.int8),
        "weight_scale": units.astype(np.float32),
        "bias": np.rint(real / (step * units)).astype(np.int32),
    }
