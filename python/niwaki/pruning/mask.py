"""The mask of a pruned weight, as a parametrization."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize


class Mask(nn.Module):
    """weight = original where the mask is set, else 0.

    As a parametrization, it stays in force whatever an optimizer does to the original, and masked weights get no
    gradient.

    Attributes:
        mask: bool, of the weight's shape; True is kept.
    """

    mask: torch.Tensor

    def __init__(self, mask: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask.to(torch.bool))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        # where, not a product: NaN times 0 is NaN, and -1 times 0 is -0.
        return torch.where(self.mask, weight, torch.zeros((), dtype=weight.dtype, device=weight.device))

    def right_inverse(self, weight: torch.Tensor) -> torch.Tensor:
        return weight

    def extra_repr(self) -> str:
        return f"{1 - self.mask.float().mean().item():.1%} pruned" if self.mask.numel() else "empty"


def find_mask(layer: nn.Module) -> Mask | None:
    """The mask on a layer's weight, if it has one."""
    if not parametrize.is_parametrized(layer, "weight"):
        return None
    for step in layer.parametrizations["weight"]:  # type: ignore[index]
        if isinstance(step, Mask):
            return step
    return None


def mask_of(layer: nn.Module) -> torch.Tensor:
    """The mask in force on a layer's weight; all True where there is none."""
    present = find_mask(layer)
    return torch.ones_like(original_of(layer), dtype=torch.bool) if present is None else present.mask


def set_mask(layer: nn.Module, mask: torch.Tensor) -> None:
    """Masks a layer's weight; a mask that is there already is replaced.

    The mask comes before other parametrizations, such as fake quantization: their ranges are those of what is left.
    """
    present = find_mask(layer)
    mask = mask.to(device=original_of(layer).device, dtype=torch.bool)
    if present is not None:
        present.mask.copy_(mask)
    elif parametrize.is_parametrized(layer, "weight"):
        layer.parametrizations["weight"].insert(0, Mask(mask))  # type: ignore[index, union-attr]
    else:
        parametrize.register_parametrization(layer, "weight", Mask(mask))


def original_of(layer: nn.Module) -> nn.Parameter:
    """The parameter behind a layer's weight, and behind its mask."""
    if parametrize.is_parametrized(layer, "weight"):
        original: nn.Parameter = layer.parametrizations["weight"].original  # type: ignore[index, union-attr]
        return original
    weight: Any = layer.weight
    return weight  # type: ignore[no-any-return]


def masked_first(layer: nn.Module) -> bool:
    """Whether a mask can go before what else computes a layer's weight, from one tensor of its shape.

    What follows has to keep zeros, as fake quantization does; it says so with an attribute `keeps_zeros`.
    """
    if not parametrize.is_parametrized(layer, "weight"):
        return False
    steps: Any = layer.parametrizations["weight"]  # type: ignore[index]
    return bool(steps.is_tensor) and all(isinstance(s, Mask) or getattr(s, "keeps_zeros", False) for s in steps)


def bake_mask(layer: nn.Module) -> None:
    """Writes the zeros into the weight and takes the mask away; other parametrizations stay."""
    present = find_mask(layer)
    if present is None:
        return
    steps: Any = layer.parametrizations["weight"]  # type: ignore[index]
    if len(steps) == 1:
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
        return
    with torch.no_grad():
        original_of(layer).copy_(present(original_of(layer)))
    rest = [step for step in steps if step is not present]
    for index, step in enumerate(rest):
        steps[index] = step
    del steps[len(rest)]
