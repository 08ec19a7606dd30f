"""Convolutions that pad their inputs in a way of their own: a pad, and a convolution with zeros or none."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from niwaki.modules.plain import pads_same, same_padding


class SamePad2d(nn.Module):
    """Pads with zeros so that a convolution without padding gives ceil(size / stride) outputs, as TensorFlow does.

    Args:
        kernel_size, stride, dilation: of the convolution, vertical and horizontal.

    Shape:
        float32 [..., H, W] to float32 [..., H', W'].
    """

    def __init__(self, kernel_size: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.dilation = kernel_size, stride, dilation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.pad(x, same_padding(self.kernel_size, self.stride, self.dilation, x.shape[-2:]))


class Pad(nn.Module):
    """nn.functional.pad with fixed arguments."""

    def __init__(self, ends: tuple[int, ...], mode: str) -> None:
        super().__init__()
        self.ends, self.mode = ends, mode

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.pad(x, self.ends, mode=self.mode)

    def extra_repr(self) -> str:
        return f"{self.ends}, mode='{self.mode}'"


def own_pad(module: nn.modules.conv._ConvNd) -> Pad | None:
    """What a convolution's padding_mode does before it; None where it pads with zeros."""
    if module.padding_mode == "zeros":
        return None
    return Pad(tuple(module._reversed_padding_repeated_twice), module.padding_mode)


def rewritten(module: nn.Module) -> nn.Module | None:
    """`pad` and `conv` in place of a Conv2d that pads by `same_padding`, or in a mode other than zeros."""
    if not isinstance(module, nn.Conv2d):
        return None
    pad: nn.Module | None = None
    if pads_same(module):
        pad = SamePad2d(module.kernel_size, module.stride, module.dilation)
    elif type(module).forward is nn.Conv2d.forward and type(module)._conv_forward is nn.Conv2d._conv_forward:
        pad = own_pad(module)
    if pad is None:
        return None
    conv = nn.Conv2d(
        module.in_channels, module.out_channels, module.kernel_size, module.stride, 0, module.dilation,  # type: ignore[arg-type]
        module.groups, module.bias is not None,
    )  # fmt: skip
    conv.weight, conv.bias = module.weight, module.bias
    return nn.Sequential(OrderedDict(pad=pad, conv=conv))
