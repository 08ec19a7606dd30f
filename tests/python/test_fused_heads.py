"""Attention reads and writes its heads where the layers around it have them: no permutation is left."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import niwaki

HEADS, WIDTH = 4, 8


class Separate(nn.Module):
    """Queries, keys and values of a layer each, float32 [N, T, 32]."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(32, 32) for _ in range(4))

    def heads(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(*x.shape[:2], HEADS, WIDTH).transpose(1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.scaled_dot_product_attention(self.heads(self.q(x)), self.heads(self.k(x)), self.heads(self.v(x)))
        return self.out(y.transpose(1, 2).flatten(2))


class Joint(nn.Module):
    """All three of one layer, float32 [N, T, 32]."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(32, 96), nn.Linear(32, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).reshape(*x.shape[:2], 3, HEADS, WIDTH).permute(2, 0, 3, 1, 4).unbind(0)
        return self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))


class Crossed(Separate):
    """Keys and values of other tokens than the queries, with a mask."""

    def forward(self, x: torch.Tensor, y: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        heads = F.scaled_dot_product_attention(
            self.heads(self.q(x)), self.heads(self.k(y)), self.heads(self.v(y)), mask[:, None, None]
        )
        return self.out(heads.transpose(1, 2).flatten(2))


class Read(Joint):
    """Others read the keys, too, and the result with its heads in front."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        q, k, v = self.qkv(x).reshape(*x.shape[:2], 3, HEADS, WIDTH).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.out(y.transpose(1, 2).flatten(2)), k, y


def example(count: int, length: int) -> torch.Tensor:
    return torch.randn(count, length, 32, generator=torch.Generator().manual_seed(length))


def moves(net: niwaki.Network) -> list[str]:
    return [step.op for step in net.plan if step.op == "permute"]


@pytest.mark.parametrize("kind", [Separate, Joint])
@pytest.mark.parametrize("int8", [False, True])
def test_no_permutation_is_left(kind, int8, tmp_path):
    torch.manual_seed(0)
    model = kind().eval()
    small = niwaki.quantize(model, [example(16, 20), example(8, 70), example(16, 1)], progress=False) if int8 else model
    net = niwaki.compile(small, (example(2, 20),), threads=2)
    assert moves(net) == []
    net.save(tmp_path / "net.niwaki")
    others = [
        niwaki.load(tmp_path / "net.niwaki", threads=1),
        niwaki.compile(small, (example(2, 20),), threads=2, isa="scalar"),
    ]
    for count, length in ((2, 20), (1, 70), (3, 1), (17, 33), (1, 600)):
        x = example(count, length)
        with torch.no_grad():
            wanted = model(x)
        found = net(x)
        if int8:
            assert (found - wanted).norm() < 0.1 * wanted.norm()
        else:
            assert torch.allclose(found, wanted, atol=1e-5)
        assert all(torch.equal(other(x), found) for other in others)


def test_other_tokens_and_a_mask():
    torch.manual_seed(0)
    model = Crossed().eval()
    mask = torch.ones(3, 9, dtype=torch.bool)
    mask[1, 5:] = mask[2, :8] = False
    given = (example(3, 30), example(3, 9), mask)
    net = niwaki.compile(model, given, threads=1)
    assert moves(net) == []
    with torch.no_grad():
        assert torch.allclose(net(*given), model(*given), atol=1e-5)


def test_what_others_read_is_made_for_them():
    torch.manual_seed(0)
    model = Read().eval()
    net = niwaki.compile(model, (example(2, 20),), threads=1)
    for found, wanted in zip(net(example(3, 40)), model(example(3, 40)), strict=True):
        assert torch.allclose(found, wanted, atol=1e-5)
