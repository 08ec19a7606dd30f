"""Windows over spatial axes: padding that follows from sizes, and pools of any kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F


def same(size: Any, kernel: int, stride: int, dilation: int, upper: bool) -> tuple[Any, Any]:
    """Padding before and after an axis for which there are ceil(size / stride) windows; an odd one after, if upper."""
    outputs = (size + stride - 1) // stride
    reach = dilation * (kernel - 1) + 1
    whole = (outputs - 1) * stride + reach - size
    if reach < stride:  # else it never is below 0
        whole = torch.sym_max(0, whole)
    half = whole // 2
    return (half, whole - half) if upper else (whole - half, half)


def pad_same(
    x: torch.Tensor, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], upper: bool
) -> torch.Tensor:
    """x padded with zeros as `same` says."""
    listed: list[Any] = []
    for size, k, s, d in zip(x.shape[2:], kernel, stride, dilation, strict=True):
        listed = [*same(size, k, s, d, upper), *listed]
    return F.pad(x, listed)


def count(size: Any, kernel: int, stride: int, dilation: int, pads: tuple[Any, Any], ceil: bool) -> Any:
    """How many windows an axis has. None begins in the padding behind it."""
    room = size + pads[0] + pads[1] - dilation * (kernel - 1) - 1
    if not ceil:
        return room // stride + 1
    windows = (room + stride - 1) // stride + 1
    # Where there is room for less than a stride, at most the last window begins too late.
    return torch.sym_min(windows, (size + pads[0] - 1) // stride + 1)


def pool(
    x: torch.Tensor,
    kind: str,
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    pads: Sequence[tuple[int, int]] | None,
    upper: bool,
    ceil: bool,
    include: bool,
) -> torch.Tensor:
    """Windows' largest elements ("max"), sums ("sum") or means ("mean"), axis by axis.

    Args:
        x: [N, C, ...].
        kind: what is made of each window.
        kernel, stride, dilation: of each spatial axis.
        pads: before and after each; None for those that `same` gives, with `upper`.
        upper: see `same`.
        ceil: a window that begins within the axis and reaches beyond its end counts.
        include: the padding counts for means; what lies beyond it never does.
    """
    for index, (k, s, d) in enumerate(zip(kernel, stride, dilation, strict=True)):
        axis = 2 + index
        size = x.shape[axis]
        before, after = same(size, k, s, d, upper) if pads is None else pads[index]
        outputs = count(size, k, s, d, (before, after), ceil and pads is not None)
        places = torch.arange(outputs).unsqueeze(1) * s + torch.arange(k) * d - before  # of x itself
        inside = (places >= 0) & (places < size)
        taken = x.index_select(axis, places.clamp(0, size - 1).reshape(-1)).unflatten(axis, (outputs, k))
        shape = [outputs, k] + [1] * (x.dim() - axis - 1)
        if kind == "max":
            lowest = float("-inf") if x.is_floating_point() else torch.iinfo(x.dtype).min
            x = taken.masked_fill(~inside.reshape(shape), lowest).amax(axis + 1)
            continue
        x = taken.masked_fill(~inside.reshape(shape), 0).sum(axis + 1)
        if kind == "mean":
            counted = (places < size + after) if include else inside
            x = x / counted.sum(1).to(x.dtype).reshape([outputs] + [1] * (x.dim() - axis - 1))
    return x


def max_pool_indices(x: torch.Tensor, planes: torch.Tensor, column_major: bool) -> torch.Tensor:
    """Indices within planes, as torch gives them, as those within the whole of x."""
    size = 1
    for each in x.shape[2:]:
        size = size * each
    if column_major:
        strides, total = [], 1
        for each in x.shape[2:]:
            strides.append(total)
            total = total * each
        rest, moved = planes, torch.zeros_like(planes)
        for each, stride in zip(reversed(x.shape[2:]), reversed(strides), strict=True):
            moved = moved + (rest % each) * stride
            rest = rest // each
        planes = moved
    offsets = torch.arange(x.shape[0] * x.shape[1]).reshape([x.shape[0], x.shape[1]] + [1] * (x.dim() - 2))
    return planes + offsets * size


def max_unpool(x: torch.Tensor, indices: torch.Tensor, sizes: Sequence[Any]) -> torch.Tensor:
    """A tensor of zeros of these sizes with x's elements at indices that count through all of it."""
    total: Any = 1
    for size in sizes:
        total = total * size
    return torch.zeros(total, dtype=x.dtype).scatter(0, indices.reshape(-1), x.reshape(-1)).reshape(list(sizes))


def crop(x: torch.Tensor, pads: Sequence[tuple[Any, Any]], more: Sequence[int]) -> torch.Tensor:
    """What a transposed convolution made without padding: longer by `more` zeros, then without its borders."""
    for index, ((before, after), added) in enumerate(zip(pads, more, strict=True)):
        axis = 2 + index
        x = F.pad(x, [0, 0] * (x.dim() - 1 - axis) + [0, added]) if added else x
        x = x.narrow(axis, before, x.shape[axis] - before - after)
    return x


def crop_to(x: torch.Tensor, sizes: Sequence[Any], more: Sequence[int], upper: bool) -> torch.Tensor:
    """As `crop`, to these sizes; of an odd border, the larger half goes after if `upper`, else before.

    Zeros follow where there is too little.
    """
    pads = []
    for size, have, added in zip(sizes, x.shape[2:], more, strict=True):
        whole = torch.sym_max(0, have + added - size)
        pads.append((whole // 2, whole - whole // 2) if upper else (whole - whole // 2, whole // 2))
    found = crop(x, pads, more)
    short = [size - have for size, have in zip(sizes, found.shape[2:], strict=True)]
    return F.pad(found, [each for lack in reversed(short) for each in (0, lack)])


def times(sizes: Sequence[Any], stride: Sequence[int]) -> list[Any]:
    """Each size times its stride."""
    return [size * step for size, step in zip(sizes, stride, strict=True)]
