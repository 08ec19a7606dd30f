"""Scale and zero point of uint8 activations: real = scale * (q - zero_point)."""

from __future__ import annotations

import math

import numpy as np
import torch

# Untrained networks reach values around 1e-20. Below this, products of scales would come near float32's denormals.
SMALLEST_SCALE = 1e-30


def qparams(low: float, high: float) -> tuple[float, int]:
    """Scale and zero point of a value in low..high.

    The range is widened to hold 0, so that padding and ReLU are exact. A value that is always 0 gets the range 0 to 1.

    Args:
        low, high: the range, finite, low <= high.

    Returns:
        The scale, positive and exactly a float32, and the zero point, 0 to 255.

    Raises:
        ValueError: the range is not finite or the wrong way round.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"a range must be finite, not {low} to {high}.")
    if low > high:
        raise ValueError(f"a range must rise, not run from {low} to {high}.")
    low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        high = 1.0
    # Halves, for the span of two float32 may not be one.
    scale = float(np.float32(max(2.0 * (high / 510.0 - low / 510.0), SMALLEST_SCALE)))
    return scale, min(max(round(-low / scale), 0), 255)


def row_qparams(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and zero point of each row, by its own range, as in `qparams`; a row of zeros has any scale.

    Args:
        rows: float32 [..., I], I at least 1.

    Returns:
        The scales, positive, and the zero points, whole numbers from 0 to 255; float32 [..., 1].
    """
    low, high = rows.amin(-1, keepdim=True).clamp_max(0), rows.amax(-1, keepdim=True).clamp_min(0)
    scale = (2 * (high / 510 - low / 510)).clamp_min(SMALLEST_SCALE)
    return scale, (-low / scale).round()
