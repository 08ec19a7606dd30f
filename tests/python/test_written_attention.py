"""softmax(q k' * scale + mask) v, written out, becomes one attention, and answers the same."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import niwaki

Tensor = torch.Tensor
LOWEST = torch.finfo(torch.float32).min


class Written(nn.Module):
    """Attention of four heads, [N, 4, 10, 8] each, as a function says."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(2)
        self.bias = nn.Parameter(torch.randn(1, 4, 10, 10, generator=generator))
        self.windows = nn.Parameter(torch.randn(3, 10, 10, generator=generator))
        self.heads = nn.Parameter(torch.rand(4, 1, 1, generator=generator) + 0.5)
        self.function = function

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        return self.function(self, q, k, v, mask)


def _swin(m: Written, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    q, k, v = (torch.cat([x, x, x]) for x in (q, k, v))  # three windows of each image
    scores = (q * 0.3) @ k.transpose(-2, -1) + m.bias
    scores = scores.view(scores.shape[0] // 3, 3, 4, 10, 10) + m.windows.unsqueeze(1).unsqueeze(0)
    return (scores.view(-1, 4, 10, 10).softmax(-1) @ v)[: mask.shape[0]]


def _bmm(m: Written, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    q, k, v = (x.reshape(-1, 10, 8) for x in (q, k, v))
    return torch.bmm(F.softmax(torch.bmm(q, k.permute(0, 2, 1)) / 3, dim=2), v).view(mask.shape[0], 4, 10, 8)


ONE: dict[str, Callable[..., Tensor]] = {
    "plain": lambda m, q, k, v, mask: (q @ k.transpose(-2, -1) / math.sqrt(8)).softmax(-1) @ v,
    "scaled queries": lambda m, q, k, v, mask: ((q / 3) @ k.mT).softmax(-1) @ v,
    "bias": lambda m, q, k, v, mask: F.softmax(m.bias + (q * 0.3) @ k.mT, dim=-1) @ v,
    "mask": lambda m, q, k, v, mask: (q @ k.mT * 0.2 + mask[:, None]).softmax(-1) @ v,
    "bias and mask": lambda m, q, k, v, mask: (q @ k.mT + m.bias + mask[:, None]).softmax(-1) @ v,
    "hidden": lambda m, q, k, v, mask: (
        (q @ k.mT).masked_fill(mask[:, None] > 0, -math.inf).softmax(-1) @ v
    ),
    "lowest": lambda m, q, k, v, mask: (q @ k.mT).masked_fill(mask[:, None] > 0, LOWEST).softmax(-1) @ v,
    "temperature": lambda m, q, k, v, mask: (q @ k.mT * m.heads).softmax(-1) @ v,
    "turned keys": lambda m, q, k, v, mask: (q @ (k.mT + 1)).softmax(-1) @ v,
    "windows": _swin,
    "batches": _bmm,
}  # fmt: skip
OTHER: dict[str, Callable[..., Tensor]] = {
    "masked before it is scaled": lambda m, q, k, v, mask: ((q @ k.mT + m.bias) * 0.2).softmax(-1) @ v,
    "over queries": lambda m, q, k, v, mask: (q @ k.mT).softmax(-2) @ v,
    "weights are read": lambda m, q, k, v, mask: (lambda w: w @ v + w.sum())((q @ k.mT).softmax(-1)),
    "scores are read": lambda m, q, k, v, mask: (lambda s: s.softmax(-1) @ v + s.sum())(q @ k.mT),
    "scores are bent": lambda m, q, k, v, mask: (q @ k.mT).tanh().softmax(-1) @ v,
    "hidden a little": lambda m, q, k, v, mask: (q @ k.mT).masked_fill(mask[:, None] > 0, -5.0).softmax(-1) @ v,
}  # fmt: skip


def inputs(count: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(count)
    q, k, v = (torch.randn(count, 4, 10, 8, generator=generator) for _ in range(3))
    mask = torch.randn(count, 10, 10, generator=generator)
    mask[0, 0] = 5.0  # a query that sees nothing, where that hides
    return q, k, v, mask


def compiled(function: Callable[..., Tensor]) -> tuple[nn.Module, niwaki.Network, list[str]]:
    model = Written(function).eval()
    net = niwaki.compile(model, inputs(6), threads=1)
    return model, net, [step.op for step in net.plan if step.op in ("matmul", "softmax", "attention")]


@pytest.mark.parametrize("name", ONE)
def test_it_is_one_attention(name, tmp_path):
    model, net, operators = compiled(ONE[name])
    assert operators == ["attention"]
    net.save(tmp_path / "net.niwaki")
    loaded = niwaki.load(tmp_path / "net.niwaki")
    for count in (6, 3, 9):
        given = inputs(count)
        with torch.no_grad():
            wanted = model(*given)
        assert torch.allclose(net(*given), wanted, atol=1e-5, equal_nan=True)
        assert torch.equal(loaded(*given).nan_to_num(), net(*given).nan_to_num())


def test_a_query_that_sees_nothing_is_nan_as_softmax_makes_it():
    model, net, _ = compiled(ONE["hidden"])
    found = net(*inputs(6))
    assert found[0, :, 0].isnan().all()
    assert torch.equal(found.isnan(), model(*inputs(6)).isnan())


@pytest.mark.parametrize("name", OTHER)
def test_what_is_no_attention_stays_as_it_is(name):
    model, net, operators = compiled(OTHER[name])
    assert operators == ["matmul", "softmax", "matmul"]
    with torch.no_grad():
        assert torch.allclose(net(*inputs(3)), model(*inputs(3)), atol=1e-5)
