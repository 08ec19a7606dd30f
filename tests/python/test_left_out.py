"""Losses of layers: on inputs that decided nothing, at the scale of the network's own outputs."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import nn

from niwaki.layerwise.exact import Exact
from niwaki.layerwise.sensitivity import sensitivities
from niwaki.layerwise.walk import Visit
from niwaki.modules.layer import layer_of
from niwaki.pruning.left_out import choose_damping, left_out, measure_losses
from niwaki.pruning.problem import Problem
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


@pytest.mark.parametrize("groups", [1, 2])
def test_some_channels_choose_the_damping_of_all(groups: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(64 * groups, 300 * groups, 1, groups=groups)).eval()
    x = torch.randn(8, 64 * groups, 1, 20)
    seen = dataclasses.replace(visit_of(net, list(x.split(1))), varied=True)
    weights: list[torch.Size] = []

    class Seen(Problem):
        def __init__(self, visit: Visit, *args: Any, **kwargs: Any) -> None:
            weights.append(visit.weight.shape)
            super().__init__(visit, *args, **kwargs)

    monkeypatch.setattr("niwaki.pruning.left_out.Problem", Seen)
    for pattern in ("block4", "unstructured", "2:4"):
        rows = torch.ones(300 * groups)
        damping, known = choose_damping(seen, pattern, rows, 150 * groups * 64 // (4 if pattern == "block4" else 1))
        assert known is not None
        problem = Problem(seen, pattern, rows, damping=damping)
        rows_of = torch.randn(groups, 2, 64)
        torch.testing.assert_close(known.covariance.times(rows_of), problem.moments.covariance.times(rows_of))
    assert set(weights) == {torch.Size([64 * groups, 64, 1, 1])}


def test_weights_move_little_where_inputs_tell_little() -> None:
    """Each input has a direction of its own: what fits those that are known is wrong for the others."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(256, 200)).eval()
    little = visit_of(net, list(torch.randn(64, 256).split(4)))
    alike = torch.randn(64, 8) @ torch.randn(8, 256)  # and of these, few tell all
    much = visit_of(net, list((alike + 0.01 * torch.randn(64, 256)).split(4)))
    found = [
        choose_damping(dataclasses.replace(seen, varied=True), "unstructured", None, 200 * 128)[0]
        for seen in (little, much)
    ]
    assert found[0] > found[1]
