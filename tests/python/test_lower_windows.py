"""Convolutions, pools, interpolation and sampling of float32, against torch, at several sizes."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from lowered import Of, check, in_torch, lower
from torch import nn
from torch.nn import functional as F

from niwaki.capture import capture


def images(channels: int, *sizes: tuple[int, ...]) -> list[tuple[torch.Tensor]]:
    return [(torch.randn(2 + index, channels, *size),) for index, size in enumerate(sizes)]


SIZES = {1: ((11,), (8,)), 2: ((11, 7), (8, 12)), 3: ((5, 6, 7), (4, 8, 5))}
OPTIONS = [
    {}, {"stride": 2}, {"padding": 1, "bias": False}, {"dilation": 2, "padding": 2}, {"groups": 2},
    {"groups": 4, "padding": "same"}, {"padding": "same", "dilation": 2}, {"padding": "valid"},
    {"padding": 1, "padding_mode": "reflect"}, {"padding": 1, "padding_mode": "circular"},
    {"padding": 2, "padding_mode": "replicate", "stride": 2},
]  # fmt: skip


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_convolutions(axes: int, options: dict) -> None:
    layer = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1](4, 8, 3, **options)
    check(layer, *images(4, *SIZES[axes]))


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize(
    "options", [{}, {"stride": 2, "output_padding": 1}, {"padding": 1, "groups": 2, "dilation": 2}], ids=str
)
def test_transposed_convolutions(axes: int, options: dict) -> None:
    layer = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[axes - 1](4, 6, 3, **options)
    check(layer, *images(4, *SIZES[axes]))


def test_transposed_convolution_to_a_given_size() -> None:
    down, up = nn.Conv2d(4, 8, 3, stride=2, padding=1), nn.ConvTranspose2d(8, 4, 3, stride=2, padding=1)
    function = lambda m, x: m.up(m.down(x), output_size=x.shape[-2:])  # noqa: E731
    check(function, *images(4, (11, 8), (8, 8), (9, 7)), down=down, up=up)


class Routed(nn.Module):
    """Kernels mixed for each input, as CondConv has them: a batch of them is one convolution with groups."""

    def __init__(self, axes: int, **options: Any) -> None:
        super().__init__()
        self.route, self.bias = nn.Linear(4, 3), nn.Parameter(torch.randn(6))
        self.kernels = nn.Parameter(torch.randn(3, 6, 4, *[3] * axes))
        self.function, self.options = (F.conv1d, F.conv2d)[axes - 1], options

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        weight = torch.einsum("nk,k...->n...", self.route(x.flatten(2).mean(2)).softmax(-1), self.kernels)
        many = self.function(x.flatten(0, 1)[None], weight.flatten(0, 1), groups=x.shape[0], **self.options)
        one = self.function(x[0], weight[0], self.bias * weight.mean(), **self.options)
        return many.unflatten(1, (x.shape[0], -1)).squeeze(0), one


@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize(
    "options",
    [{}, {"stride": 2, "padding": 1}, {"padding": "same", "dilation": 2}, {"padding": "valid", "dilation": 2}], ids=str,
)  # fmt: skip
def test_convolutions_whose_weights_are_computed(axes: int, options: dict) -> None:
    check(Routed(axes, **options), *images(4, *SIZES[axes]))


def test_weights_that_are_computed_along_axes_of_their_own() -> None:
    function = lambda m, x: F.conv2d(x, m.w * x.mean((0, 2, 3))[:, None, None], stride=(2, 1), padding=(0, 2))  # noqa: E731
    check(function, *images(4, (11, 7), (8, 12)), w=nn.Parameter(torch.randn(5, 4, 1, 4)))
    transposed = Of(lambda m, x: F.conv_transpose2d(x, m.w * x.mean()), w=nn.Parameter(torch.randn(4, 5, 3, 3)))
    reasons = in_torch(lower(capture(transposed, images(4, (5, 7))[0])))
    assert "aten::conv_transpose2d has a weight that is computed while it runs" in reasons


def test_kernels_that_are_not_square() -> None:
    check(nn.Conv2d(3, 5, (1, 4), stride=(2, 1), padding=(0, 2), dilation=(1, 2)), *images(3, (9, 10), (6, 13)))
    check(nn.Conv1d(3, 5, 4, padding="same"), *images(3, (9,), (6,)))


def test_single_images() -> None:
    check(nn.Conv2d(3, 5, 3), (torch.randn(3, 8, 9),), (torch.randn(3, 7, 5),))
    check(
        lambda x: (F.max_pool2d(x, 2), F.avg_pool2d(x, 2), F.adaptive_avg_pool2d(x, 3)),
        (torch.randn(3, 8, 9),),
        (torch.randn(3, 7, 6),),
    )


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_pools(axes: int) -> None:
    largest = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[axes - 1]
    average = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[axes - 1]
    check(
        lambda x: (largest(x, 2), largest(x, 3, 2, 1), largest(x, 3, 1, 1, dilation=2), largest(x, 3, 2,
            ceil_mode=True), average(x, 2),
                   average(x, 3, 2, 1), average(x, 3, 2, 1, ceil_mode=True), average(x, 3, 1, 1,
                       count_include_pad=False),
                   largest(x, 2, return_indices=True)[0]),
        *images(3, *((13,), (8,)) if axes == 1 else ((13, 9), (8, 12)) if axes == 2 else ((6, 7, 9), (8, 6, 7))),
    )  # fmt: skip


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_adaptive_pools(axes: int) -> None:
    average = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[axes - 1]
    largest = (F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d)[axes - 1]
    check(lambda x: (average(x, 1), average(x, 3), largest(x, 2), average(x, 5)), *images(3, *SIZES[axes]))
    if axes == 2:
        check(lambda x: (average(x, (None, 2)), average(x, (3, 2))), *images(3, *SIZES[2]))
        check(lambda x: (largest(x, (None, 2)), largest(x, (3, None))), *images(3, *SIZES[2]))
    if axes == 3:
        check(lambda x: largest(x, (None, 2, None)), *images(3, *SIZES[3]))


def test_other_pools() -> None:
    check(lambda x: (F.lp_pool2d(x, 2, 3), F.avg_pool2d(x, 2, divisor_override=3), F.avg_pool2d(x, x.shape[2:]),
                     F.max_pool2d(x, x.shape[2:])),
          *images(3, (8, 9), (6, 12)))  # fmt: skip


MODES = {1: ["nearest", "nearest-exact", "linear"], 2: ["nearest", "nearest-exact", "bilinear", "bicubic"],
         3: ["nearest", "nearest-exact", "trilinear"]}  # fmt: skip


@pytest.mark.parametrize(("axes", "mode"), [(axes, mode) for axes in MODES for mode in MODES[axes]])
def test_interpolation(axes: int, mode: str) -> None:
    aligned = [{}] if mode.startswith("nearest") else [{"align_corners": True}, {"align_corners": False}]

    def function(x: torch.Tensor) -> list[torch.Tensor]:
        found = []
        for more in aligned:
            for size in ({"scale_factor": 2}, {"scale_factor": 1.5}, {"scale_factor": 0.5}, {"size": (5, 9, 4)[:axes]}):
                found.append(F.interpolate(x, mode=mode, **size, **more))
            found.append(F.interpolate(x, size=[2 * n + 1 for n in x.shape[2:]], mode=mode, **more))
            found.append(F.interpolate(x, scale_factor=1.7, recompute_scale_factor=True, mode=mode, **more))
        return found

    check(function, *images(2, *SIZES[axes]))


@pytest.mark.parametrize("factor", [0.7, 1.4])
def test_factors_that_float64_rounds_down(factor: float) -> None:
    """0.7 of 80 is 56, but of 90 a little less than 63."""
    sizes = [(90, 80), (100, 45), (340, 360), (20, 85)]
    check(lambda x: F.interpolate(x, scale_factor=factor), *images(1, *sizes))


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_interpolation_that_averages(mode: str) -> None:
    def function(x: torch.Tensor) -> list[torch.Tensor]:
        sizes = [(3, 4), (9, 30), (2 * x.shape[2] // 3, x.shape[3] + 1)]
        found = [F.interpolate(x, size=size, mode=mode, antialias=True) for size in sizes]
        for factor in (0.5, (0.7, 1.3)):
            found.append(F.interpolate(x, scale_factor=factor, mode=mode, antialias=True))
            found.append(F.interpolate(x, scale_factor=factor, mode=mode, antialias=True, recompute_scale_factor=True))
        return [*found, F.interpolate(x, size=sizes[2], mode=mode, antialias=True, align_corners=True)]

    check(function, *images(2, (8, 12), (11, 7)))


def test_a_constant_is_resized() -> None:
    """As a table of positions for images of other sizes; its rows are turned, copied and viewed."""
    table = nn.Parameter(torch.randn(1, 16, 5))

    def function(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
        positions = m.table.reshape(1, 4, 4, 5).permute(0, 3, 1, 2)
        return x + F.interpolate(positions, size=x.shape[1:3], mode="bicubic", antialias=True).permute(0, 2, 3, 1)

    check(function, (torch.randn(2, 6, 8, 5),), (torch.randn(1, 3, 9, 5),), table=table)


@pytest.mark.parametrize("options", [
    {"kernel_size": 3, "padding": 1, "stride": 2}, {"kernel_size": 2, "stride": 2}, {"kernel_size": (3, 2)},
    {"kernel_size": (2, 4), "stride": (3, 1), "dilation": (2, 3), "padding": (0, 2)},
    {"kernel_size": 3, "stride": 4, "dilation": 2, "padding": 1}, {"kernel_size": 2, "stride": 3},
], ids=str)  # fmt: skip
def test_fold(options: dict) -> None:
    def function(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        columns = F.unfold(x, **options)
        return F.fold(columns * columns.sin(), x.shape[2:], **options), F.fold(columns[0], x.shape[2:], **options)

    check(function, *images(2, (8, 12), (11, 7)))


def test_fold_leaves_others_alone() -> None:
    """What is infinite in one place stays there."""
    x = torch.randn(1, 4 * 9, 12)
    x[0, 5, 7] = torch.inf
    check(lambda x: F.fold(x, (6, 8), 3, padding=1, stride=(2, 2)), (x,))


@pytest.mark.parametrize(
    ("mode", "padding", "aligned"),
    list(itertools.product(["bilinear", "nearest", "bicubic"], ["zeros", "border", "reflection"], [False, True])),
)
def test_sampling(mode: str, padding: str, aligned: bool) -> None:
    def function(x: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        return F.grid_sample(x, grid, mode, padding, aligned)

    calls = [
        (torch.randn(2, 3, 5, 6), torch.rand(2, 4, 7, 2) * 3 - 1.5),
        (torch.randn(1, 3, 7, 4), torch.rand(1, 2, 3, 2) * 3 - 1.5),
    ]
    check(function, *calls)


@pytest.mark.parametrize(("mode", "padding", "aligned"), [
    ("bilinear", "zeros", False), ("bilinear", "reflection", True), ("nearest", "border", False),
    ("nearest", "reflection", False),
])  # fmt: skip
def test_sampling_of_volumes(mode: str, padding: str, aligned: bool) -> None:
    calls = [
        (torch.randn(2, 3, 4, 5, 6), torch.rand(2, 3, 4, 7, 3) * 4 - 2),
        (torch.randn(1, 3, 3, 7, 1), torch.rand(1, 2, 3, 2, 3) * 4 - 2),
    ]
    check(lambda x, grid: F.grid_sample(x, grid, mode, padding, aligned), *calls)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("axes", [2, 3])
def test_affine_grids(axes: int, aligned: bool) -> None:
    def function(x: torch.Tensor, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        grid = F.affine_grid(t, list(x.shape), align_corners=aligned)
        return grid, F.grid_sample(x, grid, padding_mode="border", align_corners=aligned)

    shapes = [(2, 3, 3, 5, 6), (1, 3, 4, 9, 4), (3, 3, 1, 1, 2)]
    calls = [(torch.randn(n, c, *size[-axes:]), torch.randn(n, axes, axes + 1)) for n, c, *size in shapes]
    check(function, *calls)


def test_sizes_that_are_rounded() -> None:
    def function(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        height, width = x.shape[2:]
        return (
            F.interpolate(x, size=(math.ceil(height / 2), math.floor(width / 3))),
            F.interpolate(x, size=(math.ceil(height * 1.3), math.floor(width * 1.7))),
        )

    check(function, *images(2, (8, 9), (7, 12), (13, 10)))
