"""Layers that compute with other weights or types than theirs stay as they are."""

from __future__ import annotations

from collections.abc import Callable

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


class Read(nn.Module):
    """A layer whose parameters are read by others, as those of an encoder by its decoder."""

    def __init__(self, layer: nn.Module, function: Callable[[torch.Tensor, nn.Module], torch.Tensor]) -> None:
        super().__init__()
        self.layer, self.function, self.last = layer, function, nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.layer(x)
        y = y[0] if isinstance(y, tuple) else y
        return self.last(x), self.function(y, self.layer)


READ = {
    "Conv1d": (nn.Conv1d(6, 4, 3, dilation=2), (6, 8), lambda y, c: F.conv_transpose1d(y, c.weight, dilation=2)),
    "Conv1d's bias": (nn.Conv1d(6, 4, 3), (6, 8), lambda y, c: y * c.bias[:, None]),
    "Conv3d": (nn.Conv3d(4, 4, (3, 2, 1), groups=2), (4, 5, 6, 8),
               lambda y, c: F.conv_transpose3d(y, c.weight, groups=2)),
    "ConvTranspose1d": (nn.ConvTranspose1d(6, 4, 5, 3), (6, 8), lambda y, c: F.conv1d(y, c.weight, stride=3)),
    "ConvTranspose2d": (nn.ConvTranspose2d(6, 4, (3, 4), (2, 3), groups=2), (6, 5, 8),
                        lambda y, c: F.conv2d(y, c.weight, stride=(2, 3), groups=2) + c.bias.sum()),
    "ConvTranspose3d": (nn.ConvTranspose3d(4, 6, 3, 2, 1), (4, 3, 4, 8), lambda y, c: F.conv3d(y, c.weight, stride=2)),
    "GRU": (nn.GRU(8, 6, batch_first=True), (5, 8), lambda y, c: y @ c.weight_hh_l0.t()),
    "LSTM's bias": (nn.LSTM(8, 6, batch_first=True), (5, 8), lambda y, c: y * c.bias_ih_l0[:6]),
}  # fmt: skip


@pytest.mark.parametrize(("layer", "shape", "function"), READ.values(), ids=READ)
def test_layers_whose_parameters_others_read_are_as_they_were(layer, shape, function) -> None:
    model, x = Read(layer, function).eval(), torch.randn(4, *shape)
    small, report = niwaki.compress(model, x, progress=False)
    net = niwaki.compile(small, (x,), threads=1)
    with torch.no_grad():
        wanted = model(x)[1]
    torch.testing.assert_close(net(x)[1], wanted, atol=1e-5, rtol=1e-4)
    assert [found.name for found in quantized_layers(small)] == ["last"]
    assert "other parts of the network read its weight" in str(report)


def test_all_linear_layers_may_be_none() -> None:
    """`dynamic=True` of a network of convolutions. A name that is none is an error still."""
    model, x = nn.Sequential(nn.Conv1d(4, 6, 3), nn.ReLU()).eval(), torch.randn(4, 4, 9)
    niwaki.compress(model, x, dynamic=True, progress=False)
    with pytest.raises(ValueError, match="'last' matches no linear layer"):
        niwaki.compress(model, x, dynamic=("last",), progress=False)
