"""Whole channels cut out: smaller networks whose parts still fit together."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable

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


class Between(nn.Module):
    """Something between two convolutions that reads their channels in its own way."""

    def __init__(self, between: nn.Module, channels: int = 16) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, channels, 3, padding=1)
        self.between = between
        self.second = nn.Conv2d(channels, 8, 3)
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.second(F.relu(self.between(self.first(x)))).mean((2, 3)))


class Function(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


class Table(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(1, 16, 16, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.table


def shuffled(x: torch.Tensor) -> torch.Tensor:
    n, c, h, w = x.shape
    return x.view(n, 4, c // 4, h, w).transpose(1, 2).reshape(n, c, h, w)


@pytest.mark.parametrize(
    "between",
    [
        nn.GroupNorm(4, 16),
        nn.InstanceNorm2d(16, affine=True, track_running_stats=True),
        Function(shuffled),
        Function(lambda x: torch.cat([x[:, :8] * 2, x[:, 8:]], 1)),
        Function(lambda x: F.layer_norm(x.permute(0, 2, 3, 1), [x.shape[1]]).permute(0, 3, 1, 2)),
        Function(lambda x: x.softmax(1)),
        Table(),
    ],
    ids=["group norm", "instance norm", "shuffle", "slices", "layer norm", "softmax", "position table"],
)
def test_what_cannot_be_cut_out_stays_and_is_named(between: nn.Module, caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 16, 16)
    net = Between(between).eval()
    small = niwaki.prune(net, sparsity=0.4, pattern="channels", scope="local", calibration=x)
    assert small.first.weight.shape == net.first.weight.shape
    assert len(small.second.weight) < len(net.second.weight)
    assert "layer 'first' stay" in caplog.text


def test_where_nothing_can_be_cut_out_a_layer_is_named() -> None:
    class Shuffled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(shuffled(self.first(x)))

    with pytest.raises(niwaki.NiwakiError, match=r"Layer 'first'.*skip="):
        niwaki.prune(Shuffled(), sparsity=0.5, pattern="channels", calibration=torch.randn(2, 3, 16, 16))


def test_the_answer_is_that_of_a_network_that_ignores_the_channels() -> None:
    torch.manual_seed(0)
    net = Between(nn.BatchNorm2d(16)).eval()
    x = torch.randn(2, 3, 16, 16)
    small = niwaki.prune(net, sparsity=0.5, pattern="channels", scope="local", calibration=x)
    kept = [int((net.first.weight == row).flatten(1).all(1).nonzero()) for row in small.first.weight]
    outputs = [int((net.second.bias == value).nonzero()) for value in small.second.bias]
    with torch.no_grad():
        net.second.weight[:, [c for c in range(16) if c not in kept]] = 0
        net.head.weight[:, [c for c in range(8) if c not in outputs]] = 0
    torch.testing.assert_close(small.eval()(x), net(x))


class Block(nn.Module):
    """Attention of four heads of 8 and a feed-forward layer, both with residuals, float32 [N, T, 32]."""

    def __init__(self, *, joint: bool, told: bool = True) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(32), nn.LayerNorm(32)
        if joint:
            self.qkv = nn.Linear(32, 96)
        else:
            self.q, self.k, self.v = nn.Linear(32, 32), nn.Linear(32, 32), nn.Linear(32, 32)
        self.proj, self.fc1, self.fc2 = nn.Linear(32, 32), nn.Linear(32, 64), nn.Linear(64, 32)
        self.joint, self.told, self.num_heads, self.attn_dim = joint, told, 4, 32

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, heads = self.norm1(x), self.num_heads if self.told else 4
        if self.joint:
            q, k, v = self.qkv(y).reshape(*y.shape[:2], 3, heads, 8).permute(2, 0, 3, 1, 4).unbind(0)
        else:
            q, k, v = (part(y).view(*y.shape[:2], heads, 8).transpose(1, 2) for part in (self.q, self.k, self.v))
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        x = x + self.proj(y.reshape(*x.shape[:2], self.attn_dim))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


def transformer(**options: bool) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(Block(**options), Block(**options), nn.Linear(32, 5)).eval()


@pytest.mark.parametrize("joint", [True, False])
def test_whole_heads_and_channels_of_feed_forward_layers_go(joint: bool) -> None:
    net, x = transformer(joint=joint), torch.randn(2, 7, 32)
    weak = net[0].proj.weight[:, 8:24]
    with torch.no_grad():
        weak *= 1e-3
    small = niwaki.prune(net, sparsity=0.5, pattern="channels", scope="local", calibration=x)
    for block in small[:2]:
        assert block.num_heads == 2 and block.attn_dim == 16
        assert block.proj.weight.shape == (32, 16) and block.fc1.weight.shape == (32, 32)
        assert block.fc2.weight.shape == (32, 32)
    assert torch.equal(small[0].proj.weight, net[0].proj.weight[:, [*range(8), *range(24, 32)]])
    net_compiled = niwaki.compile(niwaki.quantize(small, x, progress=False), (x,), threads=1)
    assert net_compiled(torch.randn(3, 9, 32)).shape == (3, 9, 5)


def test_heads_that_the_code_counts_itself_stay_and_are_named(caplog: pytest.LogCaptureFixture) -> None:
    small = niwaki.prune(
        transformer(joint=True, told=False), sparsity=0.5, pattern="channels", scope="local",
        calibration=torch.randn(2, 7, 32),
    )  # fmt: skip
    assert small[0].qkv.weight.shape == (96, 32) and small[0].num_heads == 4 and small[0].attn_dim == 32
    assert small[0].fc1.weight.shape == (32, 32)
    assert "'0.proj' and 1 like it stay" in caplog.text


def test_skipped_heads_stay() -> None:
    small = niwaki.prune(
        transformer(joint=False), sparsity=0.5, pattern="channels", scope="local", skip=("0.v",),
        calibration=torch.randn(2, 7, 32),
    )  # fmt: skip
    assert small[0].num_heads == 4 and small[1].num_heads == 2


def test_a_report_says_that_channels_were_cut_before() -> None:
    net, x = Joined(), torch.randn(16, 3, 8, 8)
    small = niwaki.prune(net, sparsity=0.25, pattern="channels", calibration=x)
    small = niwaki.prune(small, sparsity=0.25, pattern="channels", calibration=x)
    lost = 4 * sum(p.numel() for p in net.parameters()) - 4 * sum(p.numel() for p in small.parameters())
    _, report = niwaki.compress(copy.deepcopy(small).eval(), x.split(4), progress=False)
    assert report.network.lost_bytes == report.to_dict()["network"]["lost_bytes"] == lost
    assert "which had lost channels (niwaki.prune)" in " ".join(str(report).split())
    _, report = niwaki.compress(net.eval(), x.split(4), progress=False)
    assert report.network.lost_bytes == 0 and "channels" not in str(report)


@pytest.mark.parametrize("skipped", ["first", "second"])
def test_layers_that_share_the_weight_of_a_skipped_one_keep_their_channels(skipped: str) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.before, self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 8)
            self.between, self.last = nn.Linear(8, 8), nn.Linear(8, 3)
            self.second.weight = self.first.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for layer in (self.before, self.first, self.between, self.second):
                x = layer(x).relu()
            return self.last(x)

    net = Tied()
    net.first.weight.requires_grad_(False)
    small = niwaki.prune(net, sparsity=0.5, pattern="channels", skip=(skipped,), calibration=torch.randn(4, 6))
    assert len(small.first.weight) == len(small.second.weight) == 8
    assert small.before.out_features == small.between.out_features == 4
    assert not small.first.weight.requires_grad and not small.second.weight.requires_grad
