"""Resize in all its modes, axis by axis."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F


def scaled(size: Any, scale: float) -> Any:
    """floor(size * scale), computed in float32 as ONNX Runtime does."""
    if isinstance(size, int):
        return int(np.floor(np.float32(size) * np.float32(scale)))
    if float(scale * 256).is_integer() and scale < 256:  # then the product is exact
        return math.floor(size * scale)
    return scaled(int(size), scale)  # what rounds is known for one size only, to which a capture is then tied


def resize(
    x: torch.Tensor,
    target: Mapping[int, Any],
    are_scales: bool,
    mode: str,
    where: str,
    nearest: str,
    coefficient: float,
    exclude: bool,
    policy: str,
    region: Mapping[int, tuple[float, float]] | None,
    outside: float,
) -> torch.Tensor:
    """Resizes axes.

    Args:
        x: any tensor.
        target: by axis a scale, or a size.
        are_scales: which of them.
        mode: "nearest", "linear" or "cubic".
        where: how the place of a new element among the old ones is found: coordinate_transformation_mode.
        nearest: how a place is rounded in mode "nearest".
        coefficient: a of the cubic's polynomial.
        exclude: weights of elements that are not there are 0, and the others' sum is 1.
        policy: "stretch"; or "not_larger", "not_smaller", which have one scale for all axes.
        region: by axis the part that is taken, for "tf_crop_and_resize", as shares of the axis.
        outside: what is where a part reaches beyond x.
    """
    dtype = x.dtype
    work = (
        x if x.is_floating_point() and dtype != torch.float16 else x.to(torch.float64 if mode != "nearest" else dtype)
    )
    common = None
    if not are_scales and policy != "stretch":
        shares = [size / x.shape[axis] for axis, size in target.items()]
        common = min(shares) if policy == "not_larger" else max(shares)
    blank = None
    for axis, each in target.items():
        size = x.shape[axis]
        if are_scales:
            scale, length = each, scaled(size, each)
        elif common is not None:
            scale, length = common, math.floor(size * common + 0.5)
        else:
            scale, length = each / size, each
        if region is not None and not are_scales:
            scale = length / size
        places = _places(size, length, scale, where, None if region is None else region[axis])
        if where == "tf_crop_and_resize":
            beyond = (places < 0) | (places > size - 1)
            beyond = beyond.reshape([-1 if index == axis else 1 for index in range(x.dim())])
            blank = beyond if blank is None else blank | beyond
        work = _along(work, axis, places, mode, nearest, coefficient, exclude)
    if blank is not None:
        work = torch.where(blank, torch.tensor(outside, dtype=work.dtype), work)
    if work.dtype != dtype and not dtype.is_floating_point:
        work = work.round() if mode != "nearest" else work
        work = work.clamp(torch.iinfo(dtype).min, torch.iinfo(dtype).max)
    return work.to(dtype)


def half_pixel(x: torch.Tensor, sizes: Sequence[Any], mode: str, torch_mode: str) -> torch.Tensor:
    """Resizes the spatial axes by "pytorch_half_pixel": a single new pixel is the first, where torch has the middle."""
    if all(size > 1 for size in sizes):
        return F.interpolate(x, size=list(sizes), mode=torch_mode, align_corners=False)
    target = dict(enumerate(sizes, 2))
    return resize(x, target, False, mode, "pytorch_half_pixel", "floor", -0.75, False, "stretch", None, 0.0)


def _places(size: Any, length: Any, scale: Any, where: str, region: tuple[float, float] | None) -> torch.Tensor:
    """Where new elements lie among the old ones, in float32, as ONNX Runtime computes them."""
    new: torch.Tensor = torch.arange(length, dtype=torch.float32)
    found: torch.Tensor
    if where == "asymmetric":
        found = new / scale
        return found
    if where == "align_corners":
        found = new * ((size - 1) / (length - 1)) if length > 1 else torch.zeros(1)
        return found
    if where == "tf_half_pixel_for_nn":
        found = (new + 0.5) / scale
        return found
    if where == "tf_crop_and_resize":
        assert region is not None
        start, end = region
        if length > 1:
            found = start * (size - 1) + new * ((end - start) * (size - 1) / (length - 1))
            return found
        return torch.full([1], 0.5 * (start + end) * (size - 1))
    if where == "pytorch_half_pixel" and length <= 1:
        return torch.zeros(1)
    found = (new + 0.5) / scale - 0.5
    if where == "half_pixel_symmetric":
        # The middle stays where it is, however the length was rounded.
        found = found + size / 2 * (1 - length / (scale * size))
    return found


def _along(
    x: torch.Tensor, axis: int, places: torch.Tensor, mode: str, nearest: str, coefficient: float, exclude: bool
) -> torch.Tensor:
    size = x.shape[axis]
    if mode == "nearest":
        if nearest == "round_prefer_floor":
            rounded = torch.ceil(places - 0.5)
        elif nearest == "round_prefer_ceil":
            rounded = torch.floor(places + 0.5)
        else:
            rounded = torch.floor(places) if nearest == "floor" else torch.ceil(places)
        return x.index_select(axis, rounded.to(torch.int64).clamp(0, size - 1))
    low = torch.floor(places)
    share = places - low
    first = low.to(torch.int64)
    if mode == "linear":
        taps, weights = [0, 1], [1 - share, share]
    else:
        taps, weights = [-1, 0, 1, 2], _cubic(share, coefficient)
    if exclude:
        weights = [
            torch.where((first + tap >= 0) & (first + tap < size), weight, torch.zeros_like(weight))
            for tap, weight in zip(taps, weights, strict=True)
        ]
        whole = sum(weights[1:], weights[0])
        weights = [weight / whole for weight in weights]
    shape = [-1 if index == axis else 1 for index in range(x.dim())]
    found = None
    for tap, weight in zip(taps, weights, strict=True):
        part = x.index_select(axis, (first + tap).clamp(0, size - 1)) * weight.to(x.dtype).reshape(shape)
        found = part if found is None else found + part
    assert found is not None
    return found


def _cubic(share: torch.Tensor, a: float) -> list[torch.Tensor]:
    """Weights of the four elements around a place."""

    def far(t: torch.Tensor) -> torch.Tensor:
        return ((a * t - 5 * a) * t + 8 * a) * t - 4 * a

    def near(t: torch.Tensor) -> torch.Tensor:
        return ((a + 2) * t - (a + 3)) * t * t + 1

    return [far(share + 1), near(share), near(1 - share), far(2 - share)]
