"""Elements by their indices. Negative ones count from the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


def counted(indices: torch.Tensor, size: Any) -> torch.Tensor:
    """The same indices, counted from the start."""
    return torch.where(indices < 0, indices + size, indices)


def take(x: torch.Tensor, indices: torch.Tensor, axis: int) -> torch.Tensor:
    """x's elements along an axis, in the shape of the indices. Raises IndexError for one that does not exist."""
    return x[(slice(None),) * axis + (indices.to(torch.int64),)]


def gather_elements(x: torch.Tensor, indices: torch.Tensor, axis: int) -> torch.Tensor:
    """found[i][j] = x[indices[i][j]][j] along axis 0, and so along others."""
    return torch.gather(x, axis, counted(indices.to(torch.int64), x.shape[axis]))


def gather_nd(x: torch.Tensor, indices: torch.Tensor, depth: int, batch: int) -> torch.Tensor:
    """x's parts by tuples of `depth` indices, the last axis of `indices`; the first `batch` axes go along."""
    indices = indices.to(torch.int64)
    lead: list[torch.Tensor] = []
    for axis in range(batch):
        places = torch.arange(x.shape[axis])
        lead.append(places.reshape([-1 if each == axis else 1 for each in range(indices.dim() - 1)]))
    return x[(*lead, *(indices[..., each] for each in range(depth)))]


def compress(x: torch.Tensor, condition: torch.Tensor, axis: int) -> torch.Tensor:
    """x's elements along an axis where the condition holds, which may be shorter."""
    return x.index_select(axis, torch.nonzero(condition).reshape(-1))


def unique(x: torch.Tensor, axis: int | None, is_sorted: bool) -> list[torch.Tensor]:
    """Different elements or slices: themselves, where each comes first, where each went, and how many there are."""
    if axis is None:
        values, inverse, counts = torch.unique(x, sorted=True, return_inverse=True, return_counts=True)
        inverse = inverse.reshape(-1)
    else:
        values, inverse, counts = torch.unique(x, sorted=True, return_inverse=True, return_counts=True, dim=axis)
    places = torch.arange(inverse.shape[0])
    first = torch.full_like(counts, inverse.shape[0]).scatter_reduce(0, inverse, places, "amin")
    if not is_sorted:
        order = torch.argsort(first)
        values = values.index_select(0 if axis is None else axis, order)
        first, counts = first[order], counts[order]
        inverse = torch.argsort(order)[inverse]
    return [values, first, inverse, counts]


def item(made: Sequence[torch.Tensor], index: int) -> torch.Tensor:
    """One of several results."""
    return made[index]


def tensor_scatter(
    past: torch.Tensor, update: torch.Tensor, starts: torch.Tensor | None, axis: int, circular: bool
) -> torch.Tensor:
    """`past` with `update` written along an axis from starts[batch] on, around the end if `circular`."""
    places = torch.arange(update.shape[axis])
    places = places.expand(update.shape[0], -1) if starts is None else starts.unsqueeze(1) + places
    if circular:
        places = places % past.shape[axis]
    shape = [1] * update.dim()
    shape[0], shape[axis] = update.shape[0], update.shape[axis]
    return past.scatter(axis, places.to(torch.int64).reshape(shape).expand(update.shape), update)
