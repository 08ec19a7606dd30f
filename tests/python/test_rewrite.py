"""Layers in another guise become convolutions and linear layers, and answer the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import niwaki
from niwaki.modules.plain import same_padding
from niwaki.optimization.rewrite import rewrite_layers

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")


def check(layer: nn.Module, *inputs: Any, **kwargs: Any) -> nn.Module:
    """The layer that stands for another one, which has the same answer."""
    with torch.no_grad():
        wanted = layer.eval()(*inputs, **kwargs)
        new = rewrite_layers(nn.Sequential(layer))[0].eval()
        found = new(*inputs, **kwargs)
    assert type(new) is not type(layer)
    for a, b in zip(*((y if isinstance(y, tuple) else (y,)) for y in (wanted, found)), strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-5)
    return new


def layers(module: nn.Module) -> list[type[nn.Module]]:
    return [type(part) for part in module.modules() if isinstance(part, (nn.Conv2d, nn.Linear))]


@pytest.mark.parametrize("options", [
    {}, {"stride": 2, "padding": 3}, {"dilation": 2, "groups": 2, "bias": False}, {"padding": "same"}, {"groups": 6},
    {"padding": 2, "padding_mode": "reflect"}, {"padding": "same", "padding_mode": "circular"},
    {"padding": (1,), "padding_mode": "replicate", "stride": 3},
])  # fmt: skip
def test_convolutions_along_one_dimension(options: dict[str, Any]) -> None:
    for kernel in (1, 4, 5):
        layer = nn.Conv1d(6, 12, kernel, **options)
        for x in (torch.randn(2, 6, 17), torch.randn(6, 30)):
            assert layers(check(layer, x)) == [nn.Conv2d]


@pytest.mark.parametrize("options", [
    {}, {"stride": (2, 1, 3), "padding": (1, 2, 0)}, {"dilation": (2, 1, 2), "groups": 2}, {"padding": "same"},
    {"groups": 4, "bias": False}, {"padding": 1, "padding_mode": "replicate"}, {"padding": "valid", "stride": 2},
])  # fmt: skip
def test_convolutions_along_three_dimensions(options: dict[str, Any]) -> None:
    for kernel in (1, 3, (2, 3, 4)):
        layer = nn.Conv3d(4, 8, kernel, **options)
        for x in (torch.randn(2, 4, 7, 9, 8), torch.randn(4, 6, 8, 9)):
            assert layers(check(layer, x)) == [nn.Conv2d]


# Strides and dilations beside each other: equal, one a multiple of the other, with a common factor, without one.
BOTH = (2, 2), (2, 4), (4, 2), (4, 6), (2, 3), (3, 2)


def test_transposed_convolutions() -> None:
    count = 0
    for kernel in (1, 2, 3, 4, 7):
        for stride, dilation in ((1, 1), (2, 1), (3, 1), (5, 1), (1, 2), (1, 3), *BOTH):
            for padding in (0, 1, 2, 5):
                for more in range(max(stride, dilation)):
                    options = {"stride": stride, "dilation": dilation, "padding": padding, "output_padding": more}
                    if (9 - 1) * stride - 2 * padding + dilation * (kernel - 1) + more + 1 < 1:
                        continue
                    layer = nn.ConvTranspose1d(6, 4, kernel, groups=1 + count % 2, bias=count % 3 > 0, **options)
                    new = check(layer, torch.randn(2, 6, 9))
                    assert torch.equal(new.weight, layer.weight) and (new.bias is None) == (layer.bias is None)
                    count += 1
    assert count > 300


@pytest.mark.parametrize("options", [
    {"kernel_size": 2, "stride": 2}, {"kernel_size": 4, "stride": 2, "padding": 1},
    {"kernel_size": (3, 4), "stride": (2, 1), "padding": (1, 0), "output_padding": (1, 0), "groups": 2},
    {"kernel_size": 3, "dilation": 2, "padding": 2}, {"kernel_size": (5, 1), "stride": (3, 2), "output_padding": 1},
    {"kernel_size": 3, "stride": 2, "dilation": 2, "padding": 2, "output_padding": 1, "groups": 2},
    {"kernel_size": (2, 3), "stride": (2, 3), "dilation": (3, 1), "padding": (1, 0), "bias": False},
])  # fmt: skip
def test_transposed_convolutions_of_images(options: dict[str, Any]) -> None:
    layer = nn.ConvTranspose2d(4, 6, **options)
    for x in (torch.randn(3, 4, 5, 7), torch.randn(4, 6, 5)):
        assert layers(check(layer, x)) == [nn.Conv2d]
    if options["kernel_size"] == 2:
        x = torch.randn(1, 4, 5, 7)
        check(layer, x, output_size=[11, 15])
        with pytest.raises(ValueError, match="cannot be that"):
            rewrite_layers(nn.Sequential(layer))[0](x, output_size=[12, 15])


@pytest.mark.parametrize("options", [
    {"kernel_size": 2, "stride": 2}, {"kernel_size": 4, "stride": 2, "padding": 1}, {"kernel_size": 3, "groups": 2},
    {"kernel_size": (3, 4, 2), "stride": (2, 1, 3), "padding": (1, 0, 1), "output_padding": (1, 0, 2), "groups": 2},
    {"kernel_size": 3, "dilation": 2, "padding": 2}, {"kernel_size": (5, 1, 3), "stride": (3, 2, 1), "bias": False},
    {"kernel_size": (2, 3, 3), "stride": (2, 1, 2), "dilation": (2, 3, 3), "padding": (1, 0, 2)},
])  # fmt: skip
def test_transposed_convolutions_of_films(options: dict[str, Any]) -> None:
    layer = nn.ConvTranspose3d(4, 6, **options)
    for x in (torch.randn(3, 4, 3, 5, 7), torch.randn(4, 4, 6, 5)):
        assert layers(check(layer, x)) == [nn.Conv2d]
    if options["kernel_size"] == 2:
        check(layer, torch.randn(1, 4, 3, 5, 7), output_size=[7, 11, 15])


def test_zeros_between_dilated_weights_are_passed_over() -> None:
    """Three of four phases have no weight: they are int8, in a sparse kernel, and as near as others are."""
    torch.manual_seed(0)
    up = nn.ConvTranspose2d(64, 64, 3, stride=2, padding=2, output_padding=1, dilation=2)
    net = nn.Sequential(nn.Conv2d(8, 64, 3, padding=1), nn.ReLU(), up).eval()
    x = torch.randn(8, 8, 24, 20)
    small, _ = niwaki.compress(net, [x], progress=False)
    compiled = niwaki.compile(small, (x[:1],))
    step = next(step for step in compiled.plan if step.name == "2.conv")
    assert step.op == "conv2d" and step.zeros >= 0.75 and "sparse" in step.kernel
    with torch.no_grad():
        wanted = net(x)
    assert float((compiled(x) - wanted).norm() / wanted.norm()) < 0.02


class Standardized(nn.Conv2d):
    """Weights as networks without norms have them."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.weight - self.weight.mean([1, 2, 3], keepdim=True)
        return nn.functional.conv2d(x, weight * 2, self.bias, self.stride, self.padding, self.dilation, self.groups)


