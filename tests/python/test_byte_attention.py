"""Attention whose products are in 8 bits: which ones, what they answer, and that files and checkpoints keep them."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import niwaki
from niwaki.quantization.attention_codes import as_codes
from niwaki.quantization.ranges import attach_ranges, ranges_of


class Layer(nn.Module):
    """Attention of four heads of 8 with a residual, float32 [N, T, 32]."""

    def __init__(self, spread: float = 1.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(32)
        self.qkv = nn.Linear(32, 96)
        self.proj = nn.Linear(32, 32)
        self.spread = spread

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        qkv = self.qkv(self.norm(x)).unflatten(-1, (3, 4, 8)).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0] * self.spread, qkv[1], qkv[2]
        return x + self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def network(*spreads: float) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(*(Layer(spread) for spread in spreads)).eval()


def signals(count: int, length: int = 24) -> torch.Tensor:
    return torch.randn(count, length, 32, generator=torch.Generator().manual_seed(length))


def precisions(net: niwaki.Network) -> list[str]:
    return [step.kernel.rsplit("_", 1)[0] for step in net.plan if step.op == "attention"]


def error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    with torch.no_grad():
        return float((found - wanted).norm() / wanted.norm())


def test_attention_of_a_quantized_network_multiplies_bytes(tmp_path):
    model = network(1.0, 1.0)
    small = niwaki.quantize(model, [signals(32), signals(32, 3)], progress=False)
    assert len(ranges_of(small).attentions) == 2
    net = niwaki.compile(small, (signals(2),), threads=1)
    assert precisions(net) == ["byte_attention"] * 2
    net.save(tmp_path / "net.niwaki")
    loaded = niwaki.load(tmp_path / "net.niwaki")
    for x in (signals(2, 24), signals(3, 50), signals(1, 600), signals(2, 3)):
        assert error(net(x), model(x)) < 0.02
        assert torch.equal(loaded(x), net(x))


def test_networks_in_float32_keep_theirs():
    net = niwaki.compile(network(1.0), (signals(2),), threads=1)
    assert precisions(net) == ["attention"]
    assert torch.allclose(net(signals(2)), network(1.0)(signals(2)), atol=1e-5)


def test_attention_that_costs_too_much_stays_in_float32():
    # Scores of some hundreds: the first layer's attention takes one key, whichever codes make the greatest.
    model = network(3000.0, 1.0)
    auto = niwaki.quantize(model, signals(64), progress=False)
    every = niwaki.quantize(model, signals(64), niwaki.QuantizeConfig(precision="int8"), progress=False)
    assert len(ranges_of(every).attentions) == 2
    assert len(ranges_of(auto).attentions) < 2
    assert "attention" in precisions(niwaki.compile(auto, (signals(2),), threads=1))


def test_a_checkpoint_keeps_what_was_chosen():
    small = niwaki.quantize(network(1.0), signals(32), progress=False)
    state = small.state_dict()
    other = copy.deepcopy(small)
    attach_ranges(other, dataclasses.replace(ranges_of(small), attentions=frozenset()))
    other.load_state_dict(state)
    assert ranges_of(other) == ranges_of(small)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shape", [(2, 3, 40, 16), (1, 1, 700, 8), (2, 17, 64)])
def test_the_simulation_is_what_the_core_computes(shape, causal):
    """What as_codes makes of inputs, in torch's attention, is what the compiled network answers but for rounding."""

    class Plain(nn.Module):
        def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            return F.scaled_dot_product_attention(q, k, v, is_causal=causal)

    torch.manual_seed(1)
    q, k, v = torch.randn(shape), torch.randn(shape) + 5, torch.randn(shape)
    net = niwaki.compile(in_bytes(Plain(), (q, k, v)), (q, k, v), threads=1)
    assert precisions(net) == ["byte_attention"]
    simulated = F.scaled_dot_product_attention(*as_codes(q, k, v), is_causal=causal)
    exact = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    assert error(net(q, k, v), simulated) < 1e-3
    assert 1e-3 < error(simulated, exact) < 0.02


def in_bytes(model: nn.Module, inputs: tuple[torch.Tensor, ...]) -> nn.Module:
    """A network of attention alone, whose products are in 8 bits: quantize would find no layer in it."""
    from niwaki.capture import capture
    from niwaki.lower.nodes import name_nodes, origin
    from niwaki.lower.operators.products import is_attention
    from niwaki.quantization.ranges import Ranges

    captured = capture(model, inputs, {})
    module = captured.program()
    name_nodes(module)
    names = frozenset(origin(node) for node in module.graph.nodes if is_attention(node))
    assert names
    attach_ranges(model, Ranges(captured.fingerprint, {}, frozenset(), names))
    return model


def test_few_queries_are_not_rounded():
    q, k, v = torch.randn(3, 8), torch.randn(20, 8), torch.randn(20, 8)
    assert all(torch.equal(a, b) for a, b in zip(as_codes(q, k, v), (q, k, v), strict=True))


def test_codes_let_gradients_through():
    q = torch.randn(20, 8, requires_grad=True)
    rounded, _, _ = as_codes(q, torch.randn(20, 8), torch.randn(20, 8))
    rounded.sum().backward()
    assert torch.equal(q.grad, torch.ones_like(q))
