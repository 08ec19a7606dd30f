"""Which values are uint8, with which scales, and that the uint8 operators give the bits they are defined to give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from core_reference import Graph
from lowered import check_u8, lower, quantized, reference
from torch import nn
from torch.nn import functional as F

from niwaki.capture import capture


class Between(nn.Module):
    """A function between two convolutions: its result is wanted as uint8."""

    def __init__(self, function: Callable[..., Any], channels: int = 8, **parts: nn.Module) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.function = function
        self.parts = nn.ModuleDict(parts)
        self.last = nn.Conv2d(channels, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x)
        y = self.function(self.parts, y) if len(self.parts) else self.function(y)
        return self.last(y)


def images(*sizes: tuple[int, ...]) -> list[tuple[torch.Tensor]]:
    return [(torch.randn(size),) for size in sizes or ((2, 3, 16, 12), (3, 3, 22, 18))]


def operators(graph: Graph) -> list[str]:
    """Between the first layer and the last one."""
    ops = graph.ops()
    return ops[2:-1]


def shuffle(x: torch.Tensor, groups: int = 2) -> torch.Tensor:
    n, c, h, w = x.shape
    return x.view(n, groups, c // groups, h, w).transpose(1, 2).contiguous().view(n, c, h, w)


def mutate(x: torch.Tensor) -> torch.Tensor:
    y = F.relu_(x)
    y += 0.5
    return x + y


# name -> (what lies between the layers, its channels, the operators that it becomes)
CASES: dict[str, tuple[Callable[..., Any], int, list[str]]] = {
    "relu": (F.relu, 8, ["clamp"]),
    "relu in place": (lambda x: F.relu(x, inplace=True), 8, ["clamp"]),
    "relu6": (lambda x: F.relu6(4 * x), 8, ["table"]),
    "clamp": (lambda x: x.clamp(min=-0.25), 8, ["clamp"]),
    "relu of a value with other readers": (lambda x: torch.cat([F.relu(x), x], 1), 16, ["table", "concat"]),
    "hardswish": (F.hardswish, 8, ["table"]),
    "silu": (F.silu, 8, ["table"]),
    "gelu": (F.gelu, 8, ["table"]),
    "leaky relu": (lambda x: F.leaky_relu(x, 0.1), 8, ["table"]),
    "tables in a row": (lambda x: torch.exp(-(torch.tanh(x) * 0.5 + 1)), 8, ["table"]),
    "tensor and number": (lambda x: (2 * x + 1) / 3 - 0.1, 8, ["table"]),
    "hardswish by hand": (lambda x: x * F.relu6(x + 3) / 6, 8, ["table", "mul", "table"]),
    "add": (lambda x: torch.tanh(x) + x, 8, ["table", "add"]),
    "add to itself": (lambda x: x + x, 8, ["add"]),
    "sub": (lambda x: F.relu(x) - torch.sigmoid(x), 8, ["table", "table", "table", "add"]),
    "mutation with later readers": (mutate, 8, ["clamp", "table", "add"]),
    "mul": (lambda x: x * torch.sigmoid(x), 8, ["table", "mul"]),
    "squeeze and excite": (lambda x: torch.sigmoid(F.adaptive_avg_pool2d(x, 1)) * x, 8, ["adaptive_avg_pool2d",
        "table", "mul"]),
    "cat": (lambda x: torch.cat([x, torch.sigmoid(x)], dim=1), 16, ["table", "concat"]),
    "chunk": (lambda x: torch.cat(x.chunk(4, dim=1)[::-1], dim=1), 8, ["slice"] * 4 + ["concat"]),
    "slice of channels": (lambda x: x[:, 1:6:2], 3, ["slice"]),
    "every second pixel": (lambda x: x[:, :, ::2, 1::2], 8, ["slice", "slice"]),
    "crop": (lambda x: x[:, :, 1:-1, 2:-1], 8, ["slice", "slice"]),
    "one channel": (lambda x: torch.cat([x, x[:, 5].unsqueeze(1)], 1), 9, ["slice", "reshape", "reshape", "concat"]),
    "pad": (lambda x: F.pad(F.relu(x), (1, 2, 0, 1)), 8, ["clamp"]),  # the convolution pads itself
    "pad channels": (lambda x: F.pad(x, (0, 0, 0, 0, 3, 2)), 13, ["pad"]),
    "pad with a value": (lambda x: F.pad(x, (1, 1), value=0.5), 8, ["pad"]),
    "shuffle by views": (shuffle, 8, ["channel_shuffle"]),
    "shuffle": (lambda x: F.channel_shuffle(x, 4), 8, ["channel_shuffle"]),
    "pixel shuffle": (lambda x: F.pixel_shuffle(x, 2), 2, ["reshape", "permute", "reshape"]),
    "upsample": (lambda x: F.interpolate(x, scale_factor=(2, 3)), 8, ["upsample_nearest2d"]),
    "upsample, exact": (lambda x: F.interpolate(x, scale_factor=2, mode="nearest-exact"), 8, ["upsample_nearest2d"]),
    "nearest": (lambda x: F.interpolate(x, size=(21, 5)), 8, ["resize"]),
    "nearest by a factor": (lambda x: F.interpolate(x, scale_factor=1.7, mode="nearest-exact"), 8, ["resize"]),
    "bilinear": (lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"), 8, ["resize"]),
    "bilinear, corners": (lambda x: F.interpolate(x, (9, 31), mode="bilinear", align_corners=True), 8, ["resize"]),
    "bilinear of the size": (lambda x: F.interpolate(F.avg_pool2d(x, 3), x.shape[2:], mode="bilinear"), 8,
                             ["avg_pool2d", "resize"]),
    "bilinear and a sum": (lambda x: x + F.interpolate(F.max_pool2d(x, 2), scale_factor=2, mode="bilinear"), 8,
                           ["max_pool2d", "resize", "add"]),
    "bicubic": (lambda x: F.interpolate(x, scale_factor=1.5, mode="bicubic"), 8, ["resize"]),
    "larger": (lambda x: torch.maximum(x, torch.tanh(x) * 0.5 + 0.1), 8, ["table", "extreme"]),
    "smaller, then relu": (lambda x: F.relu(torch.minimum(x, torch.sigmoid(x))), 8, ["table", "extreme", "clamp"]),
    "slopes": (lambda x: F.prelu(x, torch.linspace(-0.5, 1.5, 8)), 8, ["prelu"]),
    "up and down": (lambda x: x + F.interpolate(F.avg_pool2d(x, 2), scale_factor=2), 8, ["avg_pool2d",
        "upsample_nearest2d", "add"]),
    "max pool": (lambda x: F.max_pool2d(x, 3, 2, 1), 8, ["max_pool2d"]),
    "max pool, ceil, dilated": (lambda x: F.max_pool2d(x, (3, 2), 2, ceil_mode=True, dilation=(1, 2)), 8,
                                ["max_pool2d"]),
    "average pool": (lambda x: F.avg_pool2d(x, 2), 8, ["avg_pool2d"]),
    "average pool, borders": (lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False), 8,
                              ["avg_pool2d"]),
    "average pool, counted": (lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True), 8, ["avg_pool2d"]),
    "average pool, divisor": (lambda x: F.avg_pool2d(x, 2, divisor_override=3), 8, ["avg_pool2d"]),
    "adaptive pool": (lambda x: F.adaptive_avg_pool2d(x, (3, 2)), 8, ["adaptive_avg_pool2d"]),
    "mean, kept": (lambda x: x.mean((-1, -2), keepdim=True), 8, ["adaptive_avg_pool2d"]),
    "there and back": (lambda x: x.mean((2, 3))[:, :, None, None] * x, 8, ["adaptive_avg_pool2d", "reshape", "reshape",
        "mul"]),
    "dropout, identity, clone": (lambda x: F.dropout(x, 0.5, False).contiguous().clone().detach(), 8, []),
    "roll and flip": (lambda x: x.roll(1, 2).flip(3), 8, ["roll", "flip"]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_lies_between_layers_is_uint8(name: str) -> None:
    function, channels, wanted = CASES[name]
    graph = check_u8(Between(function, channels), *images(), error=0.06)
    assert operators(graph) == wanted
    assert "dequantize" not in graph.ops()


ROWS: dict[str, tuple[Callable[..., Any], list[str]]] = {
    "largest": (lambda x: F.max_pool1d(x, 3, 2, 1), ["max_pool2d"]),
    "largest, apart": (lambda x: F.max_pool1d(x, 2, 1, dilation=3), ["max_pool2d"]),
    "mean": (lambda x: F.avg_pool1d(x, 2), ["avg_pool2d"]),
    "mean, borders": (lambda x: F.avg_pool1d(x, 3, 2, 1, True, False), ["avg_pool2d"]),
    "linear": (lambda x: F.interpolate(x, scale_factor=2, mode="linear"), ["resize"]),
    "nearest": (lambda x: F.interpolate(x, scale_factor=1.05), ["resize"]),
    "mean of parts": (lambda x: F.adaptive_avg_pool1d(x, 3), ["adaptive_avg_pool2d"]),
}


@pytest.mark.parametrize("name", ROWS)
def test_operators_of_rows_are_uint8(name: str) -> None:
    function, wanted = ROWS[name]

    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(3, 8), nn.Linear(8, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = function(self.first(x).transpose(1, 2))
            return self.last(y.transpose(1, 2))

    graph = check_u8(Rows(), *images((2, 15, 3), (3, 22, 3)), error=0.06)
    assert [op for op in operators(graph) if op not in ("reshape", "permute")] == wanted
    assert "dequantize" not in graph.ops()


def test_a_float32_part_of_a_concatenation_is_rounded_by_itself() -> None:
    """What comes from layers stays uint8."""

    def function(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, x.cummax(3)[0], F.relu(x)], 1)

    graph = check_u8(Between(function, 24), *images(), error=0.06)
    assert graph.ops().count("dequantize") == 1  # for the largest
    assert operators(graph)[-1] == "concat"


class Norms(nn.Module):
    """Batch norms that no convolution takes: after a concatenation, in two dimensions and in one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, padding=1)
        self.second, self.third = nn.BatchNorm2d(10), nn.BatchNorm1d(10)
        self.last, self.fc = nn.Conv2d(10, 10, 1), nn.Linear(10, 4)
        for norm in (self.second, self.third):
            norm.running_mean.uniform_(-1, 1)
            norm.running_var.uniform_(0.5, 2)
            nn.init.uniform_(norm.weight, -1, 1)
            nn.init.uniform_(norm.bias, -1, 1)
        with torch.no_grad():
            self.second.weight[2] = 0.0  # nothing but its bias is left

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        y = self.last(F.relu(self.second(torch.cat([y, torch.tanh(y)], 1))))
        return self.fc(self.third(y.mean((2, 3))))


