"""Which weights go: scores of weights or blocks, and the masks that keep the best."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

BLOCK = 4
# Output channels whose lists of blocks a kernel works on side by side: a group of four that follow each other.
SET = 4
# Rows of a kernel's panel, each four input channels at one tap, within which lists are equally long: chunks of rows of
# such a layer end at multiples of these (csrc/kernels/conv/sparse_lists.cc).
SEGMENT = 72


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


def drop_in_sets(
    scores: Sequence[torch.Tensor], groups: Sequence[int], count: int, *, inputs: int = 1
) -> list[torch.Tensor]:
    """Masks that drop the lowest scores, so that the four output channels of a set keep equally many.

    A set is four channels that follow each other within a group of channels; those that are left over at its end are
    free. Sets balance within each SEGMENT of their inputs. There, the best of each of the four stay or go together,
    then the second best, and so on. Such a step counts the mean of what is in it, so no other masks of equal lists lose
    less.

    Args:
        scores: [O, I, ...] of each layer. What is -inf is gone already: it is dropped, and its list may be shorter.
        groups: of channels, of each layer.
        count: how many to drop of all the scores together; the nearest number that whole steps make.
        inputs: of the scores' second axis, how many are four input channels: 1 for blocks, 4 for single weights.
    """
    if not scores:
        return []
    cut = [score.split(max(1, SEGMENT // score[0, 0].numel()) * inputs, 1) for score in scores]
    parts = [_InSets(part, number) for number, of_layer in zip(groups, cut, strict=True) for part in of_layer]
    sizes = np.concatenate([part.sizes for part in parts])
    lowest = np.argsort(np.concatenate([part.means for part in parts]), kind="stable")
    ends = np.cumsum(sizes[lowest])
    keep = np.ones(len(sizes), dtype=bool)
    keep[lowest[ends - sizes[lowest] / 2 <= count - sum(part.gone for part in parts)]] = False
    kept = np.split(keep, np.cumsum([len(part.sizes) for part in parts])[:-1])
    masks = iter([part.mask(own) for part, own in zip(parts, kept, strict=True)])
    return [torch.cat([next(masks) for _ in of_layer], 1) for of_layer in cut]


class _InSets:
    """Scores of a segment by the steps in which they go: those of sets, and each of the channels left over.

    Attributes:
        means: float32, of each step.
        sizes: how many are in it that are not gone.
        gone: scores that are.
    """

    def __init__(self, score: torch.Tensor, groups: int) -> None:
        score = score.detach().cpu()
        self._there = score != -torch.inf
        self.gone = int((~self._there).sum())
        channels = len(score) // max(groups, 1)
        bound, number = channels // SET * SET, score[0].numel() if len(score) else 0
        rows = score.reshape(groups, channels, number)
        best, self._order = rows[:, :bound].sort(dim=2, descending=True, stable=True)
        self._shape = (groups, bound // SET, SET, number)
        four = best.reshape(self._shape)
        there = four != -torch.inf
        mean = torch.where(there, four, 0).sum(2) / there.sum(2).clamp_min(1)
        # Where some of a set are gone, the rest of a worse step may have a better mean. Worse ones come first.
        mean = mean.cummin(2).values.flip(2)
        self._free = rows[:, bound:]
        self._steps = mean.numel()
        self.means: NDArray[np.float32] = torch.cat([mean.flatten(), self._free.flatten()]).numpy()
        sizes = torch.cat([there.sum(2).flip(2).flatten(), (self._free != -torch.inf).flatten()])
        self.sizes: NDArray[np.int64] = sizes.numpy()

    def mask(self, keep: NDArray[np.bool_]) -> torch.Tensor:
        """The mask, of the shape of the scores, from that of the steps."""
        steps, free = torch.from_numpy(keep).split([self._steps, self._free.numel()])
        groups, sets, _, number = self._shape
        ranks = steps.reshape(groups, sets, 1, number).flip(3).expand(self._shape).reshape(self._order.shape)
        bound = torch.zeros(self._order.shape, dtype=torch.bool).scatter_(2, self._order, ranks)
        return torch.cat([bound, free.reshape(self._free.shape)], 1).reshape(self._there.shape) & self._there


def keep_n_of_m(scores: torch.Tensor, n: int, m: int) -> torch.Tensor:
    """The mask that keeps the n largest of each m consecutive input channels.

    Args:
        scores: [O, I, ...], I a multiple of m.
    """
    groups = scores.reshape(len(scores), -1, m, *scores.shape[2:])
    largest = groups.topk(n, dim=2).indices
    return torch.zeros_like(groups, dtype=torch.bool).scatter_(2, largest, True).reshape(scores.shape)


def choose(
    scores: Sequence[torch.Tensor], pattern: str, scope: str, share: float, groups: Sequence[int] | None = None
) -> list[torch.Tensor]:
    """Masks of scores with `share` of them dropped: of all together, or of each.

    With 'n:m', `share` may be lower than the pattern's: then only the lowest of what it drops go, and at its own share
    exactly n of each m are left. With the number of `groups` of channels of each layer, sets balance: see drop_in_sets.
    """
    pair = n_of_m(pattern)
    if groups is not None:
        parts = [(scores, groups)] if scope == "global" else [([s], [g]) for s, g in zip(scores, groups, strict=True)]
        counts = [round(share * sum(score.numel() for score in together)) for together, _ in parts]
        return [
            mask
            for (together, own), count in zip(parts, counts, strict=True)
            for mask in drop_in_sets(together, own, count, inputs=1 if pattern == "block4" else BLOCK)
        ]
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
