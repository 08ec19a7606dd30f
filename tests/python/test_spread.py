"""Mean and spread of the channels of outputs after pruning and rounding: those of the network as it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import niwaki
from niwaki.layerwise.spread import restore_spread
from niwaki.layerwise.walk import Visit
from niwaki.modules.layer import layer_of


def make_net() -> nn.Sequential:
    """A convolution, one with a group for each channel, which block4 leaves alone, and one more."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(16, 32, 1), nn.ReLU(), nn.Conv2d(32, 32, 3, groups=32), nn.ReLU(), nn.Conv2d(32, 16, 1)
    ).eval()


def outputs(net: nn.Sequential, x: torch.Tensor) -> list[torch.Tensor]:
    """Of each of the three layers, [channels, columns]."""
    found = []
    with torch.no_grad():
        for index, part in enumerate(net):
            x = part(x)
            if index in (0, 2, 4):
                found.append(x.transpose(0, 1).flatten(1))
    return found


def test_channels_keep_mean_and_spread_when_weights_go() -> None:
    net, x = make_net(), torch.randn(32, 16, 8, 8)
    pruned = niwaki.prune(net, sparsity=0.5, importance="second_order", calibration=x.split(8), progress=False)
    for before, after in zip(outputs(net, x), outputs(pruned, x), strict=True):
        assert torch.allclose(after.mean(1), before.mean(1), atol=1e-3)
        alive = after.std(1) > 1e-3  # some channels lose all of their weights
        assert int(alive.sum()) >= 16
        assert torch.allclose(after.std(1)[alive], before.std(1)[alive], rtol=1e-3)
        assert float((after - before).norm() / before.norm()) > 0.01
    assert not torch.equal(pruned[2].weight, net[2].weight)  # not pruned, and corrected all the same
    assert pruned(x).shape == net(x).shape


def test_rounded_weights_keep_the_spread_and_their_grid() -> None:
    net, x = make_net(), torch.randn(32, 16, 8, 8)
    small, _ = niwaki.compress(net, x.split(8), weight_bits=3, precision="int8", progress=False)
    for before, after in zip(outputs(net, x), outputs(small, x), strict=True):
        assert torch.allclose(after.std(1), before.std(1), rtol=0.05)
    assert all(int(small[i].weight.abs().max()) <= 3 for i in (0, 2, 4))
    alike, _ = niwaki.compress(net, x.split(8), weight_bits=3, per_channel=False, progress=False)
    assert all(len(alike[i].weight_scale.unique()) == 1 for i in (0, 4))


@pytest.mark.parametrize("bias", [True, False])
def test_nothing_changes_where_nothing_was_lost_or_no_bias_holds_the_mean(bias: bool) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(8, 4, bias=bias).requires_grad_(False)
    layer, x = layer_of(linear), torch.randn(64, 8)
    assert layer is not None
    before = linear.weight.clone()
    if not bias:
        linear.weight.mul_(0.5)
    after = linear.weight.clone()
    seen = Visit("0", layer, [x], [x], before, None if layer.bias is None else layer.bias.clone())
    assert torch.equal(restore_spread(seen), torch.ones(4)) and torch.equal(linear.weight, after)


def test_a_channel_without_weights_gets_its_mean_and_no_factor() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(8, 4).requires_grad_(False)
    layer, x = layer_of(linear), torch.randn(64, 8) + 1
    assert layer is not None and layer.bias is not None
    seen = Visit("0", layer, [x], [x], linear.weight.clone(), layer.bias.clone())
    wanted = linear(x).mean(0)
    linear.weight[0] = 0
    linear.weight[1] *= 0.8
    factors = restore_spread(seen)
    assert torch.allclose(factors, torch.tensor([1.0, 1.25, 1.0, 1.0]), atol=1e-4)
    assert torch.allclose(linear(x).mean(0), wanted, atol=1e-5)


def test_small_changes_of_large_numbers_keep_their_digits() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(8, 4).requires_grad_(False)
    layer, x = layer_of(linear), 3000 + 0.05 * torch.randn(4096, 8)
    assert layer is not None and layer.bias is not None
    seen = Visit("0", layer, list(x.split(1024)), list(x.split(1024)), linear.weight.clone(), layer.bias.clone())
    linear.weight[1] *= 0.8
    assert torch.allclose(restore_spread(seen), torch.tensor([1.0, 1.25, 1.0, 1.0]), rtol=1e-2)


def test_layers_on_tokens_are_left_to_their_norms() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(8, 4).requires_grad_(False)
    layer, x = layer_of(linear), torch.randn(16, 4, 8)
    assert layer is not None and layer.bias is not None
    seen = Visit("0", layer, [x], [x], linear.weight.clone(), layer.bias.clone())
    linear.weight.mul_(0.8)
    assert torch.equal(restore_spread(seen), torch.ones(4))
    flat = Visit("0", layer, [x.flatten(0, 1)], [x.flatten(0, 1)], seen.weight, seen.bias)
    assert torch.allclose(restore_spread(flat), torch.full((4,), 1.25))