def test_batch_norms_on_their_own() -> None:
    graph = check_u8(Norms(), *images(), error=0.1)
    assert graph.ops().count("conv2d") == 4
    assert not {"channel_affine", "dequantize"} & set(graph.ops())


class Scaled(nn.Module):
    """Constants per channel, as layer scale is written."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1)
        self.gain = nn.Parameter(torch.tensor([1.0, -2.0, 0.0, 0.25]).view(4, 1, 1))
        self.shift = nn.Parameter(torch.tensor([1.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.gain * self.conv(x) - self.shift)


def test_constants_per_channel() -> None:
    graph = check_u8(Scaled(), *images(), error=0.05)
    assert operators(graph) == ["conv2d", "table"]


class Tokens(nn.Module):
    """Pixels become tokens, which linear layers read: moved as uint8."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, 4)
        self.a, self.b = nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(F.gelu(self.a(self.patch(x).flatten(2).transpose(1, 2))))


def test_linear_layers_on_tokens() -> None:
    graph = check_u8(Tokens(), *images(), error=0.05)
    assert operators(graph) == ["reshape", "permute", "linear", "table"]


class Stream(nn.Module):
    """A layer norm reads the residual stream: it stays float32, and layers round what they read of it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.a, self.b = nn.LayerNorm(8), nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.b(F.gelu(self.a(self.norm(x))))
        return x + self.b(F.relu(self.a(self.norm(x))))


def test_residual_streams_stay_float32() -> None:
    small, ranges = quantized(Stream(), (torch.randn(2, 5, 8) * 10,))

    with reference():
        (stage,) = lower(capture(small, (torch.randn(2, 5, 8),)), ranges).stages
    ops = stage.graph.ops()
    assert "dequantize" not in ops and "add" not in ops
    assert ops.count("quantize") == 2 and ops.count("linear") == 4
    for node in stage.graph.nodes:
        assert bool(node.quantizations) == (node.op in ("quantize", "table", "clamp") or node.name in ("a", "a_2"))


class Block(nn.Module):
    """A permuted layer norm that a convolution and a sum read: the sum gets it as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.conv = nn.LayerNorm(3), nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return x + self.conv(x)


