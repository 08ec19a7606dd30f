"""Losses of layers: on inputs that decided nothing, at the scale of the network's own outputs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from niwaki.layerwise.sensitivity import sensitivities
from niwaki.layerwise.walk import Visit
from niwaki.modules.layer import layer_of
from niwaki.pruning.exact import Exact
from niwaki.pruning.left_out import left_out, measure_losses
from niwaki.quantization.inputs import Batch


def visit_of(net: nn.Sequential, parts: list[torch.Tensor]) -> Visit:
    layer = layer_of(net[0])
    assert layer is not None
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    return Visit("0", layer, parts, parts, layer.weight.clone(), None if layer.bias is None else layer.bias.clone())


def test_losses_are_those_of_the_network_that_runs() -> None:
    """Errors that all positions share add up in the mean over them, which sensitivities do not know."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(8, 16, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    # Images that are nearly constant: what one position loses, all do.
    x = torch.randn(64, 8, 1, 1) + 0.01 * torch.randn(64, 8, 6, 6)
    calls = [Batch(i, (part,), {}) for i, part in enumerate(x.split(8))]
    seen = visit_of(net, list(x.split(8)))
    rows = sensitivities(net, [seen.layer], calls)
    assert rows is not None
    exact = Exact(net, left_out(calls))
    alone, _ = measure_losses(seen, "unstructured", rows[seen.layer])
    found, zeros = measure_losses(seen, "unstructured", rows[seen.layer], exact)
    bias = seen.bias + torch.einsum("oihw,i->o", seen.weight, x.mean((0, 2, 3)))  # gives the mean back
    lost = exact.cost(seen.layer, torch.zeros_like(seen.weight), bias)
    assert alone[-1] < lost / 10  # 36 positions, each by itself
    assert lost / 2 < found[-1] < 2 * lost
    assert found == sorted(found) and zeros == 0
    assert torch.equal(seen.layer.weight, seen.weight) and torch.equal(seen.layer.bias, seen.bias)


def test_losses_are_those_of_inputs_that_decided_nothing() -> None:
    """Of 48 inputs, the weights that are left fit all of 64 columns; others see what it costs."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 16)).eval()
    x = torch.randn(64, 64)
    seen = visit_of(net, list(x.split(8)))
    few, _ = measure_losses(seen, "unstructured", torch.ones(16))
    true = float(seen.weight.square().sum())
    # Nothing left: what the outputs vary by. Half left: the smaller weights, and what fitting the others does.
    assert few[-1] == pytest.approx(true, rel=0.5)
    assert few[1] > 0.1 * true


def test_a_network_without_float_outputs_has_no_cost() -> None:
    class Picks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x).argmax(1)

    net = Picks().eval()
    layer = layer_of(net.layer)
    assert layer is not None
    cost = Exact(net, [Batch(0, (torch.randn(8, 4),), {})]).cost(layer, torch.zeros(3, 4), None)
    assert cost != cost
