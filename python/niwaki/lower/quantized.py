"""Scale and zero point of a uint8 value."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray


@dataclass(frozen=True)
class QParams:
    """real = scale * (q - zero_point), q in 0 to 255. The scale is a float32 number."""

    scale: float
    zero_point: int

    def quantize(self, real: float) -> int:
        """The nearest q, kept in 0 to 255."""
        if not np.isfinite(real):
            return 255 if real > 0 else 0
        return int(min(max(np.rint(real / self.scale) + self.zero_point, 0), 255))

    def reals(self) -> torch.Tensor:
        """What q = 0 to 255 mean, float32 [256]."""
        return (torch.arange(256) - self.zero_point).to(torch.float32) * self.scale

    def table(self, reals: torch.Tensor) -> NDArray[np.uint8]:
        """The nearest q of each of 256 numbers. What is not a number becomes the lowest, as `quantize` has it."""
        steps = np.nan_to_num(np.rint(reals.double().numpy() / self.scale), nan=-math.inf) + self.zero_point
        table: NDArray[np.uint8] = np.clip(steps, 0, 255).astype(np.uint8)
        return table
