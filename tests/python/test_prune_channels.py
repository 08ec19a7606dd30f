"""Whole channels cut out: smaller networks whose parts still fit together."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import niwaki
from niwaki._compat import import_torchvision

pytest.importorskip("torch_pruning", reason="needs torch-pruning, which follows the channels: niwaki[channels]")


class Joined(nn.Module):
    """A residual sum, a concatenation and a depthwise convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.second = nn.Conv2d(16, 16, 3, padding=1)
        self.side = nn.Conv2d(16, 8, 1)
        self.depthwise = nn.Conv2d(24, 24, 3, padding=1, groups=24)
        self.head = nn.Linear(24, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norm(self.first(x)))
        x = x + self.second(x)
        x = self.depthwise(torch.cat([x, self.side(x)], 1))
        return self.head(x.mean((2, 3)))


@pytest.mark.parametrize("scope", ["local", "global"])
def test_sums_and_concatenations_are_followed(scope: str) -> None:
    net = Joined()
    x = torch.randn(4, 3, 8, 8)
    small = niwaki.prune(net, sparsity=0.5, pattern="channels", scope=scope, calibration=x)
    assert small(x).shape == (4, 5) and small.training and net.first.out_channels == 16
    assert small.first.out_channels == small.second.out_channels == small.norm.num_features
    assert small.depthwise.groups == small.first.out_channels + small.side.out_channels == small.head.in_features
    assert all(parameter.requires_grad for parameter in small.parameters())
    if scope == "local":
        assert small.head.in_features == 12  # the concatenation makes one group of all 24
    else:
        assert small.head.in_features < 20
    F.cross_entropy(small(x), torch.tensor([0, 1, 2, 3])).backward()


def test_channels_that_are_zero_go_without_a_trace() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(96, 4))
    with torch.no_grad():
        for layer in (net[0], net[2]):
            layer.weight[::2] = 0
            layer.bias[::2] = 0
    x = torch.randn(2, 3, 8, 8)
    small = niwaki.prune(net, sparsity=0.5, pattern="channels", scope="local", calibration=x)
    assert small[0].weight.shape == (4, 3, 3, 3) and small[2].weight.shape == (3, 4, 3, 3)
    assert torch.allclose(small(x), net(x), atol=1e-5)


def test_taylor_keeps_the_channels_that_the_loss_needs() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 2, 1))
    with torch.no_grad():
        net[2].weight[:, :4] = 0  # nothing needs the first four, however large they are
        net[0].weight[:4] *= 100
    x = torch.randn(8, 3, 4, 4)
    options = {"sparsity": 0.5, "pattern": "channels", "scope": "local", "calibration": [x]}
    small = niwaki.prune(net, importance="taylor", loss=lambda net, item: net(item).square().mean(), **options)
    assert torch.allclose(small(x), net(x), atol=1e-5)
    assert small[0].weight.grad is None


def test_skipped_layers_keep_their_channels() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
    x = torch.randn(1, 3, 8, 8)
    small = niwaki.prune(net, sparsity=0.5, pattern="channels", skip=("0",), scope="local", calibration=x)
    assert [layer.out_channels for layer in small if isinstance(layer, nn.Conv2d)] == [8, 4, 8]


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "mobilenet_v2"])
def test_networks_of_torchvision(name: str) -> None:
    net = getattr(import_torchvision().models, name)(num_classes=7).eval()
    x = torch.randn(1, 3, 64, 64)
    small = niwaki.prune(net, sparsity=0.5, pattern="channels", scope="local", calibration=x)
    assert small(x).shape == (1, 7) and torch.isfinite(small(x)).all()
    sizes = [sum(parameter.numel() for parameter in part.parameters()) for part in (net, small)]
    assert sizes[1] < 0.4 * sizes[0]


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(1, 3, 8, 8)
    with pytest.raises(TypeError, match="needs calibration="):
        niwaki.prune(Joined(), sparsity=0.5, pattern="channels")
    with pytest.raises(ValueError, match="not by 'second_order'"):
        niwaki.PruneConfig(0.5, pattern="channels", importance="second_order")
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(niwaki.NiwakiError, match=r"pip install 'niwaki\[channels\]'"):
        niwaki.prune(Joined(), sparsity=0.5, pattern="channels", calibration=x)
