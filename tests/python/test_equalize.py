"""Cross-layer equalization: the same answers in float32, and less lost when they are rounded."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import niwaki
from niwaki import QuantizeConfig
from niwaki.optimization.balance import Side, balance, cost


class Branches(nn.Module):
    """A residual sum, a concatenation, a depthwise layer, a shortcut that pads channels with zeros, and a ReLU6."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.conv1, self.conv2 = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.grouped = nn.Conv2d(16, 16, 1, groups=4)
        self.wide = nn.Conv2d(16, 24, 1)
        self.fc = nn.Linear(24 * 4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.stem(x))
        x = F.relu(x + self.conv2(F.relu(self.conv1(x))))
        x = torch.cat([x, F.relu6(self.depthwise(x))], 1)
        y = F.max_pool2d(F.relu(self.grouped(x)), 2)
        y = F.pad(y[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4)) + self.wide(y)[:, :, ::2, ::2]
        return self.fc(F.adaptive_avg_pool2d(F.relu(y), 2).flatten(1))


def plain() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(16, 5),
    )  # fmt: skip


def transformer() -> nn.Module:
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True, norm_first=True)
    return nn.Sequential(nn.Flatten(2), nn.Linear(64, 16), nn.TransformerEncoder(layer, 1, enable_nested_tensor=False))


def skewed(make: Callable[[], nn.Module]) -> nn.Module:
    """A network whose channels have very different ranges."""
    torch.manual_seed(0)
    net = make().eval()
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d) or (isinstance(layer, nn.Linear) and layer.out_features != 5):
                factors = torch.logspace(-1.5, 0.5, len(layer.weight))[torch.randperm(len(layer.weight))]
                layer.weight.mul_(factors.reshape(-1, *[1] * (layer.weight.dim() - 1)))
    return net


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(256, 3, 8, 8, generator=torch.Generator().manual_seed(1))  # of few, chance decides


@pytest.mark.parametrize("make", [plain, Branches, transformer])
def test_the_answers_stay(x: torch.Tensor, make: Callable[[], nn.Module]) -> None:
    net = skewed(make)
    before = [parameter.clone() for parameter in net.parameters()]
    equal = niwaki.equalize(net, x)
    with torch.no_grad():
        wanted, found = net(x), equal(x)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max()))
    plain_ones = niwaki.optimize(net).parameters()
    moved = sum(not torch.equal(a, b) for a, b in zip(equal.parameters(), plain_ones, strict=True))
    assert moved >= 2, "channels were scaled"
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), before, strict=True))


@pytest.mark.parametrize(("make", "options", "share"), [
    (plain, {}, 0.7),
    (plain, {"weight_bits": 4, "rounding": "nearest", "per_channel": False}, 0.9),
    (Branches, {}, 0.6),
    (Branches, {"weight_bits": 4, "rounding": "nearest", "per_channel": False}, 0.6),
])  # fmt: skip
def test_rounding_costs_less(
    x: torch.Tensor, make: Callable[[], nn.Module], options: dict[str, object], share: float
) -> None:
    net = skewed(make)
    fresh = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    errors = [error_of(niwaki.compress(net, x, equalize=flag, **options)[0], net, fresh) for flag in (False, True)]
    assert errors[1] < share * errors[0], errors


def error_of(small: nn.Module, net: nn.Module, x: torch.Tensor) -> float:
    """Of what differs between inputs: seeded weights answer nearly the same to all."""
    with torch.no_grad():
        wanted, found = net(x), small(x)
    return float((found - wanted).norm() / (wanted - wanted.mean(0)).norm())


def test_a_relu6_keeps_its_bound(x: torch.Tensor) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU6(), nn.Conv2d(8, 4, 3)).eval()
    with torch.no_grad():
        net[0].weight[0] *= 100  # cut off at 6, so it has to stay
        net[0].weight[1] *= 0.01
    equal = niwaki.equalize(net, x)
    assert torch.equal(equal[0].weight[0], net[0].weight[0])
    with torch.no_grad():
        assert float(equal[0].weight[1].abs().max()) > 2 * float(net[0].weight[1].abs().max())
        torch.testing.assert_close(equal(x), net(x), rtol=1e-4, atol=1e-5)
        assert float(equal[:2](x).max()) <= 6


def test_channels_that_did_not_fire_are_hardly_scaled(x: torch.Tensor) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 4, 1)).eval()
    with torch.no_grad():
        net[0].weight[0].zero_()
        net[0].bias[0] = -1.0  # what makes it fire, this calibration does not show
        net[0].weight[1] *= 0.05
    equal = niwaki.equalize(net, x)
    with torch.no_grad():
        scale = equal[0].bias / net[0].bias
    assert 1 <= float(scale[0]) < 5, "as if it reached a quarter of the largest"


