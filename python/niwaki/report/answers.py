"""Answers of classifiers: how many stay what they were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from niwaki.modules.layer import Layer

# Heads with such words in their names make embeddings, whose largest element is no answer.
_EMBEDDING = ("proj", "embed")


@dataclass(frozen=True)
class Answers:
    """Inputs whose largest score, of some classes, stayed the same.

    Attributes:
        kept: how many did.
        count: of how many, at least 1.
        classes: that there are, at least 2.
    """

    kept: int
    count: int
    classes: int

    def __post_init__(self) -> None:
        if not (0 <= self.kept <= self.count and self.count >= 1 and self.classes >= 2):
            raise ValueError(f"Answers: {self.kept} of {self.count}, with {self.classes} classes, cannot be.")

    @property
    def share(self) -> float:
        """Of the answers, those that were kept, 0 to 1."""
        return self.kept / self.count


class Scores:
    """Finds the scores of classes in what a network returns, where they are scores of classes.

    They are if they are called `logits`, or if a single tensor [N, C] is the output of the last linear layer, whose
    name tells of no embedding, and whose rows are not of length 1. Where the caller measures an accuracy, any single
    tensor [N, C] is.

    Args:
        last: the layer that ran last, and its name; None where there is none.
        evaluated: whether the caller measures an accuracy.
    """

    def __init__(self, last: tuple[str, Layer] | None, *, evaluated: bool) -> None:
        self._last, self._evaluated = last, evaluated

    def of(self, output: Any) -> torch.Tensor | None:
        """Scores [N, C], C at least 2; None where these are no classes."""
        named = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
        if isinstance(named, torch.Tensor):
            return named if _is_table(named) else None
        if not isinstance(output, torch.Tensor) or not _is_table(output):
            return None
        return output if self._evaluated or self._of_a_head(output) else None

    def _of_a_head(self, output: torch.Tensor) -> bool:
        if self._last is None:
            return False
        name, layer = self._last
        if layer.op != "linear" or len(layer.weight) != output.shape[1]:
            return False
        if any(word in name.lower() for word in _EMBEDDING):
            return False
        lengths = output.double().norm(dim=1)
        return not torch.allclose(lengths, torch.ones_like(lengths), atol=1e-3)


def _is_table(x: torch.Tensor) -> bool:
    return x.dim() == 2 and x.shape[1] >= 2 and len(x) >= 1 and x.is_floating_point()


class Tally:
    """Counts answers over calls."""

    def __init__(self, scores: Scores) -> None:
        self._scores = scores
        self._kept = self._count = self._classes = 0

    def add(self, before: Any, now: Any) -> None:
        """Counts a call: what the network returned as it was, and what it returns now."""
        a, b = self._scores.of(before), self._scores.of(now)
        if a is None or b is None or a.shape != b.shape:
            return
        self._kept += int((a.argmax(1) == b.argmax(1)).sum())
        self._count += len(a)
        self._classes = a.shape[1]

    @property
    def answers(self) -> Answers | None:
        """What was counted; None where nothing was."""
        return Answers(self._kept, self._count, self._classes) if self._count else None
