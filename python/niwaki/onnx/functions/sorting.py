"""The largest, the first, and what is left of boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


def arg(x: torch.Tensor, axis: int, keep: bool, largest: bool, last: bool) -> torch.Tensor:
    """Where the largest or smallest element of an axis is: the first of equals, or the last."""
    function = torch.argmax if largest else torch.argmin
    if not last:
        return function(x, axis, keepdim=keep)
    return x.shape[axis] - 1 - function(x.flip(axis), axis, keepdim=keep)


def top(x: torch.Tensor, count: Any, axis: int, largest: bool, is_sorted: bool) -> Sequence[torch.Tensor]:
    """The `count` largest or smallest elements of an axis, in order, and where they are; the first of equals first."""
    values, indices = torch.sort(x, dim=axis, descending=largest, stable=True)
    return values.narrow(axis, 0, count), indices.narrow(axis, 0, count)


def item(made: Sequence[torch.Tensor], index: int) -> torch.Tensor:
    """One of several results."""
    return made[index]


def non_max_suppression(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    most: torch.Tensor | None,
    overlap: torch.Tensor | None,
    least: torch.Tensor | None,
    center: bool,
) -> torch.Tensor:
    """[count, 3] of image, class and box: the best boxes of each, without those that overlap better ones too much.

    Args:
        boxes: [images, boxes, 4], two corners, or with `center` x, y, width and height.
        scores: [images, classes, boxes].
        most: boxes for each image and class; none by default.
        overlap: the intersection over union above which a box goes.
        least: the score that a box must exceed.
        center: how boxes are given.
    """
    limit = 0 if most is None else int(most)
    threshold = 0.0 if overlap is None else float(overlap)
    found: list[list[int]] = []
    for image in range(boxes.shape[0]):
        corners = _corners(boxes[image], center)
        for kind in range(scores.shape[1]):
            row = scores[image, kind]
            order = torch.argsort(row, descending=True, stable=True).tolist()
            kept: list[int] = []
            for box in order:
                if len(kept) >= limit or (least is not None and not bool(row[box] > least)):
                    break
                if all(_overlap(corners[box], corners[each]) <= threshold for each in kept):
                    kept.append(box)
            found += [[image, kind, box] for box in kept]
    return torch.tensor(found, dtype=torch.int64).reshape(-1, 3)


def _corners(boxes: torch.Tensor, center: bool) -> list[list[float]]:
    if center:
        middle, half = boxes[:, :2], boxes[:, 2:] / 2
        low, high = middle - half, middle + half
    else:
        low, high = torch.minimum(boxes[:, :2], boxes[:, 2:]), torch.maximum(boxes[:, :2], boxes[:, 2:])
    return torch.cat([low, high], 1).tolist()


def _overlap(a: list[float], b: list[float]) -> float:
    height = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    width = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    shared = height * width
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / both if both > 0 else 0.0
