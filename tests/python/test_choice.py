"""How values are held: the range that costs least, float32 where 8 bits cost too much, a range for each row."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from test_networks import load_cifar
from torch import nn
from torch.nn import functional as F

import niwaki
from niwaki.lower.quantized import QParams
from niwaki.modules.layer import named_layers
from niwaki.nn.layers import quantized_layers
from niwaki.quantization import ranges_of
from niwaki.quantization.choice import choose_kinds, ranges_of_kinds
from niwaki.quantization.costs import estimate, roundings
from niwaki.quantization.errors import Check
from niwaki.quantization.inputs import Batch
from niwaki.quantization.observers import MinMaxObserver, Observer
from niwaki.quantization.programs import Programs
from niwaki.quantization.simulate import RoundedRun, measured_nodes, rounded, rounded_rows, types_of


def error(net: nn.Module, small: nn.Module, *args: torch.Tensor) -> float:
    """Of the compiled network, the largest of its outputs'."""
    with torch.no_grad():
        wanted, found = net(*args), niwaki.compile(small, args)(*args)
    pairs = [(wanted, found)] if isinstance(wanted, torch.Tensor) else list(zip(wanted, found, strict=True))
    return max(float((b - a).norm() / a.norm()) for a, b in pairs)


class Residual(nn.Module):
    """A residual stream, read through batch norms, of which some channels are large."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(32) for _ in range(3))
        self.f = nn.ModuleList(nn.Conv2d(32, 32, 3, padding=1) for _ in range(3))
        self.g = nn.ModuleList(nn.Conv2d(32, 32, 3, padding=1) for _ in range(3))
        with torch.no_grad():
            self.stem.weight[:2] *= factor
            self.train()
            for _ in range(20):
                self(torch.randn(8, 3, 16, 16))
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for norm, f, g in zip(self.norms, self.f, self.g, strict=True):
            x = x + g(F.relu(f(norm(x))))
        return F.adaptive_avg_pool2d(self.norms[0](x), 1).flatten(1)


@pytest.mark.parametrize("factor", [30.0, 100.0, 1000.0])
def test_a_residual_stream_with_large_channels_stays_float32(factor: float) -> None:
    torch.manual_seed(0)
    net, x = Residual(factor), torch.randn(32, 3, 16, 16)
    small, report = niwaki.compress(net, x.split(4))
    assert error(net, small, torch.randn(4, 3, 16, 16)) < 0.04
    assert ranges_of(small).floats and report.network.values
    assert "values in float32" in str(report)
    bad, _ = niwaki.compress(net, x.split(4), precision="int8")
    assert error(net, bad, x[:4]) > 0.04 and not ranges_of(bad).floats


def test_a_residual_stream_of_like_channels_stays_in_8_bits() -> None:
    torch.manual_seed(0)
    small, report = niwaki.compress(Residual(1.0), torch.randn(32, 3, 16, 16).split(4))
    assert not ranges_of(small).floats and not report.network.values


class Tokens(nn.Module):
    """A linear layer on tokens, some of which are much larger than others."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(32, 64), nn.Linear(64, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.b(F.gelu(self.a(x))), dim=-1)


def test_rows_of_unlike_size_have_ranges_of_their_own() -> None:
    torch.manual_seed(0)
    net = Tokens().eval()
    x = torch.randn(16, 12, 32) * torch.logspace(-1, 2, 12)[:, None]
    small, report = niwaki.compress(net, x.split(2))
    assert isinstance(small.a, niwaki.nn.Linear) and small.a.dynamic
    assert "a range for each row: one for all would cost" in report[0].reason
    assert error(net, small, x[:3]) < 0.02
    static, _ = niwaki.compress(net, x.split(2), precision="int8")
    assert not static.a.dynamic and error(net, static, x[:3]) > 0.05


def test_rows_of_like_size_have_one_range() -> None:
    torch.manual_seed(0)
    small, _ = niwaki.compress(Tokens().eval(), torch.randn(128, 12, 32).split(16))
    assert not small.a.dynamic and not small.b.dynamic


