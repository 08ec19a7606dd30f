"""The order of channels that only layers see, for zeros in blocks of four."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.fx import GraphModule

import niwaki
from niwaki.capture import capture
from niwaki.modules.layer import layer_of
from niwaki.optimization.inner import Inner, find_inner
from niwaki.pruning import order as order_file
from niwaki.pruning.config import PruneConfig
from niwaki.pruning.order import order_channels
from niwaki.quantization.inputs import Batch

HALF = PruneConfig(0.5, importance="second_order")


class Bottleneck(nn.Module):
    """An inverted bottleneck with its batch norms, a gate, and a residual sum."""

    def __init__(self) -> None:
        super().__init__()
        self.expand, self.norm = nn.Conv2d(8, 24, 1), nn.BatchNorm2d(24)
        self.deep = nn.Conv2d(24, 24, 3, padding=1, groups=24)
        self.project = nn.Conv2d(24, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.norm(self.expand(x)))
        y = self.deep(y)
        return x + self.project(y * torch.sigmoid(y))


class Pooled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head, self.first, self.last = nn.Conv2d(8, 16, 3), nn.Linear(16, 12), nn.Linear(12, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.nn.functional.relu6(self.head(torch.nn.functional.pad(x, (0, 1, 0, 1))))
        return self.last(torch.nn.functional.gelu(self.first(x.mean((2, 3)))))


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(8, 32), nn.Linear(32, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(torch.nn.functional.gelu(self.up(x)))


def _find(model: nn.Module, x: torch.Tensor) -> list[Inner]:
    program = capture(model, (x,), {}, free=False).program()
    assert isinstance(program, GraphModule)
    return find_inner(program, model)


def _images(count: int = 2) -> torch.Tensor:
    return torch.randn(count, 8, 6, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("make", "x", "writers"),
    [
        (Bottleneck, _images(), ["expand"]),
        (Pooled, _images(), ["head", "first"]),
        (Tokens, torch.randn(2, 7, 8), ["up"]),
    ],
)
def test_networks_compute_the_same_in_another_order(
    make: Callable[[], nn.Module], x: torch.Tensor, writers: list[str]
) -> None:
    torch.manual_seed(0)
    model = make().eval()
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                assert tensor is not None
                nn.init.uniform_(tensor, 0.5, 2.0)
    with torch.no_grad():
        wanted = model(x)
    inner = _find(model, x)
    names = {module: name for name, module in model.named_modules()}
    assert [names[found.writer.module] for found in inner] == writers
    for found in inner:
        before = found.writer.weight.clone()
        found.reorder(torch.randperm(len(before)))
        assert not torch.equal(found.writer.weight, before)
    with torch.no_grad():
        torch.testing.assert_close(model(x), wanted)


class Seen(nn.Module):
    """The channels between two convolutions, and what else sees them."""

    def __init__(self, how: Callable[[torch.Tensor], torch.Tensor], groups: int = 1, outputs: int = 8) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(8, 8, 1), nn.Conv2d(outputs, 8, 1, groups=groups)
        self.how = how

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.how(self.first(x)))


@pytest.mark.parametrize(
    ("how", "groups", "outputs"),
    [
        (lambda y: y[:, 2:6], 1, 4),
        (lambda y: y.flip(1), 1, 8),
        (lambda y: torch.cat([y, y], 1), 1, 16),
        (lambda y: y.softmax(1) * torch.arange(8.0)[:, None, None], 1, 8),
        (lambda y: y + torch.arange(8.0)[:, None, None], 1, 8),
        (lambda y: y + y.sum(1, keepdim=True) * torch.arange(8.0)[:, None, None], 1, 8),
        (lambda y: y.reshape(len(y), 4, 2, 6, 6).transpose(1, 2).flatten(1, 2), 1, 8),
        (lambda y: y, 2, 8),
    ],
)
def test_an_order_that_anything_else_sees_stays(
    how: Callable[[torch.Tensor], torch.Tensor], groups: int, outputs: int
) -> None:
    assert not _find(Seen(how, groups, outputs).eval(), _images())


def test_outputs_residual_sums_and_shared_weights_keep_their_order() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
            self.c.weight = self.a.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.c(self.b(self.a(x)))

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            y = self.a(x)
            return y, self.b(y)

    class Again(Twice):
        def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
            return self.b(self.b(self.a(x)))

    for model in (Shared(), Twice(), Again()):
        assert not _find(model.eval(), torch.randn(3, 8)), type(model).__name__
    assert [layer_of(found.writer.module) for found in _find(Bottleneck().eval(), _images())]  # not 'project'


def _planted(seed: int = 0) -> nn.Sequential:
    """Each output of the last layer reads one of four sets of four channels, strewn over all of them."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 32))
    sets = torch.randperm(16).reshape(4, 4)
    with torch.no_grad():
        model[1].weight.mul_(0.01)
        for row in range(32):
            model[1].weight[row, sets[row % 4]] = torch.rand(4) + 1.5
    return model.eval()