def test_zeros_stay_zeros_and_what_is_skipped_counts_nothing(x: torch.Tensor) -> None:
    pruned = niwaki.prune(skewed(plain), sparsity=0.5, pattern="unstructured")
    equal = niwaki.equalize(pruned, x)
    for index in (0, 2, 6):
        assert torch.equal(equal[index].weight == 0, pruned[index].weight == 0)
    nothing = niwaki.equalize(skewed(plain), x, QuantizeConfig(skip=("*",)))
    assert all(torch.equal(a, b) for a, b in zip(nothing.parameters(), skewed(plain).parameters(), strict=True))


def test_what_lets_no_factor_through_is_left(x: torch.Tensor) -> None:
    torch.manual_seed(0)
    for between in (nn.GELU(), nn.Sigmoid(), nn.BatchNorm2d(8), nn.Hardswish()):
        net = nn.Sequential(nn.Conv2d(3, 8, 3), between, nn.Conv2d(8, 4, 3)).eval()
        with torch.no_grad():
            net[0].weight[0] *= 30
        equal = niwaki.equalize(net, x)
        assert torch.equal(equal[0].weight, net[0].weight) and torch.equal(equal[2].weight, net[2].weight)


def test_a_layer_that_is_called_twice_is_left(x: torch.Tensor) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.again = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.again(F.relu(self.again(F.relu(self.first(x)))))

    net = skewed(Twice)
    equal = niwaki.equalize(net, x)
    assert torch.equal(equal.again.weight, net.again.weight)
    with torch.no_grad():
        torch.testing.assert_close(equal(x), net(x))


def test_the_cost_is_that_of_rounding_and_the_descent_lowers_it() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 5, generator=generator) * torch.tensor([1, 0.1, 3, 0.5, 1.0])
    reach = torch.tensor([0.2, 5.0, 1.0, 0.1, 1.0])
    side = Side(
        inputs=torch.arange(1, 6)[None], outputs=torch.zeros(1, 6, dtype=torch.int64), largest=weight.abs()[None],
        energy=weight.square().sum(0)[None], reach=reach[None], square=reach.square()[None] / 3,
        counts=torch.ones(1, 6), levels=7, per_channel=True,
    )  # fmt: skip
    # Uniform inputs: their mean square is a third of the square of the end.
    step = 5.0 / 255
    steps = weight.abs().amax(1) / 7
    wanted = step**2 / 12 * float(weight.square().sum())
    wanted += float((steps.square()[:, None] / 12 * reach.square() / 3).sum())
    assert float(cost([side], torch.zeros(6), smooth=False)) == pytest.approx(wanted, rel=1e-5)
    free = torch.tensor([False] + [True] * 5)
    scales, share = balance([side], free, torch.full((6,), torch.inf))
    assert share < 0.6 and float(scales[0]) == 1
    assert float(cost([side], scales.log(), smooth=False)) == pytest.approx(share * wanted, rel=1e-4)
    capped, worse = balance([side], free, torch.tensor([1, 1.0, 1.0, 1.0, 1.0, 1.0]))
    assert share < worse <= 1 and float(capped.max()) <= 1 + 1e-6


def test_networks_without_a_graph_are_left_and_named(x: torch.Tensor, caplog: pytest.LogCaptureFixture) -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x) if float(x.detach().sum()) > 1e9 else self.conv(x) * 2

    net = Branching().eval()
    with caplog.at_level(logging.WARNING, logger="niwaki"):
        equal = niwaki.equalize(net, x)
    assert "cannot capture" in caplog.text
    assert torch.equal(equal.conv.weight, net.conv.weight)


def test_bad_arguments(x: torch.Tensor) -> None:
    with pytest.raises(TypeError, match="config must be a QuantizeConfig"):
        niwaki.equalize(plain(), x, 4)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="skip pattern 'nothing' matches no convolution or linear layer"):
        niwaki.equalize(plain(), x, QuantizeConfig(skip=("nothing",)))


@pytest.mark.parametrize("how", ["compress", "quantize", "generator", "prepare", "joint"])
def test_every_way_in(x: torch.Tensor, how: str) -> None:
    net = skewed(plain)
    config = QuantizeConfig(equalize=True)
    if how == "compress":
        small = niwaki.compress(net, x.split(8), quantize=config)[0]
    elif how == "generator":
        small = niwaki.compress(net, (part for part in x.split(8)), quantize=config)[0]
    elif how == "quantize":
        small = niwaki.quantize(net, (part for part in x.split(8)), config)
    elif how == "prepare":
        small = niwaki.convert(niwaki.prepare(net, x, config, momentum=0.0), x)
    else:
        joint = niwaki.JointTraining(net, x, quantize=config, steps=2)
        for phase in joint:
            for _ in range(phase.steps):
                phase.step()
        small = joint.result
    fresh = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    assert error_of(small, net, fresh) < min(0.7 * error_of(niwaki.quantize(net, x), net, fresh), 0.025)