class StandardizedSame(Standardized):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(nn.functional.pad(x, same_padding(self.kernel_size, self.stride, (1, 1), x.shape[-2:])))


class Dynamic(nn.Conv2d):
    """Weights that follow from the inputs."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.conv2d(x, self.weight * x.mean(), self.bias)


def test_standardized_weights() -> None:
    x = torch.randn(2, 4, 9, 8)
    assert layers(check(Standardized(4, 6, 3, stride=2, padding=1, groups=2, bias=False), x)) == [nn.Conv2d]
    same = check(StandardizedSame(4, 6, 3, stride=2), x)
    assert isinstance(same, nn.Sequential) and layers(same) == [nn.Conv2d]
    assert type(rewrite_layers(nn.Sequential(Dynamic(4, 6, 3)).eval())[0]) is Dynamic


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_padding_modes(mode: str) -> None:
    layer = nn.Conv2d(3, 4, 3, padding=(1, 2), padding_mode=mode)
    assert layers(check(layer, torch.randn(2, 3, 6, 7))) == [nn.Conv2d]


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("options", [{}, {"kdim": 6, "vdim": 10}, {"bias": False}])
def test_attention(batch_first: bool, options: dict[str, Any]) -> None:
    layer = nn.MultiheadAttention(8, 2, batch_first=batch_first, **options)
    sizes = [8, options.get("kdim", 8), options.get("vdim", 8)]
    q, k, v = (torch.randn(3, n, d) for n, d in zip((5, 7, 7), sizes, strict=True))
    if not batch_first:
        q, k, v = (x.transpose(0, 1) for x in (q, k, v))
    padding = torch.arange(7) >= torch.tensor([7, 4, 1])[:, None]
    bias, causal = torch.randn(6, 5, 7), torch.ones(5, 7, dtype=torch.bool).triu(1)
    for need_weights in (True, False):
        given = {"need_weights": need_weights}
        assert layers(check(layer, q, k, v, **given)) == [nn.Linear] * 4
        check(layer, q, k, v, key_padding_mask=padding, attn_mask=causal, **given)
        check(layer, q, k, v, attn_mask=bias, average_attn_weights=False, **given)
        check(layer, q, k, v, attn_mask=causal, is_causal=True, **given)
    one = [x[0] if batch_first else x[:, 0] for x in (q, k, v)]
    check(layer, *one, key_padding_mask=padding[1])
    more = nn.Sequential(nn.MultiheadAttention(8, 2, add_bias_kv=True))
    assert type(rewrite_layers(more)[0]) is nn.MultiheadAttention


class Reading(nn.Module):
    """Adds what it makes itself of an attention's weights to what the attention makes."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, **options)
        self.out = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.attention
        keys = x[..., : a.kdim]
        read = F.linear(keys, a.k_proj_weight if a.in_proj_weight is None else a.in_proj_weight[8:16])
        if a.in_proj_bias is not None:
            read = read + a.in_proj_bias[16:]
        return self.out(x + a(x, keys, x, need_weights=False)[0] + read)