def test_a_convolution_that_no_range_suits_stays_float32() -> None:
    """One channel is a thousand times as large as the others, which are what the result is made of."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(8, 16, 3), nn.Conv2d(16, 4, 3)
            with torch.no_grad():
                self.a.weight[:, 0] *= 1e-3

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(F.relu(self.a(x)))

    torch.manual_seed(0)
    net = Net().eval()
    x = torch.randn(16, 8, 10, 10)
    x[:, 0] *= 1000
    small, report = niwaki.compress(net, x.split(2))
    assert type(small.a) is nn.Conv2d and isinstance(small.b, niwaki.nn.Conv2d)
    assert report[0].scheme == "float32" and "8 bits for its input would cost" in report[0].reason
    assert error(net, small, x[:3]) < 0.03
    assert small.state_dict().keys() >= {"a.weight", "b.weight_scale"}


def test_a_layer_called_several_times_has_a_range_for_each_call() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(3, 8, 1)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.a(x), self.a(x * 1000)

    net, x = Net().eval(), torch.randn(128, 3, 8, 8)  # of few, ranges reach beyond what was seen
    small, _ = niwaki.compress(net, x.split(16))
    assert error(net, small, x[:2]) < 0.02
    # The module has one range for both.
    seen = 1000 * float((x.max() - x.min()) / 255)
    assert 0.9 * seen < float(small.a.input_scale) < 1.25 * seen


def test_results_that_are_no_numbers_are_measured_by_what_they_are_made_of() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.fc = nn.Embedding(20, 16), nn.Linear(16, 20)

        def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            y = self.fc(self.embed(ids))
            return y.argmax(-1), y.topk(2, -1).indices

    small = niwaki.quantize(Net().eval(), [torch.randint(0, 20, (4, 7)) for _ in range(4)])
    program = Programs(small).find(Batch(0, (torch.randint(0, 20, (4, 7)),), {}))
    assert program is not None
    assert {node.op for node in measured_nodes(program)} == {"call_function"}
    assert all(node in program.layers for node in measured_nodes(program))


class Offers(MinMaxObserver):
    """Offers the whole range and a share of it."""

    def __init__(self, low: float, high: float, share: float) -> None:
        super().__init__()
        self.low, self.high, self._share = low, high, share

    def candidates(self) -> dict[str, tuple[float, float]]:
        return {"whole": (self.low, self.high), "part": (self._share * self.low, self._share * self.high)}


def test_each_value_has_the_range_that_costs_least() -> None:
    """The first layer's input fills its range; of the second's, a tenth is used."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 4)).eval()
    x = torch.rand(32, 16) * 2 - 1
    small = niwaki.quantize(net, x)
    batch = Batch(0, (x,), {})
    program = Programs(small).find(batch)
    assert program is not None
    floats = dict(zip(quantized_layers(small), [layer for _, layer in named_layers(net)], strict=True))
    check = Check(program, floats, [batch])  # type: ignore[arg-type]
    first = next(iter(ranges_of(small).values))
    observers: dict[str, Observer] = {first: Offers(-1, 1, 0.1)}
    observers["tanh"] = Offers(-10, 10, 0.1)
    observers["linear"] = Offers(-30, 30, 0.1)
    kinds = choose_kinds(check, observers, "")
    assert (kinds[first], kinds["linear"], kinds["tanh"]) == ("whole", "part", "part")
    ranges = ranges_of_kinds(observers, kinds, "")
    assert ranges.values[first] == (-1, 1) and ranges.values["tanh"] == (-1, 1)


INT8 = niwaki.QuantizeConfig(precision="int8")


def make_small() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 6)
    ).eval()  # fmt: skip
    return net, niwaki.quantize(net, torch.randn(32, 3, 8, 8), niwaki.QuantizeConfig(correct_bias=False))


def test_estimated_costs_are_the_measured_ones() -> None:
    net, small = make_small()
    batch = Batch(0, (torch.randn(64, 3, 8, 8),), {})
    program = Programs(small).find(batch)
    assert program is not None
    floats = dict(zip(quantized_layers(small), [layer for _, layer in named_layers(net)], strict=True))
    ranges = ranges_of(small)
    types = types_of(program, ranges)
    check = Check(program, floats, [batch])  # type: ignore[arg-type]
    found = estimate(program, floats, [batch], check.nodes, [types])  # type: ignore[arg-type]
    assert found is not None and set(found.static[0]) == set(roundings(program, types))
    whole = math.sqrt(sum(float(cost.sum()) for cost in found.static[0].values()))
    assert whole == pytest.approx(check.errors(ranges, weights=False)[0], rel=0.3)


