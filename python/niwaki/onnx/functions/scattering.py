"""Elements written to places. Negative indices count from the end."""

from __future__ import annotations

import torch

from niwaki.onnx.functions.indexing import counted
from niwaki.onnx.functions.sizes import product

_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def scatter_elements(
    x: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor, axis: int, how: str
) -> torch.Tensor:
    """x with x[indices[i][j]][j] = updates[i][j] along axis 0, and so along others; or added to it, and so on."""
    indices = counted(indices.to(torch.int64), x.shape[axis])
    if how == "none":
        return x.scatter(axis, indices, updates)
    return x.scatter_reduce(axis, indices, updates, _REDUCTIONS[how])


def scatter_nd(x: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor, depth: int, how: str) -> torch.Tensor:
    """x with parts written, by tuples of `depth` indices, the last axis of `indices`; or added to it, and so on."""
    indices = indices.to(torch.int64)
    places = tuple(indices[..., each] for each in range(depth))
    if how in ("none", "add"):
        return x.index_put(places, updates, accumulate=how == "add")
    lead = x.shape[:depth]
    flat = torch.zeros_like(places[0])
    for index, size in zip(places, lead, strict=True):
        flat = flat * size + counted(index, size)
    width = product(x.shape[depth:])
    rows, written = x.reshape(-1, width), updates.reshape(-1, width)
    index = flat.reshape(-1, 1).expand(written.shape)
    return rows.scatter_reduce(0, index, written, _REDUCTIONS[how]).reshape(x.shape)