def test_channels_that_are_read_together_become_neighbours() -> None:
    model = _planted()
    x = torch.randn(64, 16)
    with torch.no_grad():
        wanted = model(x)
    gains = order_channels(model, [Batch(0, (x,), {})], PruneConfig(0.75, importance="second_order"), progress=False)
    assert gains.keys() == {"1"}
    assert gains["1"] < 0.01
    blocks = model[1].weight.detach().reshape(32, 4, 4).abs() > 0.5
    assert bool((blocks.all(2) | ~blocks.any(2)).all())
    with torch.no_grad():
        torch.testing.assert_close(model(x), wanted)


def test_compress_loses_less_with_zeros_in_that_order() -> None:
    model = _planted(1)
    x = torch.randn(256, 16)
    config = PruneConfig(0.75, scope="local", importance="second_order", skip=("0",))
    with torch.no_grad():
        wanted = model(x)
        kept = niwaki.prune(model, config, calibration=[x], progress=False)(x)
        small, _ = niwaki.compress(model, [x], prune=config, progress=False)
        found = small(x)
    assert float((kept - wanted).norm() / wanted.norm()) > 0.3
    assert float((found - wanted).norm() / wanted.norm()) < 0.05


def test_an_order_costs_less() -> None:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 8)).eval()
    gains = order_channels(model, [Batch(0, (torch.randn(64, 16),), {})], HALF, progress=False)
    assert gains.keys() == {"2", "4"}
    assert all(0 < gain < 1 for gain in gains.values()), gains


def test_layers_with_zeros_and_other_patterns_keep_their_order() -> None:
    x = [Batch(0, (torch.randn(8, 16),), {})]
    assert not order_channels(_planted(), x, PruneConfig(pattern="2:4"), progress=False)
    assert not order_channels(_planted(), x, PruneConfig(0.5, skip=("1",)), progress=False)
    model = _planted()
    with torch.no_grad():
        model[1].weight[:, :4] = 0
    assert not order_channels(model, x, HALF, progress=False)


def test_single_zeros_leave_fewer_blocks_and_lists_alike() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 24)).eval()
    with torch.no_grad():
        for part in (model[0].weight, model[2].weight.T):  # every fourth channel has large weights
            part.uniform_(0.01, 0.02)
            part[::4] += 1
    x = torch.randn(64, 16)
    with torch.no_grad():
        wanted = model(x)

    def multiplied(layer: nn.Module) -> int:
        """Blocks, with the zeros that make lists of four equally long."""
        kept = (layer.weight > 0.5).reshape(len(layer.weight), -1, 4).any(2).sum(1)
        return 4 * int(kept.reshape(-1, 4).amax(1).sum())

    before = [multiplied(model[i]) for i in (0, 2)]
    gains = order_channels(model, [Batch(0, (x,), {})], PruneConfig(0.75, pattern="unstructured"), progress=False)
    assert gains.keys() == {"2"} and gains["2"] == pytest.approx(2 / 8, abs=0.01)
    assert [multiplied(model[i]) / old for i, old in zip((0, 2), before, strict=True)] == [0.25, 0.25]
    with torch.no_grad():
        torch.testing.assert_close(model(x), wanted)


def test_a_checkpoint_keeps_the_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = [Batch(0, (torch.randn(8, 16),), {})]
    first, second = _planted(), _planted()
    gains = order_channels(first, x, HALF, checkpoint=tmp_path / "run", progress=False)
    monkeypatch.setattr(order_file, "_search", lambda rows: pytest.fail("it was known"))
    assert order_channels(second, x, HALF, checkpoint=tmp_path / "run", progress=False) == gains
    torch.testing.assert_close(first[1].weight, second[1].weight, rtol=0, atol=0)
    torch.testing.assert_close(first[0].bias, second[0].bias, rtol=0, atol=0)


def test_gradients_are_asked_for_as_before() -> None:
    model = _planted()
    model[0].bias.requires_grad_(False)
    order_channels(model, [Batch(0, (torch.randn(8, 16),), {})], HALF, progress=False)
    assert [parameter.requires_grad for parameter in model.parameters()] == [True, False, True, True]
