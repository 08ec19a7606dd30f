"""A module that stands for a convolution of another kind and holds a Conv2d."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn


class AsConv2d(nn.Module):
    """Has the settings of the layer that it stands for, which networks' code may read, and `conv`.

    Args:
        module: what it stands for.
        weight, bias: of the Conv2d, [O, I / groups, kH, kW] and [O].
        stride, padding, dilation: of the Conv2d, vertical and horizontal.
    """

    def __init__(
        self,
        module: nn.modules.conv._ConvNd,
        weight: torch.Tensor,
        *,
        stride: tuple[int, ...],
        padding: tuple[int, ...] | str,
        dilation: tuple[int, ...],
        bias: torch.Tensor | None,
    ) -> None:
        super().__init__()
        for name in module.__constants__:
            setattr(self, name, getattr(module, name))
        outputs, inputs, *kernel = weight.shape
        self.conv = nn.Conv2d(
            inputs * module.groups, outputs, kernel, stride, padding, dilation, module.groups, bias is not None,  # type: ignore[arg-type]
        )  # fmt: skip
        with torch.no_grad():
            self.conv.weight.copy_(weight)
            if self.conv.bias is not None and bias is not None:
                self.conv.bias.copy_(bias).requires_grad_(bias.requires_grad)
        self.conv.weight.requires_grad_(module.weight.requires_grad)

    @property
    def weight(self) -> torch.Tensor:
        """That of the layer that it stands for, which networks' code may read, too."""
        return self._original(self.conv.weight)

    @property
    def bias(self) -> torch.Tensor | None:
        """As `weight`."""
        return self.conv.bias

    def _original(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight of the layer that it stands for, of that of its Conv2d."""
        raise NotImplementedError(f"{type(self).__name__} does not say what the weight of its layer was")


def pads(module: nn.modules.conv._ConvNd) -> list[tuple[int, int]]:
    """Zeros before and after along each axis; of padding 'same', too, whose odd one is at the end."""
    if not isinstance(module.padding, str):
        return [(size, size) for size in module.padding]
    if module.padding == "valid":
        return [(0, 0)] * len(module.kernel_size)
    whole = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
    return [(size // 2, size - size // 2) for size in whole]


def is_plain(module: nn.Module, kind: type[Any]) -> bool:
    """Whether a module is of a kind of torch's convolutions, or of a subclass that computes no otherwise."""
    if not isinstance(module, kind):
        return False
    names: Sequence[str] = ("forward", "_conv_forward", "_output_padding")
    return all(getattr(type(module), name, None) is getattr(kind, name, None) for name in names)