@pytest.mark.parametrize("options", [{}, {"bias": False}, {"kdim": 6}])
def test_weights_of_an_attention_that_the_network_reads_itself(options: dict[str, Any]) -> None:
    net = Reading(**options).eval()
    x = torch.randn(16, 5, 8)
    plain = niwaki.optimize(net)
    assert layers(plain) == [nn.Linear] * 5
    with torch.no_grad():
        torch.testing.assert_close(plain(x), net(x), rtol=1e-4, atol=1e-5)
    small, report = niwaki.compress(net, x.split(4), progress=False)
    schemes = {row.name: row.scheme for row in report}
    assert schemes["attention.k_proj"] == "float32" and schemes["out"] == "int8"
    with torch.no_grad():
        assert float((small(x) - net(x)).norm() / net(x).norm()) < 0.05


def test_encoders_only_look_at_the_weights_of_their_attention() -> None:
    net = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2, enable_nested_tensor=False)
    _, report = niwaki.compress(net.eval(), torch.randn(16, 5, 8).split(4), progress=False)
    found = [row.scheme for row in report if row.name.endswith("_proj")]
    assert found == ["int8"] * 8


@pytest.mark.parametrize(
    "make", [lambda: nn.Conv1d(4, 4, 3, padding=1), lambda: nn.ConvTranspose1d(4, 4, 3, padding=1)]
)
def test_layers_that_share_a_weight_still_do(make: Callable[[], nn.Module]) -> None:
    net = nn.Sequential(make(), nn.ReLU(), make(), nn.ReLU(), make()).eval()
    net[2].weight = net[0].weight
    plain, x = niwaki.optimize(net), torch.randn(16, 4, 9)
    assert plain[0].conv.weight is plain[2].conv.weight is not plain[4].conv.weight
    assert plain[0].conv.bias is not plain[2].conv.bias
    with torch.no_grad():
        torch.testing.assert_close(plain(x), net(x), rtol=1e-4, atol=1e-5)
    _, report = niwaki.compress(net, x.split(4), sparsity=0.5, skip=("0.conv",), progress=False)
    rows = {row.name: row for row in report}
    assert "it shares a weight with '0.conv', which is skipped by name" in rows["2.conv"].reason
    assert rows["2.conv"].zeros < 0.1 and rows["4.conv"].zeros >= 0.5


def test_linear_layers_of_gpt() -> None:
    class Conv1D(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.randn(6, 4)), nn.Parameter(torch.randn(4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.addmm(self.bias, x.view(-1, 6), self.weight).view(*x.shape[:-1], 4)

    assert layers(check(Conv1D(), torch.randn(2, 3, 6))) == [nn.Linear]


NETWORKS: list[tuple[nn.Module, tuple[int, ...], tuple[int, ...]]] = [
    (nn.Sequential(nn.Conv1d(8, 16, 5, 2, 2), nn.BatchNorm1d(16), nn.ReLU(), nn.Conv1d(16, 8, 3, groups=4)),
     (16, 8, 40), (3, 8, 31)),
    (nn.Sequential(nn.Conv2d(4, 8, 3, 2, 1), nn.ReLU(), nn.ConvTranspose2d(8, 6, 4, 2, 1, groups=2), nn.BatchNorm2d(6),
                   nn.ReLU(), nn.ConvTranspose2d(6, 5, (2, 3), (2, 1))), (16, 4, 12, 12), (2, 4, 10, 18)),
    (nn.Sequential(nn.Conv3d(4, 8, (3, 3, 3), (1, 2, 2), 1), nn.BatchNorm3d(8), nn.ReLU(), nn.Conv3d(8, 4, 1)),
     (8, 4, 5, 8, 8), (2, 4, 3, 10, 7)),
    (nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), 2), (16, 9, 16), (3, 5, 16)),
    (nn.Sequential(nn.Conv2d(4, 8, 3, padding=1, padding_mode="reflect"), nn.ReLU(), nn.Conv2d(8, 8, 3)),
     (16, 4, 9, 9), (2, 4, 12, 7)),
]  # fmt: skip


