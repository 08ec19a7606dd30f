"""Views that are said by places in memory become elements of a tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import GraphModule

from niwaki.capture.settings import hint
from niwaki.lower.canonical.expand import pieces_of, replace
from niwaki.lower.canonical.tracing import decompositions


def elements_for_places(module: GraphModule) -> None:
    """Replaces as_strided, as long as the graph still has what only changes how tensors lie in memory."""
    found = [node for node in module.graph.nodes if node.target is torch.ops.aten.as_strided.default]
    table = decompositions() if found else {}
    for node in found:
        pieces = pieces_of(node, table, _as_strided)
        if pieces is not None:
            replace(module, node, pieces)


def _as_strided(x: torch.Tensor, size: list[int], stride: list[int], storage_offset: int | None = None) -> torch.Tensor:
    """Of a tensor whose memory begins with it and holds it row by row, for all its sizes."""
    sizes: Sequence[Any] = x.shape
    free = [each for each in sizes if isinstance(each, torch.SymInt)]
    if any(hint(each) == 1 for each in free) or not x.is_contiguous() or x.storage_offset() != 0:
        raise ValueError("a view of other memory")
    places = torch.full([], storage_offset or 0, dtype=torch.int64)
    for length, step in zip(size, stride, strict=True):
        places = places[..., None] + torch.arange(length) * step
    return x.reshape([x.numel()]).index_select(0, places.reshape([places.numel()])).reshape(size)
