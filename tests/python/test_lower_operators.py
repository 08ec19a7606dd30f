"""Every operator that is native, compiled behind a convolution, against torch in float32."""

from __future__ import annotations

import pytest
import torch
from lowering import Function, compiled, cosine, images, steps_off
from torch import nn
from torch.nn import functional as F

import niwaki
from niwaki.lower.canonical.tracing import decompositions, name_of


def shuffle(x: torch.Tensor, groups: int = 2) -> torch.Tensor:
    n, c, h, w = x.shape
    return x.view(n, groups, c // groups, h, w).transpose(1, 2).contiguous().view(n, c, h, w)


def excite(x: torch.Tensor) -> torch.Tensor:
    return torch.sigmoid(F.adaptive_avg_pool2d(x, 1)) * x


def split_unequal(x: torch.Tensor) -> torch.Tensor:
    a, b = x.split([2, 6], dim=1)
    return torch.cat([b, a], dim=1)


def mutate(x: torch.Tensor) -> torch.Tensor:
    y = F.relu_(x)
    y += 0.5
    return x + y


# name -> (what follows the convolution, the error allowed in steps of the output): each operator on the way rounds.
SAME_SIZE = {
    "nothing": (lambda x: x, 3),
    "relu": (F.relu, 3),
    "relu in place": (lambda x: F.relu(x, inplace=True), 3),
    "relu6": (lambda x: F.relu6(4 * x), 6),
    "hardtanh": (lambda x: F.hardtanh(x, -0.5, 0.75), 6),
    "clamp": (lambda x: x.clamp(min=-0.25), 3),
    "clamp max": (lambda x: torch.clamp(x, max=0.25), 3),
    "relu of a value with other readers": (lambda x: torch.cat([F.relu(x), x], 1), 3),
    "hardswish": (F.hardswish, 4),
    "hardsigmoid": (F.hardsigmoid, 3),
    "silu": (F.silu, 4),
    "sigmoid": (torch.sigmoid, 3),
    "gelu": (F.gelu, 4),
    "gelu tanh": (lambda x: F.gelu(x, approximate="tanh"), 4),
    "tanh": (torch.tanh, 4),
    "elu": (F.elu, 4),
    "leaky relu": (lambda x: F.leaky_relu(x, 0.1), 4),
    "mish": (F.mish, 4),
    "softplus": (F.softplus, 4),
    "square": (lambda x: x**2, 6),
    "tables in a row": (lambda x: torch.exp(-(torch.tanh(x) * 0.5 + 1)), 4),
    "tensor and number": (lambda x: (2 * x + 1) / 3 - 0.1, 4),
    "number less tensor": (lambda x: 1 - x, 3),
    "hardswish by hand": (lambda x: x * F.relu6(x + 3) / 6, 5),
    "add": (lambda x: F.relu(x) + x, 4),
    "add in place": (lambda x: torch.sigmoid(x).add_(x), 4),
    "add to itself": (lambda x: x + x, 3),
    "sub": (lambda x: F.relu(x) - torch.sigmoid(x), 6),
    "mutation with later readers": (mutate, 5),
    "mul": (lambda x: x * torch.sigmoid(x), 5),
    "squeeze and excite": (excite, 5),
    "cat": (lambda x: torch.cat([x, F.relu(x), torch.sigmoid(x)], dim=1), 4),
    "chunk": (lambda x: torch.cat(x.chunk(4, dim=1)[::-1], dim=1), 3),
    "split": (split_unequal, 3),
    "slice of channels": (lambda x: x[:, 1:6:2], 3),
    "negative slice": (lambda x: x[:, -3:], 3),
    "one channel": (lambda x: torch.cat([x, x[:, 5].unsqueeze(1)], 1), 3),
    "every second pixel": (lambda x: x[:, :, ::2, 1::2], 3),
    "crop": (lambda x: x[:, :, 1:-1, 2:-1], 3),
    "pad": (lambda x: F.pad(x, (1, 2, 0, 1)), 3),
    "pad channels": (lambda x: F.pad(x, (0, 0, 0, 0, 3, 2)), 3),
    "pad with a value": (lambda x: F.pad(x, (1, 1), value=2.5), 3),
    "shortcut without weights": (lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4)), 3),
    "shuffle by views": (shuffle, 3),
    "shuffle": (lambda x: F.channel_shuffle(x, 4), 3),
    "upsample": (lambda x: F.interpolate(x, scale_factor=(2, 3)), 3),
    "upsample, exact": (lambda x: F.interpolate(x, scale_factor=2, mode="nearest-exact"), 3),
    "up and down": (lambda x: x + F.interpolate(F.avg_pool2d(x, 2), scale_factor=2), 5),
    "max pool": (lambda x: F.max_pool2d(x, 3, 2, 1), 3),
    "max pool, ceil, dilated": (lambda x: F.max_pool2d(x, (3, 2), 2, ceil_mode=True, dilation=(1, 2)), 3),
    "average pool": (lambda x: F.avg_pool2d(x, 2), 4),
    "average pool, borders": (lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False), 4),
    "average pool, divisor": (lambda x: F.avg_pool2d(x, 2, divisor_override=3), 4),
    "adaptive pool": (lambda x: F.adaptive_avg_pool2d(x, (3, 2)), 4),
    "adaptive pool and relu": (lambda x: F.relu(F.adaptive_avg_pool2d(x, 1)), 5),
    "mean": (lambda x: x.mean((2, 3)), 5),
    "mean, kept": (lambda x: x.mean((-1, -2), keepdim=True), 5),
    "global pool, flat": (lambda x: torch.flatten(F.adaptive_avg_pool2d(x, 1), 1), 5),
    "global pool, viewed": (lambda x: F.adaptive_avg_pool2d(x, 1).view(x.shape[0], -1), 5),
    "global pool, squeezed": (lambda x: F.adaptive_avg_pool2d(x, 1).squeeze(-1).squeeze(-1), 5),
    "there and back": (lambda x: x.mean((2, 3))[:, :, None, None] * x, 6),
    "flatten": (lambda x: x.flatten(1), 3),
    "dropout, identity, clone": (lambda x: F.dropout(x, 0.5, False).contiguous().clone().detach().to(torch.float32), 3),
}