@pytest.mark.parametrize(("net", "shape", "other"), NETWORKS)
def test_they_are_quantized_and_run_whole(net: nn.Module, shape: tuple[int, ...], other: tuple[int, ...]) -> None:
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
    net = net.eval()
    small, _ = niwaki.compress(net, torch.randn(shape))
    kinds = (nn.modules.conv._ConvNd, nn.Linear, nn.MultiheadAttention, nn.modules.batchnorm._BatchNorm)
    assert not [part for part in small.modules() if isinstance(part, kinds)]
    compiled = niwaki.compile(small, (torch.randn(shape)[:1],))
    assert not compiled.plan.torch
    for x in (torch.randn(shape), torch.randn(other)):
        with torch.no_grad():
            wanted = net(x)
        assert float((compiled(x) - wanted).norm() / wanted.norm()) < 0.05


class Films(nn.Module):
    """What lies between convolutions over time: a sum, a concatenation, a norm that no layer takes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv3d(4, 8, 3, padding=1), nn.Conv3d(8, 8, (1, 3, 3), padding=(0, 1, 1), groups=2)
        self.norm, self.last = nn.BatchNorm3d(16), nn.ConvTranspose3d(16, 3, (2, 4, 3), (2, 2, 1), (0, 1, 1))
        self.norm.running_mean.normal_(0, 0.2)
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x)
        y = torch.cat([torch.relu(self.second(y) + y), y], 1)
        return self.last(torch.relu(self.norm(y)))


def test_films_are_uint8_between_layers() -> None:
    net, x = Films().eval(), torch.randn(8, 4, 5, 8, 6)
    small, _ = niwaki.compress(net, x, observer="minmax", precision="int8")
    compiled = niwaki.compile(small, (x[:1],))
    assert {step.scheme for step in compiled.plan} <= {"int8", "sparse int8", "move"}, compiled.plan
    for each in (x, torch.randn(2, 4, 3, 7, 10)):
        with torch.no_grad():
            wanted = net(each)
        assert float((compiled(each) - wanted).norm() / wanted.norm()) < 0.05


@pytest.mark.parametrize("bound", [nn.ReLU(), nn.ReLU6(), nn.Hardtanh(-0.5, 0.5)])
@pytest.mark.parametrize("axes", [1, 3])
def test_bounds_are_those_of_the_layer_whose_results_are_moved(axes: int, bound: nn.Module) -> None:
    kind = {1: nn.Conv1d, 3: nn.Conv3d}[axes]
    net = nn.Sequential(kind(3, 8, 3, padding=1), bound, kind(8, 8, 3, padding=1), bound, kind(8, 4, 1)).eval()
    x = torch.randn(16, 3, *[6] * axes)
    small, _ = niwaki.compress(net, [x])
    compiled = niwaki.compile(small, (x,))
    assert not {"table", "clamp"} & {step.op for step in compiled.plan}, "a pass of its own"
    with torch.no_grad():
        assert (compiled(x) - net(x)).norm() < 0.03 * net(x).norm()


def test_bounds_stay_where_others_read_what_is_moved() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(4, 8, 3)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            y = self.conv(x).transpose(1, 2)
            return y.relu(), y

    net, x = Both().eval(), torch.randn(16, 4, 12)
    small, _ = niwaki.compress(net, [x])
    with torch.no_grad():
        for found, wanted in zip(niwaki.compile(small, (x,))(x), net(x), strict=True):
            assert (found - wanted).norm() < 0.03 * wanted.norm()


def test_frozen_parameters_stay_frozen() -> None:
    net = nn.Sequential(nn.Conv1d(4, 6, 3), nn.ConvTranspose1d(6, 4, 3, 2), nn.MultiheadAttention(4, 2))
    net[0].weight.requires_grad_(False)
    net[1].bias.requires_grad_(False)
    net[2].in_proj_weight.requires_grad_(False)
    new = rewrite_layers(net)
    frozen = {name for name, parameter in new.named_parameters() if not parameter.requires_grad}
    assert frozen == {"0.conv.weight", "1.conv.bias", *(f"2.{part}_proj.weight" for part in "qkv")}


@pytest.mark.parametrize("batch", [1, 4])
def test_groups_of_films_leave_the_batch_free(batch: int) -> None:
    net = nn.Sequential(nn.Conv3d(4, 4, (3, 2, 1), groups=2), nn.ReLU(), nn.ConvTranspose3d(4, 6, 2, groups=2)).eval()
    x = torch.randn(4, 4, 5, 6, 8)
    small, _ = niwaki.compress(net, list(x.split(batch)), progress=False)
    compiled = niwaki.compile(small, (x[:batch],))
    for count in (1, 4):
        with torch.no_grad():
            wanted = net(x[:count])
        assert (compiled(x[:count]) - wanted).norm() < 0.03 * wanted.norm()
