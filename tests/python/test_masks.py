"""Masks widen no range: what was put there to leave elements out is no data."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import niwaki
from niwaki.quantization import ranges_of


class Net(nn.Module):
    """Scores that are masked, and read by a layer before any softmax."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 4)
        self.register_buffer("constant", torch.tensor([0, 0, -1e4, 0, 0, 0]))
        self.register_buffer("excluded", torch.tensor([0, 0, 1, 0, 0, 0], dtype=torch.bool))

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        y = self.a(x)
        if self.kind == "a constant is added":
            y = y + self.constant
        elif self.kind == "masked_fill, infinite":
            y = y.masked_fill(self.excluded, -math.inf)
        elif self.kind == "where":
            y = torch.where(self.excluded, torch.finfo(y.dtype).min, y)
        elif self.kind == "one minus a mask of integers":
            y = y + (1.0 - mask.to(y.dtype)) * torch.finfo(y.dtype).min
        elif self.kind == "one minus a mask, times -1e4":
            y = y + (1 - mask.float()) * -1e4
        elif self.kind == "a pad":
            y = F.pad(y, (0, 2), value=-1e9)[:, :6]
        return self.b(F.max_pool1d(y[:, None], 3, 1, 1)[:, 0])


KINDS = [
    "a constant is added", "masked_fill, infinite", "where", "one minus a mask of integers",
    "one minus a mask, times -1e4", "a pad",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_no_range_holds_a_mask(kind: str) -> None:
    torch.manual_seed(0)
    net = Net(kind).eval()
    mask = torch.tensor([1, 1, 0, 1, 1, 1]).expand(8, 6)
    items = [(torch.randn(8, 6), mask) for _ in range(8)]
    small = niwaki.quantize(net, items)
    ranges = ranges_of(small).values
    assert ranges and all(-10 < low <= high < 10 for low, high in ranges.values()), ranges
    x, _ = items[0]
    with torch.no_grad():
        wanted, found = net(x, mask), niwaki.compile(small, (x, mask))(x, mask)
    assert float((found - wanted).norm() / wanted.norm()) < 0.03


def test_a_float_mask_among_the_inputs() -> None:
    class Added(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 4)

        def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return self.b(F.max_pool1d((self.a(x) + mask)[:, None], 3, 1, 1)[:, 0])

    items = [(torch.randn(8, 6), torch.tensor([0, 0, -1e4, 0, 0, 0]).expand(8, 6)) for _ in range(4)]
    values = ranges_of(niwaki.quantize(Added(), items)).values
    assert all(low > -10 for low, _ in values.values())


def test_data_as_low_as_a_mask_is_data() -> None:
    class Large(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(6, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.a((x * -20000.0).flatten(1))

    x = torch.rand(16, 6)
    (low, _), *_ = ranges_of(niwaki.quantize(Large(), x, niwaki.QuantizeConfig(observer="minmax"))).values.values()
    assert low == pytest.approx(-20000 * float(x.max()))
