"""Convolutions along one or three dimensions as two-dimensional ones."""

from __future__ import annotations

import torch
from torch import nn

from niwaki.optimization.rewrite.padding import own_pad
from niwaki.optimization.rewrite.wrapper import AsConv2d, is_plain, pads


class Conv1dAsConv2d(AsConv2d):
    """A convolution along one dimension: of images one pixel high.

    Shape:
        float32 [N, C, L] or [C, L] to float32 [N, O, L'] or [O, L'].
    """

    def __init__(self, module: nn.Conv1d) -> None:
        self_pad = own_pad(module)
        padding = module.padding if isinstance(module.padding, str) else (0, *module.padding)
        super().__init__(
            module, module.weight.unsqueeze(2), stride=(1, *module.stride), dilation=(1, *module.dilation),
            padding=padding if self_pad is None else (0, 0), bias=module.bias,
        )  # fmt: skip
        self.pad = nn.Identity() if self_pad is None else self_pad

    def _original(self, weight: torch.Tensor) -> torch.Tensor:
        return weight.squeeze(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.conv(self.pad(x).unsqueeze(-2)).squeeze(-2)
        return y


def frames(x: torch.Tensor, count: int, step: int, apart: int, groups: int) -> torch.Tensor:
    """Images for a convolution over height and width that does what one over time does, too.

    Args:
        x: [N, C, T, H, W].
        count, step, apart: of the kernel along time: moments, stride, dilation.
        groups: of the convolution.

    Returns:
        [N, T', count * C, H, W]: with each moment those that the kernel sees, one after the other in each group.
    """
    size = (x.shape[2] - apart * (count - 1) - 1) // step + 1
    seen = [x[:, :, i * apart : i * apart + step * (size - 1) + 1 : step] for i in range(count)]
    if groups > 1 and count > 1:
        parts = (groups, int(x.shape[1]) // groups)  # a number: while it is captured, it may be a size still
        seen = [torch.cat([part.unflatten(1, parts) for part in seen], 2).flatten(1, 2)]
    return (seen[0] if len(seen) == 1 else torch.cat(seen, 1)).transpose(1, 2)


def moments_as_channels(weight: torch.Tensor) -> torch.Tensor:
    """Weights [O, I / groups, T, H, W] for what `frames` makes: [O, T * I / groups, H, W]."""
    return weight.transpose(1, 2).flatten(1, 2)


def channels_as_moments(weight: torch.Tensor, count: int) -> torch.Tensor:
    """What `moments_as_channels` took, of so many moments."""
    found: torch.Tensor = weight.unflatten(1, (count, -1)).transpose(1, 2)
    return found


class Conv3dAsConv2d(AsConv2d):
    """A convolution over time, height and width: of each moment's image, with those that its kernel sees as channels.

    Shape:
        float32 [N, C, T, H, W] or [C, T, H, W] to float32 [N, O, T', H', W'] or [O, T', H', W'].
    """

    def __init__(self, module: nn.Conv3d) -> None:
        ends = pads(module)
        self_pad = own_pad(module)
        weight = module.weight
        inside = ends[1:] if self_pad is None else [(0, 0), (0, 0)]
        even = all(before == after for before, after in inside)
        super().__init__(
            module, moments_as_channels(weight), stride=module.stride[1:], dilation=module.dilation[1:],
            padding=tuple(before for before, _ in inside) if even else "same", bias=module.bias,
        )  # fmt: skip
        self.pad = nn.Identity() if self_pad is None else self_pad
        self._moments = (0, 0) if self_pad is not None else ends[0]

    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    def _original(self, weight: torch.Tensor) -> torch.Tensor:
        return channels_as_moments(weight, self.kernel_size[0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batched = x.dim() == 5
        x = self.pad(x if batched else x.unsqueeze(0))
        if any(self._moments):
            x = nn.functional.pad(x, (0, 0, 0, 0, *self._moments))
        seen = frames(x, self.kernel_size[0], self.stride[0], self.dilation[0], self.groups)
        y: torch.Tensor = self.conv(seen.flatten(0, 1)).unflatten(0, seen.shape[:2]).transpose(1, 2)
        return y if batched else y.squeeze(0)


def rewritten(module: nn.Module) -> nn.Module | None:
    """What stands for a Conv1d or Conv3d."""
    if is_plain(module, nn.Conv1d):
        return Conv1dAsConv2d(module)  # type: ignore[arg-type]
    if is_plain(module, nn.Conv3d):
        return Conv3dAsConv2d(module)  # type: ignore[arg-type]
    return None
