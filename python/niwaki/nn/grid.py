"""The operator niwaki::grid: a value that a file holds as uint8, with a scale and a zero point of its own."""

from __future__ import annotations

import torch


@torch.library.custom_op("niwaki::grid", mutates_args=(), schema="(Tensor x, float scale, int zero_point) -> Tensor")
def grid(x: torch.Tensor, scale: float, zero_point: int) -> torch.Tensor:
    """The nearest numbers of a grid, halves to even: (min(max(round(x / scale) + z, 0), 255) - z) * scale.

    Args:
        x: float32.
        scale: positive, a float32 number.
        zero_point: 0 to 255.

    Returns:
        float32, of the shape of x. Compiled, the value is uint8 with these numbers.
    """
    steps = torch.clamp(torch.round(x / scale), -zero_point, 255 - zero_point)
    return torch.nan_to_num(steps, nan=-zero_point).mul(scale)


@grid.register_fake
def _(x, scale, zero_point):  # type: ignore[no-untyped-def]
    return torch.empty_like(x)
