"""Subclasses of torch's layers that compute what these compute, and such that do not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import niwaki
from niwaki.modules.plain import is_conv2d, is_linear, pads_same


class Casting(nn.Linear):
    """As timm writes it."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return F.linear(input, self.weight.to(dtype=input.dtype), bias=self.bias)


class Calling(nn.Linear):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input)


class Scaled(nn.Linear):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return F.linear(input, self.weight * 2, self.bias)


class Unbiased(nn.Linear):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return F.linear(input, self.weight)


class Activated(nn.Linear):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return F.linear(input, self.weight, self.bias).relu_()


class Two(nn.Linear):
    def forward(self, input: torch.Tensor, other: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return F.linear(input + other, self.weight, self.bias)


@pytest.mark.parametrize(("kind", "plain"), [
    (nn.Linear, True), (Casting, True), (Calling, True), (Scaled, False), (Unbiased, False), (Activated, False),
    (Two, False),
])  # fmt: skip
def test_linear_layers(kind: type[nn.Linear], plain: bool) -> None:
    assert is_linear(kind(8, 4)) == plain
    if kind is not Unbiased:  # without a bias, it is one
        assert is_linear(kind(8, 4, bias=False)) == plain
    assert not is_linear(nn.Conv2d(8, 4, 1)) and not is_linear(nn.MultiheadAttention(8, 2).out_proj)


class Named(nn.Conv2d):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return F.conv2d(
            input, weight=self.weight, bias=self.bias, stride=self.stride, padding=self.padding, groups=self.groups,
            dilation=self.dilation,
        )  # fmt: skip


class Same(nn.Conv2d):
    """Pads so that there are as many outputs as inputs over the stride, as TensorFlow does."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        ends = [
            max(0, (-(-n // s) - 1) * s + d * (k - 1) + 1 - n)
            for n, k, s, d in zip(input.shape[-2:], self.kernel_size, self.stride, self.dilation, strict=True)
        ]
        if any(ends):
            input = F.pad(input, [ends[1] // 2, ends[1] - ends[1] // 2, ends[0] // 2, ends[0] - ends[0] // 2])
        return F.conv2d(input, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class SameOfOnes(Same):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input + 1) if input.shape[-1] % 2 else super().forward(input)


class Standardized(nn.Conv2d):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self._conv_forward(input, self.weight - self.weight.mean(), self.bias)


class Rectified(nn.Conv2d):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(F.relu(input))


class Unpadded(nn.Conv2d):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return F.conv2d(input, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


@pytest.mark.parametrize(("kind", "options", "plain"), [
    (nn.Conv2d, {"kernel_size": 3, "padding_mode": "reflect", "padding": 1}, True), (Named, {"kernel_size": 3}, True),
    (Named, {"kernel_size": (3, 1), "stride": (2, 1), "padding": 1, "dilation": 2, "groups": 2}, True),
    (Same, {"kernel_size": 1, "stride": 2}, True), (Same, {"kernel_size": 3}, False),
    (Same, {"kernel_size": 2, "stride": 2}, False), (Same, {"kernel_size": 3, "stride": 2}, False),
    (Standardized, {"kernel_size": 3}, False),
    (Unpadded, {"kernel_size": 3}, True), (Unpadded, {"kernel_size": 3, "padding": 1}, False),
    (Rectified, {"kernel_size": 3}, False),
])  # fmt: skip
def test_convolutions(kind: type[nn.Conv2d], options: dict[str, Any], plain: bool) -> None:
    assert is_conv2d(kind(4, 6, **options)) == plain
    assert not is_conv2d(nn.Linear(4, 6))


class Counting(nn.Linear):
    """Keeps something of what it saw."""

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        self.seen += input.sum()
        return F.linear(input, self.weight, self.bias)


def test_looking_leaves_nothing_behind() -> None:
    layer = Counting(8, 4)
    assert not is_linear(layer) and layer.seen == 0
    niwaki.Pruner(nn.Sequential(layer, nn.Linear(4, 4)), niwaki.PruneConfig(0.5))
    assert layer.seen == 0


def test_a_plain_subclass_is_compressed_and_runs_natively() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        Named(4, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), Casting(8, 4)
    ).eval()
    x = torch.randn(16, 4, 9, 9)
    small, report = niwaki.compress(net, x, sparsity=0.5, scope="local")
    assert all(row.scheme != "float32" and row.zeros > 0 for row in report) and report.zeros >= 0.5
    assert "torch" not in {step.kernel for step in niwaki.compile(small, (x[:1],)).plan}
    pruned = niwaki.prune(net, sparsity=0.5, scope="local", importance="second_order", calibration=x)
    with torch.no_grad():
        assert F.cosine_similarity(small(x).flatten(), pruned(x).flatten(), 0) > 0.99


@pytest.mark.parametrize(("kind", "options", "same"), [
    (Same, {"kernel_size": 3}, True), (Same, {"kernel_size": (3, 2), "stride": (2, 3), "dilation": (1, 2)}, True),
    (Same, {"kernel_size": 2, "stride": 2, "groups": 2, "bias": False}, True), (SameOfOnes, {"kernel_size": 3}, False),
    (nn.Conv2d, {"kernel_size": 3, "padding": "same"}, False), (Unpadded, {"kernel_size": 3, "padding": 1}, False),
    (Standardized, {"kernel_size": 3}, False), (Rectified, {"kernel_size": 3}, False),
])  # fmt: skip
def test_convolutions_that_pad_as_tensorflow(kind: type[nn.Conv2d], options: dict[str, Any], same: bool) -> None:
    assert pads_same(kind(4, 6, **options)) == same
    assert not pads_same(nn.Linear(4, 6))


def test_they_become_a_pad_and_a_convolution() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        Same(4, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), Same(8, 8, 3, stride=2, groups=8), nn.ReLU(),
        Same(8, 12, (2, 3)), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 4),
    ).eval()  # fmt: skip
    net[1].running_mean.normal_()
    x = torch.randn(16, 4, 14, 11)
    optimized = niwaki.optimize(net)
    with torch.no_grad():
        assert torch.allclose(optimized(x), net(x), atol=1e-5)
    assert {"0.conv", "3.conv", "5.conv"} <= {name for name, _ in optimized.named_modules()}
    assert type(net[0]) is Same
    small, report = niwaki.compress(net, x)
    assert [row.name for row in report] == ["0.conv", "3.conv", "5.conv", "8"]
    assert all(row.scheme == "int8" for row in report)
    plan = niwaki.compile(small, (x[:1],)).plan
    assert not plan.torch
    with torch.no_grad():
        assert F.cosine_similarity(small(x).flatten(), net(x).flatten(), 0) > 0.99
        compiled = niwaki.compile(small, (x,))
        assert torch.equal(compiled(x), niwaki.compile(small, (x[:1],))(x))
        assert F.cosine_similarity(compiled(x).flatten(), net(x).flatten(), 0) > 0.98


def test_their_pads_go_into_the_convolutions() -> None:
    """Also where the padding follows the sizes: how much lies above and left differs from even to odd ones."""
    net = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.ReLU(), Same(8, 12, 3, stride=2), nn.Hardswish(), Same(12, 12, 5, stride=2, groups=12),
        nn.ReLU(), Same(12, 9, (3, 4), stride=(3, 2), dilation=(2, 1)),
    ).eval()  # fmt: skip
    small, _ = niwaki.compress(net, torch.randn(8, 3, 20, 23))
    compiled = niwaki.compile(small, (torch.randn(2, 3, 20, 23),))
    assert not [step for step in compiled.plan if step.op == "pad"]
    for shape in [(2, 3, 20, 23), (1, 3, 21, 24), (3, 3, 8, 31), (1, 3, 1, 1)]:
        x = torch.randn(shape)
        with torch.no_grad():
            wanted, found = small(x), compiled(x)
        assert found.shape == wanted.shape
        assert float((found - wanted).norm() / wanted.norm()) < 0.03


def test_their_names_are_those_of_the_parts() -> None:
    net = nn.Sequential(Same(4, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 1)).eval()
    x = torch.randn(4, 4, 9, 9)
    _, report = niwaki.compress(net, x, skip=("0.conv",))
    assert [row.scheme for row in report] == ["float32", "int8"]
    recipe = niwaki.Recipe("own", quantize=niwaki.QuantizeConfig(skip=("0.conv",)))
    _, report = niwaki.compress(net, x, recipe=recipe)
    assert [row.scheme for row in report] == ["float32", "int8"]
    with pytest.raises(ValueError, match=r"niwaki.compress: skip pattern '0' matches no .*'0.conv'"):
        niwaki.compress(net, x, quantize=niwaki.QuantizeConfig(skip=("0",)))
    quantized = niwaki.quantize(net, x, niwaki.QuantizeConfig(skip=("0.conv",)))
    assert type(quantized[0].conv) is nn.Conv2d and type(quantized[2]) is niwaki.nn.Conv2d


class PadsTwice(nn.Module):
    """One pad that two convolutions read."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Conv2d(4, 8, 3), nn.Conv2d(4, 8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        padded = F.pad(x, (1, 1, 1, 1))
        return self.one(padded) + self.other(padded)


@pytest.mark.parametrize(("net", "pads"), [
    (nn.Sequential(nn.ZeroPad2d((2, 0, 0, 3)), nn.Conv2d(4, 8, 3, padding=1)), 0),
    (nn.Sequential(nn.ConstantPad2d(1, 1.5), nn.Conv2d(4, 8, 3)), 1), (PadsTwice(), 1),
])  # fmt: skip
def test_a_convolution_takes_in_the_zeros_that_it_alone_reads(net: nn.Module, pads: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 4, 9, 9)
    small, _ = niwaki.compress(net.eval(), x)
    compiled = niwaki.compile(small, (x[:1],))
    assert [step.op for step in compiled.plan].count("pad") == pads
    with torch.no_grad():
        assert compiled(x).shape == net(x).shape
        assert F.cosine_similarity(compiled(x).flatten(), net(x).flatten(), 0) > 0.999


@pytest.mark.parametrize(
    "verb", ["compress", "quantize", "prune", "compile", "optimize", "prepare", "equalize", "Pruner"]
)
def test_lazy_layers_that_were_never_called_are_refused(verb: str) -> None:
    net, x = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.LazyLinear(4)), torch.randn(2, 3, 8, 8)
    given = {"prune": niwaki.PruneConfig(0.5), "Pruner": niwaki.PruneConfig(0.5), "compile": (x,)}.get(verb, x)
    options = (given,) if verb != "optimize" else ()
    with pytest.raises(
        ValueError, match=rf"niwaki\.{verb}: '2' \(LazyLinear\) has no weights yet; call the network once"
    ):
        getattr(niwaki, verb)(net, *options)
    net(x)
    if verb != "Pruner":
        getattr(niwaki, verb)(net, *options)