def test_float32_values_are_rounded_for_those_who_read_uint8_alone() -> None:
    small, ranges = quantized(Block(), *images())
    with reference():
        (stage,) = lower(capture(small, *images()[:1]), ranges).stages
    assert stage.graph.ops() == ["permute", "layer_norm", "permute", "quantize", "conv2d", "binary"]


def scales(graph: Graph, op: str) -> list[tuple[float, int]]:
    return [node.quantizations[0] for node in graph.nodes if node.op == op and node.quantizations]


class Parts(nn.Module):
    """Two values of unlike size that meet in a concatenation, and that others read, too."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.a, self.b, self.c = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), nn.Conv2d(8, 4, 1)
        self.d = nn.Conv2d(4, 4, 1)
        with torch.no_grad():
            self.b.weight.copy_(self.a.weight * factor)
            self.b.bias.copy_(self.a.bias * factor)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        a, b = self.a(x), self.b(x)
        return self.c(torch.cat([a, b], 1)), self.d(a)


def test_parts_of_a_concatenation_that_are_alike_share_a_scale() -> None:
    graph = check_u8(Parts(1.5), *images())
    assert "table" not in graph.ops()
    assert len(set(scales(graph, "conv2d") + scales(graph, "concat"))) == 1


def test_parts_that_are_not_alike_keep_their_own() -> None:
    graph = check_u8(Parts(50.0), *images())
    first, second = scales(graph, "conv2d")
    assert first[0] < second[0] / 20
    assert graph.ops().count("table") == 1  # the small one, rounded once more where the two are joined
    assert scales(graph, "concat") == [second] == scales(graph, "table")


class Halves(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 8, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        with torch.no_grad():
            self.a.weight[4:] *= 0.01
            self.a.bias[4:] *= 0.01

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        a, b = self.a(x).chunk(2, 1)
        return self.b(a), self.c(b)


def test_small_parts_of_a_split_have_a_scale_of_their_own() -> None:
    graph = check_u8(Halves(), *images())
    found = sorted(scale for scale, _ in scales(graph, "quantize"))[:2]
    assert found[0] < found[1] / 20


def test_a_pad_that_only_excludes_costs_no_steps() -> None:
    function = lambda x: F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=-1e4), 3, 2)  # noqa: E731
    graph = check_u8(Between(function), *images())
    assert operators(graph) == ["pad", "max_pool2d"]
    assert scales(graph, "pad") == scales(graph, "conv2d")[:1]
    (pad,) = (node for node in graph.nodes if node.op == "pad")
    assert pad.attributes["q"] == 0


def test_a_pad_that_is_read_as_it_is_widens_the_range() -> None:
    graph = check_u8(Between(lambda x: F.pad(x, (0, 1, 0, 1), value=-30.0)), *images(), error=0.2)
    (scale, _), *_ = scales(graph, "pad")
    assert scale > 30 / 255


def test_values_that_are_said_to_be_floats_are_rounded_for_layers_alone() -> None:
    small, _ = quantized(Between(lambda x: torch.tanh(x) + x), *images())
    names = [node.name for node in capture(small, images()[0]).program().graph.nodes if "add" in node.name]
    graph = check_u8(Between(lambda x: torch.tanh(x) + x), *images(), floats=names)
    assert "add" not in graph.ops() and "binary" in graph.ops()


def test_an_input_is_rounded_after_what_is_computed_of_it() -> None:
    class Normalized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv((x - 0.5) / 0.25)

    assert check_u8(Normalized(), *images()).ops()[-2:] == ["quantize", "conv2d"]


def test_results_are_float32() -> None:
    class Ends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.relu(self.conv(x))

    assert check_u8(Ends(), *images()).ops() == ["quantize", "conv2d", "unary"]
