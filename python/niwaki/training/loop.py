"""niwaki.finetune: an ordinary training loop over the phases of a joint schedule."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from niwaki.runs.checkpoint import save_state
from niwaki.runs.progress import track
from niwaki.training.config import FinetuneConfig
from niwaki.training.distillation import DistillationLoss
from niwaki.training.joint import JointTraining, Phase

_log = logging.getLogger("niwaki")
# Bad steps in a row, after which training is given up.
_PATIENCE = 10

# (output, inputs, labels or None) to a scalar.
Criterion = Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]


def train(
    joint: JointTraining,
    data: Any,
    config: FinetuneConfig,
    criterion: Criterion,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> nn.Module:
    """Trains through all phases and returns the result.

    Args:
        joint: the phases.
        data: walked through again and again, such as a loader: inputs, or tuples of inputs and labels.
        config: of the optimizer.
        criterion: the loss.
        checkpoint: a folder that keeps the state of each phase, written every hundred steps; the same call goes on from
            there, with the data from the beginning.
        progress: tells on stderr how far it is.

    Raises:
        ValueError: ten steps in a row had a loss or gradients that are NaN or infinite. A single one is left out, and
            the logger 'niwaki' says where it was.
    """
    guard = _Guard(config.learning_rate)
    for phase in joint:
        state = _Saved(checkpoint, phase)
        optimizer = torch.optim.AdamW(
            phase.network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        done = state.load(optimizer)
        with torch.inference_mode(False), torch.enable_grad():
            steps = range(done, phase.steps)
            for step, (x, y) in zip(track(steps, f"training ({phase.name})", progress), _endless(data), strict=False):
                for group in optimizer.param_groups:
                    group["lr"] = config.rate(phase.begin + step, joint.steps)
                loss = criterion(phase.network(x), x, y)
                optimizer.zero_grad()
                if bool(torch.isfinite(loss)):
                    loss.backward()
                    bad = not_finite(phase.network)
                else:
                    bad = "the loss"
                if guard.passes(bad, phase.begin + step):
                    optimizer.step()
                else:
                    optimizer.zero_grad()
                phase.step()
                if (step + 1) % 100 == 0 or step + 1 == phase.steps:
                    state.save(optimizer, step + 1)
    return joint.result


def distillation(model: nn.Module, config: FinetuneConfig) -> DistillationLoss:
    """The loss that a FinetuneConfig says, with a network as its teacher."""
    return DistillationLoss(model, temperature=config.temperature, weight=config.distillation)


def _endless(data: Any) -> Iterator[tuple[torch.Tensor, torch.Tensor | None]]:
    """Inputs and labels, from the beginning again when they end."""
    while True:
        empty = True
        for item in data:
            empty = False
            pair = item if isinstance(item, (tuple, list)) else (item, None)
            labels = pair[1] if len(pair) > 1 and isinstance(pair[1], torch.Tensor) else None
            yield pair[0], labels
        if empty:
            raise ValueError("niwaki.finetune: the training data is empty, or can be walked through only once.")


def not_finite(network: nn.Module) -> str:
    """The first parameter whose gradient is NaN or infinite, in words; empty where there is none."""
    for name, parameter in network.named_parameters():
        if parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all()):
            return f"the gradient of '{name}'"
    return ""


class _Guard:
    """Leaves out steps that would make the weights NaN, and gives up where there is no other kind."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._row = 0

    def passes(self, bad: str, step: int) -> bool:
        """Whether to take a step; `bad` says what is not finite, if anything."""
        if not bad:
            self._row = 0
            return True
        self._row += 1
        if self._row >= _PATIENCE:
            raise ValueError(
                f"niwaki.finetune: {bad} is NaN or infinite at step {step}, and in the {_PATIENCE - 1} steps before "
                f"it; look at the training data, or lower learning_rate, which is {self._rate:g}."
            )
        _log.warning("training: %s is NaN or infinite at step %d, which is left out", bad, step)
        return False


class _Saved:
    """A phase's state in a folder."""

    def __init__(self, folder: str | os.PathLike[str] | None, phase: Phase) -> None:
        self._path = None if folder is None else Path(folder) / f"{phase.name}.pt"
        self._phase = phase
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)

    def load(self, optimizer: torch.optim.Optimizer) -> int:
        """Steps that are done."""
        if self._path is None or not self._path.exists():
            return 0
        state = torch.load(self._path, weights_only=True)
        self._phase.network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        if self._phase.pruner is not None:
            self._phase.pruner.load_state_dict(state["pruner"])
        return int(state["step"])

    def save(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        if self._path is None:
            return
        pruner = None if self._phase.pruner is None else self._phase.pruner.state_dict()
        state = {
            "step": step, "network": self._phase.network.state_dict(), "optimizer": optimizer.state_dict(),
            "pruner": pruner,
        }  # fmt: skip
        save_state(state, self._path)
