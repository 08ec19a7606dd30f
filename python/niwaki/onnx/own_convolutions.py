"""Convolutions along one or three axes and transposed ones of a quantized file: a two-dimensional one computes each."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from niwaki.nn import grid as _grid_operator  # noqa: F401 (registers niwaki::grid)
from niwaki.nn.layers import QuantizedLayer
from niwaki.onnx.integer_weights import Wide
from niwaki.optimization.rewrite import along_time, transposed
from niwaki.optimization.rewrite.wrapper import AsConv2d

KINDS = (nn.Conv1d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


class OnGrid(nn.Module):
    """A quantized convolution of values that are on a grid, some of which it takes again.

    Args:
        layer: the convolution.
        codes: which inputs are there again.
        grid: scale and zero point of its inputs.

    Shape:
        float32 [N, C, H, W] to float32 [N, O, H', W'].
    """

    _order: torch.Tensor | None

    def __init__(self, layer: QuantizedLayer, codes: Wide, grid: tuple[float, int]) -> None:
        super().__init__()
        self.layer, self._slices, self._grid = layer, codes.slices, grid
        self.register_buffer("_order", torch.tensor(codes.order) if codes.order else None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self._order is not None:
            x = x.index_select(1, self._order)
        elif self._slices:
            x = torch.cat([x, *(x.narrow(1, first, last - first) for first, last in self._slices)], 1)
        y: torch.Tensor = self.layer(torch.ops.niwaki.grid.default(x, *self._grid))
        return y


def as_conv2d(layer: Any, scale: torch.Tensor) -> tuple[AsConv2d, torch.Tensor] | None:
    """The module that computes a layer, and the scale of its convolution's weights.

    Args:
        layer: of KINDS.
        scale: of its weights, float32, which broadcasts to them.

    Returns:
        With it, a scale for each of its output channels, float32 [O, 1, 1, 1]. None where there is no such module, or
        an output channel has several scales.
    """
    made = _rewritten(layer)
    if made is None:
        return None
    twin = copy.deepcopy(layer)  # with scales where the weights are: they go where these go
    twin.weight = nn.Parameter(scale.to(layer.weight).expand_as(layer.weight).contiguous())
    scales = _rewritten(twin)
    assert scales is not None
    found = scales.conv.weight.detach()
    # An output's phases follow each other. Of taps that are not there the scale is 0, and a phase may have none.
    by_output = found.reshape(layer.out_channels, -1)
    each = by_output.amax(1, keepdim=True)
    if bool(((by_output != each) & (by_output != 0)).any()):
        return None
    return made, each.repeat_interleave(len(found) // layer.out_channels, 0)[..., None, None]


def _rewritten(layer: nn.Module) -> AsConv2d | None:
    made = along_time.rewritten(layer) or transposed.rewritten(layer)
    assert made is None or isinstance(made, AsConv2d)
    return made
