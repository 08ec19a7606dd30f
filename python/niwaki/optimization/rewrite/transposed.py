"""Transposed convolutions as ordinary ones, an output channel for each phase: no zeros are multiplied."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from niwaki.optimization.rewrite.along_time import channels_as_moments, frames, moments_as_channels
from niwaki.optimization.rewrite.wrapper import AsConv2d, is_plain


class ConvTransposeAsConv2d(AsConv2d):
    """A transposed convolution along one, two or three dimensions.

    With a stride of s, output s m + r is the sum over u of x[m - u] w[s u + r]: for each phase r < s an ordinary
    convolution with every s-th weight, backwards. Their outputs are interleaved, and cut where the padding says. A
    dilation beside a stride is zeros in w, whole blocks of them, which sparse kernels pass over.

    Shape:
        float32 [N, C, L], [N, C, H, W] or [N, C, T, H, W] to float32 [N, O, ...], and without N.
    """

    groups: int

    def __init__(self, module: nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d) -> None:
        settings = (module.kernel_size, module.stride, module.padding, module.dilation, module.output_padding)
        axes = [_Axis(*each) for each in zip(*settings, strict=True)]  # type: ignore[arg-type]
        # Time, height and width; what is not there has one element.
        missing = 3 - len(axes)
        weight = module.weight.detach()[(slice(None),) * 2 + (None,) * missing]
        every = [_Axis(1, 1, 0, 1, 0)] * missing + axes
        bias = None if module.bias is None else module.bias.repeat_interleave(math.prod(a.stride for a in axes))
        _, *image = every
        super().__init__(
            module, moments_as_channels(_phases(weight, every, module.groups)), stride=(1, 1),
            padding=tuple(axis.pad for axis in image), dilation=tuple(axis.apart for axis in image), bias=bias,
        )  # fmt: skip
        self._axes, self._missing = every, missing

    @property
    def bias(self) -> torch.Tensor | None:
        """That of the layer that it stands for: phases have it in common."""
        return None if self.conv.bias is None else self.conv.bias[:: math.prod(axis.stride for axis in self._axes)]

    def _original(self, weight: torch.Tensor) -> torch.Tensor:
        whole = _of_phases(channels_as_moments(weight, self._axes[0].taps), self._axes, self.groups)
        return whole[(slice(None),) * 2 + (0,) * self._missing]

    def forward(self, x: torch.Tensor, output_size: Sequence[int] | None = None) -> torch.Tensor:
        count = 3 - self._missing
        batched = x.dim() == count + 2
        x = x if batched else x.unsqueeze(0)
        x = x.unsqueeze(2) if count == 1 else x
        axes = self._axes[min(self._missing, 1) :]
        sizes = [axis.size(size) for axis, size in zip(axes, x.shape[2:], strict=True)]
        if output_size is not None:
            given = [1] * (len(axes) - count) + list(output_size[-count:])
            for axis, size, wanted in zip(axes, sizes, given, strict=True):
                least = size - axis.more
                if not least <= wanted < least + max(axis.stride, axis.dilation):
                    raise ValueError(f"output_size {list(output_size)} cannot be that of inputs of {list(x.shape)}.")
            sizes = given
            # Zeros at the end change nothing but how many outputs there are.
            x = nn.functional.pad(x, [end for axis in axes[::-1] for end in (0, axis.dilation)])
        y = self._over_time(x) if count == 3 else self._interleaved(self.conv(x))
        inside = [slice(axis.first, axis.first + size) for axis, size in zip(axes, sizes, strict=True)]
        y = y[(slice(None), slice(None), *inside)]
        y = y.squeeze(2) if count == 1 else y
        return y if batched else y.squeeze(0)

    def _interleaved(self, y: torch.Tensor) -> torch.Tensor:
        """Phases of rows and columns, which are channels, become rows and columns."""
        _, rows, columns = self._axes
        if rows.stride == columns.stride:
            return nn.functional.pixel_shuffle(y, rows.stride) if rows.stride > 1 else y
        y = y.unflatten(1, (-1, rows.stride, columns.stride))
        return y.permute(0, 1, 4, 2, 5, 3).flatten(4, 5).flatten(2, 3)

    def _over_time(self, x: torch.Tensor) -> torch.Tensor:
        """Of [N, C, T, H, W]: all phases, interleaved."""
        time, rows, columns = self._axes
        if time.pad:
            x = nn.functional.pad(x, (0, 0, 0, 0, time.pad, time.pad))
        seen = frames(x, time.taps, 1, time.apart, self.groups)
        y = self.conv(seen.flatten(0, 1))
        if time.stride > 1:  # of each channel the moments, which lie before its rows
            apart = y.unflatten(1, (-1, time.stride, rows.stride * columns.stride))
            y = apart.transpose(1, 2).flatten(0, 1).flatten(1, 2)
        film: torch.Tensor = self._interleaved(y).unflatten(0, (seen.shape[0], seen.shape[1] * time.stride))
        return film.transpose(1, 2)


class _Axis:
    """What a transposed convolution along one axis needs of an ordinary one.

    Attributes:
        stride, dilation: of the transposed one.
        more: its output_padding.
        step: of one of its weights to the next, in the phases' weights one after the other; zeros lie between.
        taps, apart: kernel size and dilation of each phase.
        pad: zeros at both ends.
        first: of the interleaved outputs, which one is the first of the result.
    """

    def __init__(self, kernel: int, stride: int, padding: int, dilation: int, more: int) -> None:
        self.kernel, self.stride, self.padding, self.dilation, self.more = kernel, stride, padding, dilation, more
        # A dilation of whole strides reaches one phase alone, and is one of the phases' convolution.
        self.step, self.apart = (dilation, 1) if dilation % stride else (stride, dilation // stride)
        self.taps = -(-(self.step * (kernel - 1) + 1) // stride)
        reach = self.apart * (self.taps - 1)
        beyond = dilation * (kernel - 1) + 1 + more - stride - padding
        self.pad = max(0, reach - padding // stride, -(-beyond // stride))
        self.first = padding - stride * (reach - self.pad)

    def size(self, size: int) -> int:
        """Of the result."""
        return (size - 1) * self.stride - 2 * self.padding + self.dilation * (self.kernel - 1) + self.more + 1


def _phases(weight: torch.Tensor, axes: Sequence[_Axis], groups: int) -> torch.Tensor:
    """Weights [I, O / groups, *kernel] of a transposed convolution as [O * strides, I / groups, *taps], phase last."""
    count = len(axes)
    w = weight.new_zeros((*weight.shape[:2], *(axis.taps * axis.stride for axis in axes)))
    w[_places(axes)] = weight
    w = w.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
    for place in reversed(range(count)):
        w = w.unflatten(2 + place, (axes[place].taps, axes[place].stride))
    taps, phases = range(2, 2 + 2 * count, 2), range(3, 3 + 2 * count, 2)
    backwards: torch.Tensor = w.permute(0, *phases, 1, *taps).flatten(0, count).flip(list(range(2, 2 + count)))
    return backwards


def _of_phases(weight: torch.Tensor, axes: Sequence[_Axis], groups: int) -> torch.Tensor:
    """The weights that `_phases` took."""
    count = len(axes)
    w = weight.flip(list(range(2, 2 + count))).unflatten(0, (-1, *(axis.stride for axis in axes)))
    pairs = [place for axis in range(count) for place in (2 + count + axis, 1 + axis)]
    w = w.permute(0, 1 + count, *pairs)
    for place in range(count):
        w = w.flatten(2 + place, 3 + place)
    found: torch.Tensor = w[_places(axes)].unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
    return found


def _places(axes: Sequence[_Axis]) -> tuple[slice, ...]:
    """Where in all weights of the phases those of the transposed convolution lie; behind the channels."""
    every = slice(None)
    return every, every, *(slice(0, axis.step * (axis.kernel - 1) + 1, axis.step) for axis in axes)


def rewritten(module: nn.Module) -> nn.Module | None:
    """What stands for a transposed convolution."""
    kinds = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    if not isinstance(module, kinds) or not any(is_plain(module, kind) for kind in kinds):
        return None
    return ConvTransposeAsConv2d(module)
