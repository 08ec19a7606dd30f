"""Cells that a network calls in a loop, and layers that it calls with some steps at a time, are pruned as layers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from niwaki.layerwise.sensitivity import probe
from niwaki.layerwise.sequences import Seen, watch, write_back
from niwaki.pruning.config import PruneConfig
from niwaki.pruning.prune import prune_with_reasons
from niwaki.quantization.inputs import Batch

STEPS = 6


class Whole(nn.Module):
    """What a layer gives at each step, and an LSTM's last cell."""

    def __init__(self, kind: type[nn.RNNBase], layers: int = 1) -> None:
        super().__init__()
        self.layer = kind(8, 8, layers, batch_first=True)
        self.fc = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> Any:
        y, state = self.layer(x)
        return (self.fc(y), state[1]) if isinstance(self.layer, nn.LSTM) else self.fc(y)


class Stepped(nn.Module):
    """The same, step by step, of a cell or of the layer.

    Args:
        whole: gives the weights.
        layer: that is called: one of cells is called with a step, one of layers with `size` steps.
        size: steps of a call.
    """

    def __init__(self, whole: Whole, layer: Any, size: int = 1) -> None:
        super().__init__()
        self.layer, self.fc, self.size = layer, copy.deepcopy(whole.fc), size
        write_back(whole.layer, layer)
        self.cell = isinstance(layer, nn.RNNCellBase)

    def forward(self, x: torch.Tensor) -> Any:
        state: Any = None
        found = []
        for piece in x.split(self.size, 1):
            if self.cell:
                state = self.layer(piece[:, 0], state)
                found.append((state[0] if isinstance(state, tuple) else state)[:, None])
            else:
                y, state = self.layer(piece, state)
                found.append(y)
        y = self.fc(torch.cat(found, 1))
        lstm = isinstance(self.layer, (nn.LSTM, nn.LSTMCell))
        return (y, state[1].reshape(-1, len(x), 8)) if lstm else y


CELLS: dict[type[nn.RNNBase], type[nn.RNNCellBase]] = {nn.LSTM: nn.LSTMCell, nn.GRU: nn.GRUCell, nn.RNN: nn.RNNCell}


def inputs(count: int = 8) -> list[Batch]:
    return [Batch(number, (torch.randn(4, STEPS, 8),), {}) for number in range(count)]


def pair(kind: type[nn.RNNBase], way: str) -> tuple[Whole, Stepped]:
    torch.manual_seed(0)
    layers = 2 if way == "two layers" else 1
    whole = Whole(kind, layers).eval()
    layer = CELLS[kind](8, 8) if way == "cell" else kind(8, 8, layers, batch_first=True)
    return whole, Stepped(whole, layer, 1 if way == "cell" else 4).eval()


def seen_of(net: nn.Module, batches: list[Batch]) -> Seen:
    seen = watch(net, copy.deepcopy(net), "layer", batches, most=1 << 30)
    assert seen is not None
    return seen


@pytest.mark.parametrize("way", ["cell", "pieces", "two layers"])
@pytest.mark.parametrize("kind", CELLS)
def test_steps_are_watched_as_a_sequence(kind: type[nn.RNNBase], way: str) -> None:
    whole, stepped = pair(kind, way)
    batches = inputs(3)
    wanted, found = seen_of(whole, batches), seen_of(stepped, batches)
    assert found.now.lengths.tolist() == [STEPS] * 12 and torch.equal(found.now.origins, wanted.now.origins)
    assert torch.equal(found.now.x, wanted.now.x) and torch.equal(found.before.x, wanted.before.x)
    for a, b in zip(found.wanted.parts, wanted.wanted.parts, strict=True):
        torch.testing.assert_close(a, b)
    assert bool(wanted.pulls.y.any())
    for a, b in zip(found.pulls.parts, wanted.pulls.parts, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("way", ["cell", "pieces"])
@pytest.mark.parametrize("kind", CELLS)
def test_steps_are_pruned_as_a_sequence(kind: type[nn.RNNBase], way: str) -> None:
    nets = pair(kind, way)
    batches = inputs()
    config = PruneConfig(0.5, scope="local", importance="second_order")
    found = []
    for net in nets:
        small, reasons = prune_with_reasons(net, config, batches, recurrent=True, needed=False, progress=False)
        assert reasons["layer"].startswith("pruned by second order, which costs")
        names = [name for name, _ in small.layer.named_parameters() if name.startswith("weight")]
        found.append([getattr(small.layer, name) for name in names])
    for a, b in zip(*found, strict=True):
        assert torch.equal(a == 0, b == 0)
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def _lstm(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The cell within is read."""
    state: Any = None
    cells = []
    for t in range(STEPS):
        state = net.layer(x[:, t], state)
        cells.append(state[1])
    return state[0] + cells[2]


def _halved(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """A state that is changed between steps."""
    h = x.new_zeros(len(x), 8)
    for t in range(STEPS):
        h = net.layer(x[:, t], h / 2 if t == 4 else h)
    return h


def _branches(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Two ways on from one state."""
    h = net.layer(x[:, 1], net.layer(x[:, 0]))
    left, right = net.layer(x[:, 2], h), net.layer(x[:, 3], h)
    return net.layer(x[:, 4], left) + net.layer(hx=right, input=x[:, 5])


def _two(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Two sequences by turns."""
    a = b = x.new_zeros(len(x), 8)
    for t in range(0, STEPS, 2):
        a, b = net.layer(x[:, t], a), net.layer(x[:, t + 1], b)
    return a + b


class Net(nn.Module):
    def __init__(self, layer: nn.Module, run: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.layer, self.run, self.fc = layer, run, nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.run(self, x))


@pytest.mark.parametrize(
    ("kind", "run", "lengths", "ends"),
    [
        (nn.LSTMCell, _lstm, [3, 3], [2, 5]),
        (nn.GRUCell, _halved, [4, 2], [3, 5]),
        (nn.GRUCell, _branches, [4, 2], [4, 5]),
        (nn.RNNCell, _two, [3, 3], [4, 5]),
    ],
)
def test_where_sequences_end(kind: Any, run: Callable[..., torch.Tensor], lengths: list[int], ends: list[int]) -> None:
    """There, an error counts as whatever reads that state says."""
    torch.manual_seed(0)
    net = Net(kind(8, 8), run).eval()
    x = torch.randn(4, STEPS, 8)
    seen = seen_of(net, [Batch(0, (x,), {})])
    assert seen.now.lengths.tolist() == [length for length in lengths for _ in range(4)]
    calls: list[tuple[torch.Tensor, ...]] = []

    def keep(_: nn.Module, __: Any, output: Any) -> Any:
        parts = tuple(part.clone() for part in (output if isinstance(output, tuple) else (output,)))
        for part in parts:
            part.retain_grad()
        calls.append(parts)
        return parts if isinstance(output, tuple) else parts[0]

    net.layer.register_forward_hook(keep)
    probe(net(x), torch.Generator().manual_seed(0))[0].backward()
    for number, (length, end) in enumerate(zip(lengths, ends, strict=True)):
        rows = slice(4 * number, 4 * number + 4)
        found = [seen.pulls.y[length - 1, rows], *(part[0, rows] for part in seen.pulls.last[1:])]
        for a, part in zip(found, calls[end], strict=True):
            torch.testing.assert_close(a, torch.zeros_like(a) if part.grad is None else part.grad)
        assert bool(found[0].any())
