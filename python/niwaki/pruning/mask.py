"""The mask of a pruned weight, as a parametrization."""

from __future__ import annotations

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


def set_mask(layer: nn.Module, mask: torch.Tensor) -> None:
    """Masks a layer's weight; a mask that is there already is replaced."""
    present = find_mask(layer)
    if present is not None:
        present.mask = mask.to(torch.bool)
    else:
        parametrize.register_parametrization(layer, "weight", Mask(mask))
