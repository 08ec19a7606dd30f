"""Layers that compute with other weights or types than theirs stay as they are."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import niwaki
from niwaki.nn.layers import quantized_layers


class Replaced(nn.Module):
    """Twice the weights of its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.first, self.second = nn.Embedding(9, 4), nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        def twice(layer: nn.Module, *args: torch.Tensor) -> torch.Tensor:
            weights = {name: 2 * value for name, value in layer.named_parameters()}
            found: torch.Tensor = torch.func.functional_call(layer, weights, args)
            return found

        return self.second(F.relu(twice(self.first, twice(self.table, x))))  # type: ignore[no-any-return]


class Half(nn.Module):
    """A part of it in bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.first, self.second = nn.Embedding(9, 4), nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = F.relu(self.first(self.table(x)))
        return self.second(y.float())  # type: ignore[no-any-return]


@pytest.mark.parametrize(("model", "words"), [(Replaced, "functional_call"), (Half, "torch.autocast")])
def test_what_is_called_otherwise_stays_float32(model: type[nn.Module], words: str) -> None:
    torch.manual_seed(0)
    net = model().eval()
    calls = [torch.randint(0, 9, (4, 5)) for _ in range(8)]
    small, report = niwaki.compress(net, calls, progress=False)
    compiled = niwaki.compile(small, (calls[0],), threads=1)
    for ids in (calls[0], torch.randint(0, 9, (1, 3))):
        with torch.no_grad():
            wanted = net(ids)
        assert float((compiled(ids) - wanted).norm() / wanted.norm()) < 0.03
    assert words in str(report)
    assert [layer.name for layer in quantized_layers(small)] == ["second"]


class Repeated(nn.Module):
    """Tokens as often as numbers say: how many there are then, no graph knows, so a layer behind it stays in torch."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.out = nn.Embedding(9, 8), nn.Linear(8, 4)

    def forward(self, ids: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.out(torch.repeat_interleave(self.table(ids)[0], times[0], 0)[None])
        return found


def test_a_layer_behind_what_no_graph_holds_is_quantized() -> None:
    torch.manual_seed(0)
    net = Repeated().eval()
    calls = [{"ids": torch.randint(0, 9, (1, 6)), "times": torch.randint(1, 4, (1, 6))} for _ in range(4)]
    small, _ = niwaki.compress(net, calls, progress=False)
    compiled = niwaki.compile(small, (calls[0]["ids"], calls[0]["times"]), threads=1)
    for call in calls[:2]:  # other numbers of elements
        for each in (small, compiled):
            with torch.no_grad():
                wanted, found = net(**call), each(**call)
            assert float((found - wanted).norm() / wanted.norm()) < 0.03
