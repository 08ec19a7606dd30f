"""Which weights go: scores of weights or blocks, and the masks that keep the best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

BLOCK = 4


def scores_of(weight: torch.Tensor, pattern: str) -> torch.Tensor:
    """Magnitudes of what is pruned together.

    Args:
        weight: [O, I, ...]; I is a multiple of 4 for 'block4'.

    Returns:
        The weight's shape for 'unstructured'; [O, I / 4, ...] for 'block4', the norms of the blocks.
    """
    weight = weight.detach()
    if pattern == "unstructured":
        return weight.abs()
    blocks = weight.reshape(len(weight), -1, BLOCK, *weight.shape[2:])
    norms: torch.Tensor = torch.linalg.vector_norm(blocks, dim=2)
    return norms


def expand(keep: torch.Tensor, shape: torch.Size, pattern: str) -> torch.Tensor:
    """The mask of a weight from that of its scores."""
    return keep if pattern == "unstructured" else keep.repeat_interleave(BLOCK, dim=1).reshape(shape)


def keep_largest(scores: Sequence[torch.Tensor], sparsity: float) -> list[torch.Tensor]:
    """Masks that drop the round(sparsity * n) lowest of all n scores, exactly; among equals, the first ones."""
    flat: NDArray[np.float32] = torch.cat([score.reshape(-1) for score in scores]).numpy()
    keep = np.ones(len(flat), dtype=bool)
    count = round(sparsity * len(flat))
    if count:
        threshold = np.partition(flat, count - 1)[count - 1]
        keep[flat < threshold] = False
        ties = np.flatnonzero(flat == threshold)
        keep[ties[: count - np.count_nonzero(~keep)]] = False
    parts = torch.from_numpy(keep).split([score.numel() for score in scores])
    return [part.reshape(score.shape) for part, score in zip(parts, scores, strict=True)]
