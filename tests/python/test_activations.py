"""Symmetric activations, and linear layers that measure the range of their inputs when they run."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import niwaki
from niwaki import QuantizeConfig


def make_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(8, 16), nn.Linear(16, 4),
    ).eval()  # fmt: skip


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(32, 3, 8, 8, generator=torch.Generator().manual_seed(1)) + 0.3


@pytest.mark.parametrize("observer", ["minmax", "mse", "percentile", "entropy"])
def test_symmetric_zero_points_lie_in_the_middle(x: torch.Tensor, observer: str) -> None:
    affine, _ = niwaki.compress(make_net(), x, observer=observer)
    small, _ = niwaki.compress(make_net(), x, observer=observer, activations="symmetric")
    layers = [part for part in small.modules() if isinstance(part, (niwaki.nn.Conv2d, niwaki.nn.Linear))]
    # The linear layer after the pool reads what a ReLU made: no value of it is negative.
    assert [int(layer.input_zero_point) for layer in layers] == [128, 128, 0, 128]
    assert any(int(part.input_zero_point) not in (0, 128) for part in affine.modules() if hasattr(part, "input_scale"))
    compiled = niwaki.compile(small, (x[:1],))
    wanted = make_net()(x).detach()
    assert float((compiled(x) - wanted).norm() / wanted.norm()) < 0.05


def test_symmetric_ranges_stay_symmetric_in_training(x: torch.Tensor) -> None:
    prepared = niwaki.prepare(make_net(), x, QuantizeConfig(activations="symmetric"), momentum=0.5).train()
    prepared(x * 3 + 1)
    assert int(prepared[0].input_quantizer.zero_point) == 128
    small = niwaki.convert(prepared.eval(), x, QuantizeConfig(activations="symmetric"))
    assert int(small[0].input_zero_point) == 128


def test_rows_are_rounded_on_their_own() -> None:
    generator = torch.Generator().manual_seed(0)
    layer = nn.Linear(32, 8)
    rows = torch.randn(4, 6, 32, generator=generator) * torch.logspace(-3, 3, 6)[:, None] + 0.2
    small = niwaki.nn.Linear.from_float(layer, (0.0, 1.0), dynamic=True)
    real = small.weight.double() * small.weight_scale[:, None].double()
    low, high = rows.amin(-1, keepdim=True).clamp_max(0), rows.amax(-1, keepdim=True).clamp_min(0)
    scale = (high - low) / 255
    zero = (-low / scale).round()
    q = ((rows / scale).round() + zero).clamp(0, 255)
    wanted = F.linear((scale * (q - zero)).double(), real, layer.bias.detach().double()).float()
    found = small(rows)
    size = wanted.abs().amax(-1, keepdim=True)
    assert float(((found - wanted).abs() / size).max()) < 2e-3, "but for values halfway between two steps"
    with torch.no_grad():
        exact = layer(rows)
    assert float(((found - exact).norm(dim=-1) / exact.norm(dim=-1)).max()) < 0.03, "whatever the row's size"
    # What a row gives does not hang on the others, nor on the shape.
    torch.testing.assert_close(small(rows[2:3, 4:5]), found[2:3, 4:5], rtol=0, atol=0)
    assert bool((small(torch.zeros(2, 32)) == layer.bias).all()) and small(torch.zeros(0, 32)).shape == (0, 8)


def test_dynamic_layers_by_pattern(x: torch.Tensor) -> None:
    net = make_net()
    small, report = niwaki.compress(net, x, dynamic=("7",))
    assert [part.dynamic for part in small.modules() if isinstance(part, niwaki.nn.Linear)] == [False, True]
    everywhere = niwaki.quantize(net, x, QuantizeConfig(dynamic=True))
    assert all(part.dynamic for part in everywhere.modules() if isinstance(part, niwaki.nn.Linear))
    # Calibrated on small inputs, a dynamic layer still takes large ones.
    narrow = {flag: niwaki.quantize(net[6], torch.ones(4, 8), QuantizeConfig(dynamic=flag)) for flag in (False, True)}
    large = torch.randn(16, 8, generator=torch.Generator().manual_seed(3)) * 50
    with torch.no_grad():
        wanted = net[6](large)
    errors = {flag: float((layer(large) - wanted).norm() / wanted.norm()) for flag, layer in narrow.items()}
    assert errors[True] < 0.02 < 0.5 < errors[False]
    assert "dynamic=True" in repr(small)
    for copied in (copy.deepcopy(small), pickle.loads(pickle.dumps(small))):
        assert torch.equal(copied(x), small(x))
    compiled = niwaki.compile(small, (x[:1],))
    assert float((compiled(x) - small(x)).abs().max()) < 0.05
    # A layer by itself is one operator of the core, compiled or not: the same to the bit.
    alone = niwaki.compile(narrow[True], (large,))
    assert torch.equal(alone(large), narrow[True](large))
    odd = torch.cat([large, torch.tensor([[float("inf")] * 8, [float("nan")] * 8])])
    assert bool(narrow[True](odd)[-2:].isnan().all()) and torch.equal(narrow[True](odd)[:-2], narrow[True](large))
    assert [step.op for step in compiled.plan].count("dynamic_linear") == 1 and not compiled.plan.torch
    assert report.network.file_bytes and not report.network.no_file


def test_dynamic_layers_are_trained_as_they_run(x: torch.Tensor) -> None:
    prepared = niwaki.prepare(make_net(), x, QuantizeConfig(dynamic=True))
    prepared.train()
    F.cross_entropy(prepared(x), torch.arange(32) % 4).backward()
    assert all(bool(parameter.grad.isfinite().all()) for parameter in prepared.parameters())
    prepared.eval()
    small = niwaki.convert(prepared, x)
    assert all(part.dynamic for part in small.modules() if isinstance(part, niwaki.nn.Linear))
    with torch.no_grad():
        torch.testing.assert_close(small(x), prepared(x), rtol=0, atol=0.02)


def test_wrong_options_are_refused(x: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="activations must be one of 'affine', 'symmetric'"):
        QuantizeConfig(activations="odd")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="dynamic must be a tuple"):
        QuantizeConfig(dynamic="fc")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="dynamic pattern '0' matches no linear layer; close names are '6', '7'"):
        niwaki.compress(make_net(), x, dynamic=("0",))


@pytest.mark.parametrize("call", [niwaki.quantize, niwaki.prepare])
def test_bits_for_a_layer_that_is_not_there(x: torch.Tensor, call: object) -> None:
    with pytest.raises(ValueError, match=r"weight_bits pattern 'layr\.\*' matches no convolution or linear layer"):
        call(make_net(), x, QuantizeConfig(weight_bits={"layr.*": 4}))  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"niwaki\.compress: weight_bits pattern 'layr\.\*'"):
        niwaki.compress(make_net(), x, weight_bits={"layr.*": 4}, sparsity=0.5, importance="second_order")
