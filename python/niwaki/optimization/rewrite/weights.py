"""Convolutions whose weights are made of their parameters in every call, as where they are standardized."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from niwaki.modules.plain import is_conv2d, made_parameters, pads_same
from niwaki.optimization.rewrite.padding import SamePad2d


def rewritten(module: nn.Module) -> nn.Module | None:
    """An nn.Conv2d that has these weights; after a `pad`, as `conv`, where the layer pads by `same_padding`."""
    if not isinstance(module, nn.Conv2d) or is_conv2d(module) or pads_same(module):
        return None
    same = False
    made = made_parameters(module, same=False)
    if made is None:
        same, made = True, made_parameters(module, same=True)
    if made is None:
        return None
    weight, bias = made
    conv = nn.Conv2d(
        module.in_channels, module.out_channels, module.kernel_size, module.stride,  # type: ignore[arg-type]
        0 if same else module.padding, module.dilation, module.groups, bias is not None,  # type: ignore[arg-type]
    )  # fmt: skip
    conv.weight = nn.Parameter(weight)
    conv.bias = None if bias is None else nn.Parameter(bias)
    if not same:
        return conv
    return nn.Sequential(OrderedDict(pad=SamePad2d(module.kernel_size, module.stride, module.dilation), conv=conv))
