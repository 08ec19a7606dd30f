"""Sequences shorter than those of the calibration: what attention averages over fewer tokens spans more."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import niwaki
from niwaki.nn.layers import quantized_layers
from niwaki.quantization.inputs import Batch
from niwaki.quantization.lengths import shorter
from niwaki.quantization.programs import Programs


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(64, 4, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.attention(x, x, x, need_weights=False)[0]
        return found


class Linear(nn.Module):
    """Attention without softmax: means of values."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(32, 96), nn.Linear(32, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (y.unflatten(-1, (4, 8)) for y in self.qkv(x).chunk(3, -1))
        q, k = F.elu(q) + 1, F.elu(k) + 1
        whole = 1 / (torch.einsum("nlhd,nhd->nlh", q, k.sum(1)) + 1e-6)
        y = torch.einsum("nlhd,nhmd,nlh->nlhm", q, torch.einsum("nlhd,nlhm->nhmd", k, v), whole)
        found: torch.Tensor = self.out(y.flatten(2))
        return found


def layer() -> nn.Module:
    return nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)


@pytest.mark.parametrize(("make", "width"), [(layer, 64), (Attention, 64), (Linear, 32)])
def test_what_is_averaged_over_few_tokens_is_not_cut_off(make: Callable[[], nn.Module], width: int) -> None:
    torch.manual_seed(0)
    model = make().eval()
    small, report = niwaki.compress(model, [torch.randn(2, 32, width) for _ in range(8)], progress=False)
    net = niwaki.compile(small, (torch.randn(2, 32, width),), threads=1)
    for length in (32, 64, 4, 1):
        x = torch.randn(2, length, width)
        with torch.no_grad():
            wanted = model(x)
        assert float((net(x) - wanted).norm() / wanted.norm()) < 0.02, length
    last = [found for found in quantized_layers(small) if found.name.endswith(("out_proj", "out"))]
    assert [found.dynamic for found in last] == [True]
    assert "shorter sequences" in str(report)


def calls(model: nn.Module, *given: tuple[torch.Tensor, ...]) -> list[tuple[int, ...]]:
    found = [Batch(number, args, {}) for number, args in enumerate(given)]
    program = Programs(model.eval()).find(found[0])
    assert program is not None
    return [tuple(call.tensors[0].shape) for call in shorter(program, found)]


def test_what_is_shortened() -> None:
    tokens = nn.Sequential(nn.Linear(6, 5))
    assert calls(tokens, (torch.randn(2, 32, 6),), (torch.randn(1, 20, 6),)) == [(2, 2, 6), (1, 1, 6)]
    # Sequences of all lengths, pictures, and rows.
    assert calls(tokens, (torch.randn(2, 32, 6),), (torch.randn(1, 2, 6),)) == []
    assert calls(nn.Sequential(nn.Conv2d(3, 4, 3)), (torch.randn(2, 3, 32, 32),)) == []
    assert calls(tokens, (torch.randn(20, 6),)) == []
