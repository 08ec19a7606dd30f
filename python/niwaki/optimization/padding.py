"""Layers that pad their inputs themselves become a pad and a plain convolution, which can be quantized and pruned."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from niwaki.modules import has_hooks, replace_module
from niwaki.plain import pads_same, same_padding


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


def split_padding(model: nn.Module) -> nn.Module:
    """The same copy, with `pad` and `conv` in the place of each convolution that pads its inputs by `same_padding`."""
    for module in list(model.modules()):
        if isinstance(module, nn.Conv2d) and pads_same(module) and not has_hooks(module):
            pad = SamePad2d(module.kernel_size, module.stride, module.dilation)
            model = replace_module(model, module, nn.Sequential(OrderedDict(pad=pad, conv=_plain(module))))
    return model


def _plain(module: nn.Conv2d) -> nn.Conv2d:
    conv = nn.Conv2d(
        module.in_channels, module.out_channels, module.kernel_size, module.stride, 0, module.dilation,  # type: ignore[arg-type]
        module.groups, module.bias is not None,
    )  # fmt: skip
    conv.weight, conv.bias = module.weight, module.bias
    return conv.train(module.training)
