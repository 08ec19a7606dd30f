"""Distillation: a compressed network learns from the answers of the network that it was."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from niwaki.modules.copies import copy_model

LabelLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class DistillationLoss(nn.Module):
    """Cross entropy with the softened answers of a teacher, and with the labels, as in Hinton et al. (2015).

        criterion = niwaki.DistillationLoss(original)
        for x, y in loader:
            loss = criterion(network(x), x, y)

    The loss is weight * T^2 * KL(teacher / T || student / T) + (1 - weight) * label loss + feature_weight * the mean,
    over `features`, of |student - teacher|^2 / |teacher|^2.

    Under DistributedDataParallel, give `student` as it was before it was wrapped; the criterion itself has no
    parameters to train and is not wrapped.

    Args:
        teacher: the original network. It is copied, runs in eval mode and gets no gradient.
        temperature: T, above 0. The higher, the more the teacher's wrong answers count.
        weight: 0 to 1, the share of the teacher; without labels, its answers are all there is.
        features: names of submodules whose outputs are compared, too; they have the same shapes in both networks.
        feature_weight: what they count, at least 0.
        student: the network that is trained; needed where there are features.
        labels: (logits, labels) to a scalar; cross entropy by default.

    Raises:
        TypeError, ValueError: an argument is not fit; says which and why.
    """

    def __init__(
        self,
        teacher: nn.Module,
        *,
        temperature: float = 4.0,
        weight: float = 0.9,
        features: Sequence[str] = (),
        feature_weight: float = 1.0,
        student: nn.Module | None = None,
        labels: LabelLoss = F.cross_entropy,
    ) -> None:
        super().__init__()
        if not isinstance(teacher, nn.Module):
            raise TypeError(f"niwaki.DistillationLoss: teacher must be a network, not {type(teacher).__name__}.")
        if not _is_number(temperature) or temperature <= 0:
            raise ValueError(f"niwaki.DistillationLoss: temperature must be a number above 0, not {temperature!r}.")
        if not _is_number(weight) or not 0 <= weight <= 1:
            raise ValueError(f"niwaki.DistillationLoss: weight must be a number from 0 to 1, not {weight!r}.")
        if not _is_number(feature_weight) or feature_weight < 0:
            raise ValueError(
                f"niwaki.DistillationLoss: feature_weight must be a number of at least 0, not {feature_weight!r}."
            )
        if isinstance(features, str):
            raise TypeError(f"niwaki.DistillationLoss: features is a tuple of names; write ('{features}',).")
        if features and student is None:
            raise TypeError("niwaki.DistillationLoss: features are compared with those of student=; give it, too.")
        self.temperature, self.weight, self.feature_weight = float(temperature), float(weight), float(feature_weight)
        self.features = tuple(features)
        self._labels = labels
        # A copy: the caller's network keeps its mode, its gradients and its place on the caller's device.
        self.teacher = copy_model(teacher).eval().requires_grad_(False)
        self._seen: dict[str, dict[str, torch.Tensor]] = {"teacher": {}, "student": {}}
        self._hooks = [*self._watch(self.teacher, "teacher"), *self._watch(student, "student")]

    def _watch(self, network: nn.Module | None, who: str) -> list[Any]:
        if network is None:
            return []
        modules = dict(network.named_modules())
        hooks = []
        for name in self.features:
            if name not in modules:
                raise ValueError(f"niwaki.DistillationLoss: the {who} has no module '{name}' to compare.")

            def keep(_: nn.Module, __: Any, output: Any, name: str = name) -> None:
                if not isinstance(output, torch.Tensor):
                    raise TypeError(f"niwaki.DistillationLoss: the output of '{name}' is no tensor; choose another.")
                self._seen[who][name] = output

            hooks.append(modules[name].register_forward_hook(keep))
        return hooks

    def train(self, mode: bool = True) -> DistillationLoss:
        """The teacher stays in eval mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def close(self) -> None:
        """Takes the hooks off the student, which a network with features keeps otherwise."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def forward(
        self,
        output: Any,
        inputs: torch.Tensor | tuple[Any, ...] | Mapping[str, Any],
        labels: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The loss, a scalar.

        Args:
            output: logits of the student, [N, classes] or [N, classes, ...], or what has them as `logits`, as what the
                models of Hugging Face return.
            inputs: what it was called with: a tensor, a tuple of arguments, or a dict of them by name.
            labels: int64 [N] or [N, ...]; None to learn from the teacher alone.
        """
        with torch.no_grad():
            if isinstance(inputs, Mapping):
                wanted = self.teacher(**inputs)
            else:
                wanted = self.teacher(*inputs) if isinstance(inputs, tuple) else self.teacher(inputs)
        output, wanted = _logits(output), _logits(wanted)
        for what, logits in (("student", output), ("teacher", wanted)):
            if not isinstance(logits, torch.Tensor) or logits.dim() < 2:
                raise TypeError(
                    f"niwaki.DistillationLoss: the {what} must give logits, a tensor [N, classes, ...]; take them out "
                    "of what your network returns with a wrapper around it."
                )
        if output.shape != wanted.shape:
            raise ValueError(
                f"niwaki.DistillationLoss: the student gives {list(output.shape)} and the teacher "
                f"{list(wanted.shape)} for the same inputs; both need the same classes."
            )
        loss = soft_cross_entropy(output, wanted, self.temperature)
        if labels is not None:
            loss = self.weight * loss + (1 - self.weight) * self._labels(output, labels)
        return loss + self._compared() if self.features else loss

    def _compared(self) -> torch.Tensor:
        parts = []
        for name in self.features:
            mine, theirs = (self._seen[who].pop(name, None) for who in ("student", "teacher"))
            if mine is None or theirs is None:
                raise RuntimeError(f"niwaki.DistillationLoss: '{name}' did not run before the loss was asked for.")
            if mine.shape != theirs.shape:
                raise ValueError(
                    f"niwaki.DistillationLoss: '{name}' gives {list(mine.shape)} in the student and "
                    f"{list(theirs.shape)} in the teacher; choose modules of one shape."
                )
            parts.append((mine - theirs).square().sum() / theirs.square().sum().clamp_min(1e-12))
        return self.feature_weight * torch.stack(parts).mean()


def soft_cross_entropy(output: torch.Tensor, wanted: torch.Tensor, temperature: float) -> torch.Tensor:
    """T^2 KL(wanted / T || output / T), the mean over everything but the classes (dimension 1)."""
    mine = F.log_softmax(output / temperature, 1)
    theirs = F.log_softmax(wanted / temperature, 1)
    divergence = (theirs.exp() * (theirs - mine)).sum(1)
    return divergence.mean() * temperature**2


def _logits(answer: Any) -> Any:
    return answer if isinstance(answer, torch.Tensor) else getattr(answer, "logits", answer)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
