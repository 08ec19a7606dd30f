"""Options of fine-tuning."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from niwaki.options import says_its_options


@says_its_options
@dataclass(frozen=True)
class FinetuneConfig:
    """How a network is trained while, and after, it is made small.

    The steps are those of one schedule: zeros grow over the first part, then the network trains with its masks, and
    over the last part with weights and activations rounded as they will be.

    Attributes:
        epochs: walks through the training data, at least 1.
        batch: inputs of a step, where niwaki makes the batches.
        prune_share: part of the steps over which zeros grow, 0 to 1. Second order prunes at once, before the first.
        quantize_share: part of the steps, the last ones, with fake quantization, 0 to 1. Codebooks are not trained:
            they are fitted at the end, whatever it is.
        learning_rate: of AdamW, above 0: it rises to this over the first twentieth of the steps, then falls to 0 along
            a cosine. Batch norms are folded, so it is lower than in training from scratch.
        weight_decay: of AdamW, at least 0.
        distillation: what the answers of the original network count beside the labels, 0 to 1; see DistillationLoss.
        temperature: of the distillation, above 0.
        learned_steps: scales are trained, too; see niwaki.prepare.
    """

    epochs: int = 10
    batch: int = 128
    prune_share: float = 0.3
    quantize_share: float = 0.25
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    distillation: float = 0.9
    temperature: float = 4.0
    learned_steps: bool = False

    def __post_init__(self) -> None:
        for field in ("epochs", "batch"):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"FinetuneConfig: {field} must be a whole number of at least 1, not {value!r}.")
        for field in ("prune_share", "quantize_share", "distillation"):
            _check(self, field, lambda x: 0 <= x <= 1, "a number from 0 to 1")
        for field in ("learning_rate", "temperature"):
            _check(self, field, lambda x: x > 0, "a number above 0")
        _check(self, "weight_decay", lambda x: x >= 0, "a number of at least 0")
        if self.prune_share + self.quantize_share > 1:
            raise ValueError(
                "FinetuneConfig: prune_share and quantize_share are parts of the same steps and add up to at most 1, "
                f"not to {self.prune_share + self.quantize_share:.3g}."
            )
        if not isinstance(self.learned_steps, bool):
            raise TypeError(f"FinetuneConfig: learned_steps must be True or False, not {self.learned_steps!r}.")

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of a step, counted from 0, of so many in all."""
        warm = max(1, steps // 20)
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _check(config: FinetuneConfig, field: str, allowed: Any, words: str) -> None:
    value = getattr(config, field)
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and allowed(value)
    if not good:
        raise ValueError(f"FinetuneConfig: {field} must be {words}, not {value!r}.")
