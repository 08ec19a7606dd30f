"""Transposed convolutions as ordinary ones, an output channel for each phase: no zeros are multiplied."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from niwaki.optimization.rewrite.wrapper import AsConv2d, is_plain


class ConvTransposeAsConv2d(AsConv2d):
    """A transposed convolution along one or two dimensions.

    With a stride of s, output s m + r is the sum over u of x[m - u] w[s u + r]: for each phase r < s an ordinary
    convolution with every s-th weight, backwards. Their outputs are interleaved, and cut where the padding says.

    Shape:
        float32 [N, C, L] or [N, C, H, W] to float32 [N, O, ...], and without N.
    """

    def __init__(self, module: nn.ConvTranspose1d | nn.ConvTranspose2d) -> None:
        settings = (module.kernel_size, module.stride, module.padding, module.dilation, module.output_padding)
        axes = [_Axis(*each) for each in zip(*settings, strict=True)]  # type: ignore[arg-type]
        weight = module.weight if len(axes) == 2 else module.weight.unsqueeze(2)
        if len(axes) == 1:
            axes.insert(0, _Axis(1, 1, 0, 1, 0))
        phases = axes[0].stride * axes[1].stride
        bias = None if module.bias is None else module.bias.repeat_interleave(phases)
        super().__init__(
            module, _phases(weight, axes, module.groups), stride=(1, 1), padding=tuple(axis.pad for axis in axes),
            dilation=tuple(axis.apart for axis in axes), bias=bias,
        )  # fmt: skip
        self._axes, self._flat = axes, isinstance(module, nn.ConvTranspose1d)

    def forward(self, x: torch.Tensor, output_size: Sequence[int] | None = None) -> torch.Tensor:
        batched = x.dim() == (3 if self._flat else 4)
        x = x if batched else x.unsqueeze(0)
        x = x.unsqueeze(2) if self._flat else x
        rows, columns = self._axes
        sizes = [axis.size(size) for axis, size in zip(self._axes, x.shape[2:], strict=True)]
        if output_size is not None:
            given = [1, output_size[-1]] if self._flat else list(output_size[-2:])
            for axis, size, wanted in zip(self._axes, sizes, given, strict=True):
                least = size - axis.more
                if not least <= wanted < least + max(axis.stride, axis.dilation):
                    raise ValueError(f"output_size {list(output_size)} cannot be that of inputs of {list(x.shape)}.")
            sizes = given
            # Zeros at the end change nothing but how many outputs there are.
            x = nn.functional.pad(x, (0, columns.dilation, 0, rows.dilation))
        y: torch.Tensor = self.conv(x)
        if rows.stride == columns.stride:
            y = nn.functional.pixel_shuffle(y, rows.stride) if rows.stride > 1 else y
        else:
            y = y.unflatten(1, (-1, rows.stride, columns.stride)).permute(0, 1, 4, 2, 5, 3).flatten(4, 5).flatten(2, 3)
        y = y[:, :, rows.first : rows.first + sizes[0], columns.first : columns.first + sizes[1]]
        y = y.squeeze(2) if self._flat else y
        return y if batched else y.squeeze(0)


class _Axis:
    """What a transposed convolution along one axis needs of an ordinary one.

    Attributes:
        stride, dilation: of the transposed one.
        more: its output_padding.
        taps, apart: kernel size and dilation of each phase.
        pad: zeros at both ends.
        first: of the interleaved outputs, which one is the first of the result.
    """

    def __init__(self, kernel: int, stride: int, padding: int, dilation: int, more: int) -> None:
        self.kernel, self.stride, self.padding, self.dilation, self.more = kernel, stride, padding, dilation, more
        self.taps, self.apart = (-(-kernel // stride), 1) if stride > 1 else (kernel, dilation)
        reach = self.apart * (self.taps - 1)
        beyond = dilation * (kernel - 1) + 1 + more - stride - padding
        self.pad = max(0, reach - padding // stride, -(-beyond // stride))
        self.first = padding - stride * (reach - self.pad)

    def size(self, size: int) -> int:
        """Of the result."""
        return (size - 1) * self.stride - 2 * self.padding + self.dilation * (self.kernel - 1) + self.more + 1


def _phases(weight: torch.Tensor, axes: Sequence[_Axis], groups: int) -> torch.Tensor:
    """Weights [I, O / groups, kH, kW] of a transposed convolution as [O sH sW, I / groups, H, W], by phase last."""
    rows, columns = axes
    ends = (0, columns.taps * columns.stride - columns.kernel, 0, rows.taps * rows.stride - rows.kernel)
    w = nn.functional.pad(weight.detach(), ends).unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
    w = w.unflatten(3, (columns.taps, columns.stride)).unflatten(2, (rows.taps, rows.stride))
    w = w.permute(0, 3, 5, 1, 2, 4).flatten(0, 2)
    backwards: torch.Tensor = w.flip(2, 3)
    return backwards


def rewritten(module: nn.Module) -> nn.Module | None:
    """What stands for a ConvTranspose1d or ConvTranspose2d whose strides and dilations are not both above 1."""
    if not (is_plain(module, nn.ConvTranspose1d) or is_plain(module, nn.ConvTranspose2d)):
        return None
    assert isinstance(module, (nn.ConvTranspose1d, nn.ConvTranspose2d))
    if any(s > 1 and d > 1 for s, d in zip(module.stride, module.dilation, strict=True)):
        return None
    return ConvTransposeAsConv2d(module)
