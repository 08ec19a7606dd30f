"""What only moves elements."""

from __future__ import annotations

from typing import Any

import torch


def part(x: torch.Tensor, axis: int, start: Any, end: Any, step: int) -> torch.Tensor:
    """Elements start to end of an axis in steps, by Python's rules."""
    return x[(slice(None),) * axis + (slice(start, end, step),)]


def backwards(x: torch.Tensor, axis: int, start: Any, end: Any, step: int) -> torch.Tensor:
    """Elements of an axis from `start` down to before `end`, in steps below 0: as Python, but torch has none."""
    size = x.shape[axis]
    start = start + size if start < 0 else start
    end = end + size if end < 0 else end
    start = torch.sym_max(-1, torch.sym_min(start, size - 1))
    end = torch.sym_max(-1, torch.sym_min(end, size - 1))
    # Element i from the front is element size - 1 - i of the flipped axis.
    return part(x.flip(axis), axis, size - 1 - start, torch.sym_max(size - 1 - start, size - 1 - end), -step)


def depth_to_space(x: torch.Tensor, size: int, depth_first: bool) -> torch.Tensor:
    """[N, C, H, W] to [N, C / size^2, H size, W size]; depth_first: the block's place is the channel's first part."""
    n, c, h, w = x.shape
    depth = c // (size * size)
    if depth_first:
        blocks = x.reshape(n, size, size, depth, h, w).permute(0, 3, 4, 1, 5, 2)
    else:
        blocks = x.reshape(n, depth, size, size, h, w).permute(0, 1, 4, 2, 5, 3)
    return blocks.reshape(n, depth, h * size, w * size)


def space_to_depth(x: torch.Tensor, size: int, depth_first: bool) -> torch.Tensor:
    """[N, C, H, W] to [N, C size^2, H / size, W / size], the other way round."""
    n, c, h, w = x.shape
    blocks = x.reshape(n, c, h // size, size, w // size, size)
    blocks = blocks.permute(0, 3, 5, 1, 2, 4) if depth_first else blocks.permute(0, 1, 3, 5, 2, 4)
    return blocks.reshape(n, c * size * size, h // size, w // size)


def reverse_sequence(x: torch.Tensor, lengths: torch.Tensor, time: int, batch: int) -> torch.Tensor:
    """The first lengths[b] elements along time of each b reversed, the others as they are."""
    moved = x.movedim((time, batch), (0, 1))
    places = torch.arange(moved.shape[0]).unsqueeze(1)
    sources = torch.where(places < lengths, lengths - 1 - places, places)
    index = sources.reshape(sources.shape + (1,) * (moved.dim() - 2)).expand(moved.shape)
    return moved.gather(0, index).movedim((0, 1), (time, batch))