@pytest.mark.parametrize("name", SAME_SIZE)
def test_operator_agrees_with_torch(name: str) -> None:
    function, allowed = SAME_SIZE[name]
    model = Function(function).eval()
    sizes = [(2, 16, 12), (3, 22, 18)]
    inputs = [images(*size, seed=i) for i, size in enumerate(sizes)]
    net = compiled(model, inputs)
    assert not net.plan.torch, net.plan
    for x in inputs:
        with torch.no_grad():
            assert steps_off(net(x), model(x)) <= allowed


def test_relu_of_a_value_that_is_only_read_once_costs_no_step() -> None:
    ops = [step.op for step in compiled(Function(F.relu).eval(), images()).plan]
    assert ops.count("conv2d") == 1
    assert not {"clamp", "table"} & set(ops)


class Residual(nn.Module):
    """The ReLU lies between the convolution and the sum: a sum inside the convolution would lose it."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3, padding=1)
        self.b = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.a(x)
        return F.relu(self.b(y)) + y


def test_relu_before_a_sum() -> None:
    model, x = Residual().eval(), images()
    with torch.no_grad():
        assert steps_off(compiled(model, x)(x), model(x)) <= 5


def test_functions_in_a_row_are_one_table() -> None:
    class Functions(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tanh(x * 2 + 1).square()

    net = compiled(nn.Sequential(nn.Conv2d(3, 8, 3), Functions(), nn.Conv2d(8, 4, 1)).eval(), images())
    assert [step.op for step in net.plan].count("table") == 0  # it is part of the first convolution
    assert sum("writes through table" in step.reason for step in net.plan) == 1


class Scaled(nn.Module):
    """Constants per channel around a convolution, as normalization of images and layer scale are written."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.5, 0.4, -0.3]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([1.0, 2.0, 0.5]).view(3, 1, 1))
        self.conv = nn.Conv2d(3, 4, 3)
        self.gain = nn.Parameter(torch.tensor([1.0, -2.0, 0.0, 0.25]).view(4, 1, 1))
        self.shift = nn.Parameter(torch.tensor([1.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = (x - self.mean) / self.std.sqrt()
        return self.gain * self.conv(x) - self.shift


def test_constants_per_channel() -> None:
    model, x = Scaled().eval(), images()
    net = compiled(model, x)
    assert not net.plan.torch, net.plan
    with torch.no_grad():
        assert steps_off(net(x), model(x)) <= 5


class Norms(nn.Module):
    """Batch norms that no convolution can take: before one, after a concatenation, in one and two dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.BatchNorm2d(3)
        self.conv = nn.Conv2d(3, 5, 3)
        self.second = nn.BatchNorm2d(8)
        self.third = nn.BatchNorm1d(8)
        self.fc = nn.Linear(8, 4)
        for norm in (self.first, self.second, self.third):
            norm.running_mean.uniform_(-1, 1)
            norm.running_var.uniform_(0.5, 2)
            nn.init.uniform_(norm.weight, -1, 1)
            nn.init.uniform_(norm.bias, -1, 1)
        with torch.no_grad():
            self.second.weight[2] = 0.0  # nothing but its bias is left

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        x = F.relu(self.second(torch.cat([self.conv(x), x[:, :, 1:-1, 1:-1]], 1)))
        return self.fc(self.third(x.mean((2, 3))))


def test_batch_norm_on_its_own() -> None:
    model, x = Norms().eval(), images(4)
    net = compiled(model, x)
    assert not net.plan.torch, net.plan
    with torch.no_grad():
        assert cosine(net(x), model(x)) > 0.995
        assert steps_off(net(x), model(x)) <= 8


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(3, 7, (3, 2), stride=(2, 1), padding=(1, 0)),
        nn.Conv2d(3, 6, 3, groups=3, bias=False),
        nn.Conv2d(3, 9, 3, padding=2, dilation=2),
        nn.Conv2d(3, 4, 5, padding="same"),
        nn.Conv2d(3, 4, 2, padding="same"),
    ],
    ids=["strided", "grouped", "dilated", "same", "same, even kernel"],
)
def test_convolutions(conv: nn.Conv2d) -> None:
    model, x = nn.Sequential(conv, nn.ReLU()).eval(), images()
    net = compiled(model, x)
    assert not net.plan.torch
    with torch.no_grad():
        assert steps_off(net(x), model(x)) <= 4


def test_channels_that_are_only_bias_keep_it_exactly() -> None:
    conv = nn.Conv2d(3, 4, 1)
    with torch.no_grad():
        conv.weight[1:] = 0
        conv.bias.copy_(torch.tensor([0.1, 123.25, -1e-6, 0.0]))
    x = images()
    y = compiled(nn.Sequential(conv), x)(x)
    assert torch.allclose(y[:, 1], torch.tensor(123.25), rtol=1e-6)
    assert torch.allclose(y[:, 2], torch.tensor(-1e-6), rtol=1e-5)
    assert bool((y[:, 3] == 0).all())


def test_bias_far_beyond_the_weights() -> None:
    conv = nn.Conv2d(3, 2, 1)
    with torch.no_grad():
        conv.weight.mul_(1e-7)
        conv.bias.fill_(1000.0)
    x = images()
    assert torch.allclose(compiled(nn.Sequential(conv), x)(x), torch.tensor(1000.0), rtol=1e-6)


def test_factor_per_channel_captured_with_one_pixel() -> None:
    """With one pixel, features and factors have the same shape; with more pixels they must still be told apart."""
    model = Function(excite).eval()
    x = images(2, 8, 8)
    small = niwaki.quantize(model, [x], niwaki.QuantizeConfig(observer="minmax"), progress=False)
    net = niwaki.compile(small, (x[:, :, :1, :1],), threads=1)
    with torch.no_grad():
        assert steps_off(net(x), model(x)) <= 5


def test_a_view_of_a_tensor_that_is_changed_sees_the_change() -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        part = x[:, :4]
        x.relu_()
        return part + 1

    model, x = Function(function).eval(), images()
    with torch.no_grad():
        assert cosine(compiled(model, x)(x), model(x)) > 0.999


def test_operators_that_are_registered_later_are_found() -> None:
    """What torch composes of others is looked up once, until a library brings more."""
    known = decompositions()
    assert decompositions() is known
    library = torch.library.Library("niwaki_later", "DEF")
    library.define("twice(Tensor x) -> Tensor")
    library.impl("twice", lambda x: x * 2, "CompositeImplicitAutograd")
    assert "niwaki_later::twice" in map(name_of, decompositions()) and "niwaki_later::twice" not in map(name_of, known)
