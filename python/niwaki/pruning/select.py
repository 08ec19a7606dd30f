"""Which weights go: scores of weights or blocks, and the masks that keep the best."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

BLOCK = 4


def n_of_m(pattern: str) -> tuple[int, int] | None:
    """(n, m) of the pattern 'n:m', 1 <= n < m; None for others."""
    found = re.fullmatch(r"(\d{1,3}):(\d{1,3})", pattern)
    if found is None:
        return None
    n, m = int(found[1]), int(found[2])
    return (n, m) if 1 <= n < m else None


def scores_of(weight: torch.Tensor, pattern: str) -> torch.Tensor:
    """Magnitudes of what is pruned together.

    Args:
        weight: [O, I, ...]; I is a multiple of 4 for 'block4'.

    Returns:
        The weight's shape for 'unstructured' and 'n:m'; [O, I / 4, ...] for 'block4', the norms of the blocks.
    """
    weight = weight.detach()
    if pattern != "block4":
        return weight.abs()
    blocks = weight.reshape(len(weight), -1, BLOCK, *weight.shape[2:])
    norms: torch.Tensor = torch.linalg.vector_norm(blocks, dim=2)
    return norms


def expand(keep: torch.Tensor, shape: torch.Size, pattern: str) -> torch.Tensor:
    """The mask of a weight from that of its scores."""
    return keep.repeat_interleave(BLOCK, dim=1).reshape(shape) if pattern == "block4" else keep


def keep_largest(scores: Sequence[torch.Tensor], sparsity: float) -> list[torch.Tensor]:
    """Masks that drop the round(sparsity * n) lowest of all n scores, exactly; among equals, the first ones."""
    count = round(sparsity * sum(score.numel() for score in scores))
    return drop_smallest(scores, count)


def drop_smallest(scores: Sequence[torch.Tensor], count: int) -> list[torch.Tensor]:
    """Masks that drop the `count` lowest of all scores, exactly; among equals, the first ones."""
    if not scores:
        return []
    flat: NDArray[np.float32] = torch.cat([score.detach().reshape(-1).cpu() for score in scores]).numpy()
    keep = np.ones(len(flat), dtype=bool)
    if count:
        threshold = np.partition(flat, count - 1)[count - 1]
        keep[flat < threshold] = False
        ties = np.flatnonzero(flat == threshold)
        keep[ties[: count - np.count_nonzero(~keep)]] = False
    parts = torch.from_numpy(keep).split([score.numel() for score in scores])
    return [part.reshape(score.shape) for part, score in zip(parts, scores, strict=True)]


def keep_n_of_m(scores: torch.Tensor, n: int, m: int) -> torch.Tensor:
    """The mask that keeps the n largest of each m consecutive input channels.

    Args:
        scores: [O, I, ...], I a multiple of m.
    """
    groups = scores.reshape(len(scores), -1, m, *scores.shape[2:])
    largest = groups.topk(n, dim=2).indices
    return torch.zeros_like(groups, dtype=torch.bool).scatter_(2, largest, True).reshape(scores.shape)


def choose(scores: Sequence[torch.Tensor], pattern: str, scope: str, share: float) -> list[torch.Tensor]:
    """Masks of scores with `share` of them dropped: of all together, or of each.

    With 'n:m', `share` may be lower than the pattern's: then only the lowest of what it drops go, and at its own share
    exactly n of each m are left.
    """
    pair = n_of_m(pattern)
    if pair is None:
        if scope == "global":
            return keep_largest(scores, share)
        return [keep_largest([score], share)[0] for score in scores]
    full = [keep_n_of_m(score, *pair) for score in scores]
    part = min(1.0, share / (1 - pair[0] / pair[1]))
    # What the pattern keeps is never dropped.
    rest = [torch.where(keep, torch.inf, score) for keep, score in zip(full, scores, strict=True)]
    counts = [round(part * int((~keep).sum())) for keep in full]
    if scope == "global":
        return drop_smallest(rest, sum(counts))
    return [drop_smallest([score], count)[0] for score, count in zip(rest, counts, strict=True)]