class Summed(nn.Module):
    """A stream, and layers that add to it."""

    def __init__(self, *layers: nn.Module, first: bool = False) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.first = first

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.relu()
        for layer in self.layers:
            made = layer(x)
            x = (made + x if self.first else x + made).relu()
        return x


@pytest.mark.parametrize(
    ("net", "shape", "taken_in"),
    [
        (make_small()[0], (3, 8, 8), 0),
        (Summed(*(nn.Conv2d(8, 8, 3, padding=1) for _ in range(6))), (8, 9, 9), 6),
        (Summed(*(nn.Conv2d(8, 8, 3, padding=1) for _ in range(6)), first=True), (8, 9, 9), 6),
        (Summed(*(nn.Conv2d(8, 8, 3, padding=1, groups=2) for _ in range(6))), (8, 9, 9), 6),
        (Summed(*(nn.Conv2d(8, 8, 3, padding=1, groups=8) for _ in range(6))), (8, 9, 9), 0),
        (Summed(*(nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU()) for _ in range(6))), (8, 9, 9), 0),
        (Summed(*(nn.Linear(16, 16) for _ in range(6))), (7, 16), 6),
    ],
    ids=["plain", "residual", "residual first", "grouped", "depthwise", "relu before the sum", "linear"],
)
def test_a_simulated_network_is_the_compiled_one(net: nn.Module, shape: tuple[int, ...], taken_in: int) -> None:
    """So are sums that a layer takes in: its result is not rounded by itself."""
    torch.manual_seed(3)
    stem = nn.Conv2d(shape[0], shape[0], 1) if len(shape) == 3 else nn.Linear(shape[-1], shape[-1])
    whole = nn.Sequential(stem, net, nn.Flatten(), nn.LazyLinear(4))
    whole(torch.randn(1, *shape))
    small = niwaki.quantize(whole, torch.randn(32, *shape), INT8)
    x = torch.randn(16, *shape)
    batch = Batch(0, (x,), {})
    program = Programs(small).find(batch)
    assert program is not None
    types = types_of(program, ranges_of(small))
    assert len(types.summed) == taken_in
    (found,) = RoundedRun(program, {}, types).call(batch)
    compiled = niwaki.compile(small, (x,))(x)
    # A rounding that falls on a tie goes either way and spreads from layer to layer: images without one are alike.
    differences = ((found - compiled).norm(dim=1) / compiled.norm(dim=1)).sort().values
    assert float(differences[3]) < 5e-5 and float(differences.median()) < 5e-3


def test_rounding() -> None:
    x = torch.linspace(-1, 3, 50).reshape(5, 10)
    steps = rounded(x, QParams(0.02, 50)) / 0.02
    assert torch.allclose(steps, steps.round(), atol=1e-4)
    assert steps.min() == -50 and float((rounded(x, QParams(0.02, 50)) - x).abs().max()) <= 0.0101
    rows = rounded_rows(x)
    widths = (x.amax(1).clamp_min(0) - x.amin(1).clamp_max(0)) / 255
    assert ((rows - x).abs() <= widths[:, None] * 0.501).all()


@pytest.mark.parametrize(("name", "n"), [("resnet20", 3), ("resnet56", 9)])
def test_trained_convolutional_networks_stay_as_they_were(name: str, n: int, shared_dir: Path) -> None:
    model, train, _, _ = load_cifar(name, n, shared_dir / "data")
    small, report = niwaki.compress(model, train[:128].split(32))
    assert not ranges_of(small).floats and all("int8" in row.scheme and not row.reason for row in report)


def test_values_that_are_made_of_one_another_twice_are_one_group() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(4, 8, 1), nn.Conv2d(24, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.first(x).relu()
            twice = torch.cat([y, y], 1)  # and again, of what is the same group
            return self.second(torch.cat([twice, y], 1))

    small = niwaki.quantize(Net().eval(), torch.randn(16, 4, 5, 5))
    assert type(small.second) is niwaki.nn.Conv2d
