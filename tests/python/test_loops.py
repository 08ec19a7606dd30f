"""Recurrent cells and layers that a network calls step after step: one layer where they can be, else packed once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import niwaki
from niwaki.nn.recurrent import quantized_recurrent

STEPS = 5


class Net(nn.Module):
    """Layers, those that are recurrent in int8, and what is done with them."""

    def __init__(self, forward: Callable[..., Any], layers: dict[str, nn.Module], *, rounded: bool = True) -> None:
        super().__init__()
        self.run = forward
        for name, layer in layers.items():
            if isinstance(layer, (nn.RNNBase, nn.RNNCellBase)):
                layer = quantized_recurrent(layer)
                if not rounded:
                    layer.keep_rows_in_float32("a test")
            setattr(self, name, layer)

    def forward(self, *args: torch.Tensor) -> Any:
        return self.run(self, *args)


def zeros(x: torch.Tensor, count: int) -> tuple[torch.Tensor, ...]:
    return tuple(x.new_zeros(x.shape[0], 7) for _ in range(count))


def over(net: Net, xs: Any, states: Any) -> list[torch.Tensor]:
    """The outputs of a cell for one input after the other."""
    found = []
    for x in xs:
        states = net.cell(x, states)
        found.append(states[0] if isinstance(states, tuple) else states)
    return found


def steps_of(net: Net, x: torch.Tensor) -> torch.Tensor:
    return torch.stack(over(net, [x[:, t] for t in range(x.shape[1])], zeros(x, 2)), 1)


def gru(net: Net, x: torch.Tensor) -> torch.Tensor:
    return torch.stack(over(net, x.unbind(1), zeros(x, 1)[0]), 1)


def time_first(net: Net, x: torch.Tensor) -> torch.Tensor:
    return torch.stack(over(net, x.transpose(0, 1), zeros(x, 1)[0]), 0)


def backwards(net: Net, x: torch.Tensor) -> torch.Tensor:
    return torch.stack(over(net, [x[:, t] for t in reversed(range(STEPS))], zeros(x, 1)[0])[::-1], 1)


def changed(net: Net, x: torch.Tensor) -> torch.Tensor:
    """Inputs that are computed step by step."""
    return torch.cat(over(net, [x[:, t].tanh() + x[:, 0] for t in range(STEPS)], zeros(x, 1)[0]), 1)


def the_same(net: Net, x: torch.Tensor) -> torch.Tensor:
    return over(net, [x[:, 2]] * STEPS, zeros(x, 1)[0])[-1]


def within_pictures(net: Net, x: torch.Tensor) -> torch.Tensor:
    """Steps that are columns of a value with more axes."""
    pictures = x.reshape(x.shape[0], 1, STEPS, 6).transpose(1, 3)  # [N, 6, STEPS, 1]
    return torch.stack(over(net, [pictures[:, :, t, 0] for t in range(STEPS)], zeros(x, 1)[0]), 2)


def two(net: Net, x: torch.Tensor) -> Any:
    """Two cells on top of each other."""
    (h, c), other, found = zeros(x, 2), x.new_zeros(x.shape[0], 6), []
    for t in range(STEPS):
        h, c = net.cell(x[:, t], (h, c))
        other = net.second(h, other)
        found.append(other)
    return torch.stack(found, 1), h, c


def across(net: Net, x: torch.Tensor) -> torch.Tensor:
    """Two cells, each of which reads what the other made."""
    (h,), other = zeros(x, 1), x.new_zeros(x.shape[0], 6)
    for t in range(STEPS):
        h = net.cell(x[:, t] + other, h)
        other = net.second(h, other)
    return other


def decoder(net: Net, x: torch.Tensor) -> torch.Tensor:
    (h, c), given, found = zeros(x, 2), x[:, 0], []
    for _ in range(STEPS):
        h, c = net.cell(given, (h, c))
        given = net.back(h)
        found.append(given)
    return torch.stack(found, 1)


def there_and_back(net: Net, x: torch.Tensor) -> torch.Tensor:
    """Reads all of its input, and then its own output, with one cell."""
    (h,), found = zeros(x, 1), []
    for t in range(STEPS):
        h = net.cell(x[:, t], h)
    for _ in range(3):
        h = net.cell(net.back(h), h)
        found.append(h)
    return torch.stack(found, 1)


def cell_states(net: Net, x: torch.Tensor) -> Any:
    """The cell state of the second step is read, too."""
    (h, c), found = zeros(x, 2), []
    for t in range(STEPS):
        h, c = net.cell(x[:, t], (h, c))
        if t == 1:
            found.append(c)
    return found[0], h, c


def masked(net: Net, x: torch.Tensor) -> torch.Tensor:
    """States that are changed between steps."""
    (h,) = zeros(x, 1)
    for t in range(STEPS):
        h = net.cell(x[:, t], h * 0.5 if t == 2 else h)
    return h


def branches(net: Net, x: torch.Tensor) -> Any:
    """Two runs that go on from one state."""
    h = net.cell(x[:, 1], net.cell(x[:, 0], zeros(x, 1)[0]))
    left = over(net, [x[:, 2], x[:, 3]], h)
    return left[-1], over(net, [x[:, 4], x[:, 0]], h)[-1], h


def alone(net: Net, x: torch.Tensor) -> torch.Tensor:
    """One sequence without a batch."""
    return torch.stack(over(net, list(x[0]), x.new_zeros(7)))


def pieces(net: Net, x: torch.Tensor) -> Any:
    """A layer that is called with some steps at a time."""
    states, found = None, []
    steps = len(list(range(x.shape[1])))
    for piece in (x[:, :2], x[:, 2:3], x[:, 3:steps]):
        y, states = net.layer(piece, states)
        found.append(y)
    return torch.cat(found, 1), states


def one_by_one(net: Net, x: torch.Tensor) -> Any:
    states, found = None, []
    for t in range(x.shape[1]):
        y, states = net.layer(x[:, t : t + 1].transpose(0, 1), states)
        found.append(y[0])
    return torch.stack(found, 1), states


LSTM, GRU = {"cell": nn.LSTMCell(6, 7)}, {"cell": nn.GRUCell(6, 7)}
SECOND = {"second": nn.GRUCell(7, 6)}
BACK = {"back": nn.Linear(7, 6)}
# What is done, with which layers, and how many recurrent operators that takes.
LOOPS: dict[str, tuple[Callable[..., Any], dict[str, nn.Module], int]] = {
    "steps": (steps_of, LSTM, 1),
    "unbind": (gru, GRU, 1),
    "relu": (gru, {"cell": nn.RNNCell(6, 7, nonlinearity="relu")}, 1),
    "no bias": (gru, {"cell": nn.RNNCell(6, 7, bias=False)}, 1),
    "time first": (time_first, GRU, 1),
    "backwards": (backwards, GRU, 1),
    "changed": (changed, GRU, 1),
    "the same": (the_same, GRU, 1),
    "within pictures": (within_pictures, GRU, 1),
    "two": (two, {**LSTM, **SECOND}, 2),
    "across": (across, {**GRU, **SECOND}, 2 * STEPS),
    "decoder": (decoder, {**LSTM, **BACK}, STEPS),
    "there and back": (there_and_back, {**GRU, **BACK}, 4),
    "cell states": (cell_states, LSTM, 2),
    "masked": (masked, GRU, 2),
    "branches": (branches, GRU, 2),
    "alone": (alone, GRU, 1),
    "pieces": (pieces, {"layer": nn.LSTM(6, 7, batch_first=True, proj_size=3)}, 1),
    "pieces of two layers": (pieces, {"layer": nn.GRU(6, 7, 2, batch_first=True)}, 1),
    "pieces of both directions": (pieces, {"layer": nn.GRU(6, 7, batch_first=True, bidirectional=True)}, 3),
    "one by one": (one_by_one, {"layer": nn.LSTM(6, 7, 2)}, 1),
}


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(map(equal, a, b))
    return torch.equal(a, b)


def close(a: Any, b: Any) -> None:
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("rounded", [True, False])
@pytest.mark.parametrize("name", LOOPS)
def test_loops(name: str, rounded: bool, tmp_path: Path) -> None:
    forward, layers, calls = LOOPS[name]
    net = Net(forward, layers, rounded=rounded).eval()
    compiled = niwaki.compile(net, (torch.randn(2, STEPS, 6),))
    assert not compiled.plan.torch
    recurrent = [step for step in compiled.plan if step.op == "recurrent"]
    assert len(recurrent) == calls
    compiled.save(tmp_path / "net.niwaki")
    loaded = niwaki.load(tmp_path / "net.niwaki")
    exact = rounded and "back" not in layers and name not in ("changed", "masked")
    for batch in (1, 3, 8):
        x = torch.randn(batch, STEPS, 6)
        with torch.no_grad():
            found, wanted = compiled(x), net(x)
        assert equal(found, loaded(x))
        if exact:
            assert equal(found, wanted)
        else:  # sums of float32 in another order, which may round an input otherwise
            torch.testing.assert_close(found, wanted, rtol=0.02, atol=0.02 if rounded else 1e-5)


def halves(net: Net, x: torch.Tensor) -> torch.Tensor:
    """As many steps as half of the input has."""
    return over(net, [x[:, 2 * t] for t in range(x.shape[1] // 2)], zeros(x, 1)[0])[-1]


@pytest.mark.parametrize("rounded", [True, False])
@pytest.mark.parametrize(("forward", "allowed"), [(gru, [5]), (time_first, [5]), (halves, [4, 5])])
def test_another_number_of_steps_is_refused(forward: Callable[..., Any], allowed: list[int], rounded: bool) -> None:
    """A loop is captured with the steps of its example; where others would be wrong, they are refused in words."""
    net = Net(forward, GRU, rounded=rounded).eval()
    compiled = niwaki.compile(net, (torch.randn(2, 5, 6),))
    for steps in (0, 1, 3, 4, 5, 6, 10):
        x = torch.randn(3, steps, 6)
        if steps in allowed:
            torch.testing.assert_close(compiled(x), net(x), rtol=1e-3, atol=1e-5)
        else:
            with pytest.raises(ValueError, match=r"dim 1 |length must be from 4 to 5"):
                compiled(x)


@pytest.mark.parametrize("name", ["decoder", "across", "there and back", "pieces of both directions"])
def test_calls_that_no_layer_stands_for_have_one_weight(name: str, tmp_path: Path) -> None:
    forward, layers, calls = LOOPS[name]
    net = Net(forward, layers).eval()
    compiled = niwaki.compile(net, (torch.randn(2, STEPS, 6),))
    compiled.save(tmp_path / "net.niwaki")
    steps = [step for step in compiled.plan if step.op == "recurrent"]
    kinds = sum(isinstance(part, niwaki.nn.recurrent.Recurrent) for part in net.modules())
    assert sum(step.bytes > 0 for step in steps) == kinds < calls == len(steps)
    assert all("the weights of" in step.reason for step in steps if step.bytes == 0)
    contents = niwaki.inspect(tmp_path / "net.niwaki")
    assert contents.version == 5
    places = [node["tensors"]["w_hh_l0"]["offset"] for node in contents.nodes if node["op"] == "recurrent"]
    assert len(places) == calls and len(set(places)) == kinds
    # Each tensor is counted once.
    stored = {tensor["offset"]: tensor["bytes"] for node in contents.nodes for tensor in node["tensors"].values()}
    assert sum(int(line.split()[-2]) for line in contents.tensors(None).splitlines()[2:] if line.strip()) == sum(
        stored.values()
    )


def test_the_order_of_a_stack_counts() -> None:
    """Parts of a value beside each other are a part of it only in their order, each once."""
    cases: list[Callable[[torch.Tensor], torch.Tensor]] = [
        lambda x: torch.stack([x[:, 1], x[:, 2], x[:, 3]], 1),
        lambda x: torch.stack([x[:, t] for t in range(5)], 2),
        lambda x: torch.stack([x[:, t] for t in range(5)], 0),
        lambda x: torch.stack([x[:, 2], x[:, 1], x[:, 0]], 1),
        lambda x: torch.stack([x[:, 0], x[:, 2]], 1),
        lambda x: torch.stack([x[:, 1], x[:, 1]], 1),
        lambda x: torch.cat([x[:, 1], x[:, 2]], 1),
        lambda x: torch.cat([x[:, 1:2], x[:, 2:3]], 1),
        lambda x: torch.cat([x[:, 1:2], x[:, 2:3]], 2),
        lambda x: torch.cat([x[:, 0:2], x[:, 2:4]], 1),
        lambda x: torch.stack([x[..., 0], x[..., 1]], -1),
        lambda x: torch.stack([x[:, -2], x[:, -1]], 1),
        lambda x: torch.stack([x[:, 1].reshape(-1, 2, 3), x[:, 2].reshape(-1, 2, 3)], 1),
    ]
    for number, case in enumerate(cases):
        compiled = niwaki.compile(Net(lambda net, x, case=case: case(x) * 1.5, {}).eval(), (torch.randn(2, 5, 6),))
        x = torch.randn(4, 5, 6)
        assert torch.equal(compiled(x), case(x) * 1.5), number
        if number == 0:
            assert not any(step.op == "concat" for step in compiled.plan)


class Float(nn.Module):
    """A loop of float32 cells; what it gives hangs on a state that only many steps make large."""

    def __init__(self, kind: type[nn.RNNCellBase], steps: int, feed: bool) -> None:
        super().__init__()
        self.cell, self.head, self.back = kind(16, 32), nn.Linear(32, 5), nn.Linear(32, 16)
        self.steps, self.feed, self.lstm = steps, feed, kind is nn.LSTMCell

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = c = x.new_zeros(x.shape[0], 32)
        found, given = [], x[:, 0]
        for t in range(self.steps):
            given = self.back(h) if self.feed and t else x[:, t]
            if self.lstm:
                h, c = self.cell(given, (h, c))
            else:
                h = self.cell(given, h)
            found.append(self.head(h))
        return torch.stack(found, 1)


@pytest.mark.parametrize("feed", [False, True])
@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_compressed(kind: type[nn.RNNCellBase], feed: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Float(kind, 6, feed).eval()
    small, report = niwaki.compress(net, [torch.randn(64, 6, 16)], progress=False)
    rows = {row.name: row for row in report}
    assert rows["cell"].scheme == "int8" and rows["cell"].op == kind.__name__.lower()
    compiled = niwaki.compile(small, (torch.randn(1, 6, 16),))
    assert not compiled.plan.torch
    compiled.save(tmp_path / "net.niwaki")
    loaded = niwaki.load(tmp_path / "net.niwaki")
    for batch in (1, 2, 9):
        x = torch.randn(batch, 6, 16)
        with torch.no_grad():
            wanted = net(x)
        assert torch.equal(compiled(x), loaded(x))
        assert float((compiled(x) - wanted).norm() / wanted.norm()) < 0.04
    # What is behind the last step counts for nothing; a step that is missing is no step of zeros.
    x = torch.randn(2, 8, 16)
    assert torch.equal(loaded(x), loaded(x[:, :6]))
    if not feed:
        with pytest.raises(ValueError, match=r"must|steps"):
            loaded(torch.randn(2, 5, 16))


@pytest.mark.parametrize("feed", [False, True])
def test_pruned_by_second_order(feed: bool) -> None:
    torch.manual_seed(0)
    net = Float(nn.LSTMCell, 6, feed).eval()
    small, report = niwaki.compress(net, [torch.randn(256, 6, 16)], sparsity=0.5, pattern="block4", progress=False)
    row = next(row for row in report if row.name == "cell")
    assert row.scheme == "int8" and row.zeros == pytest.approx(0.5, abs=0.02) and "second" in row.reason
    blocks = torch.cat([small.cell.weight_ih, small.cell.weight_hh], 1).reshape(-1, 4)
    assert float((blocks == 0).all(1).float().mean()) == pytest.approx(0.5, abs=0.02)
    compiled = niwaki.compile(small, (torch.randn(1, 6, 16),))
    x = torch.randn(32, 6, 16)
    with torch.no_grad():
        assert float((compiled(x) - net(x)).norm() / net(x).norm()) < 0.4
    assert next(step for step in compiled.plan if step.op == "recurrent").zeros == pytest.approx(0.5, abs=0.02)


class Again(nn.Module):
    """Layers of all kinds that are called again, for values of other scales: a head over levels, and a decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head, self.deep = (
            nn.Conv2d(3, 32, 3),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.Conv2d(32, 32, 1, groups=32),
        )
        self.table, self.cell, self.out = nn.Embedding(100, 32), nn.GRUCell(32, 32), nn.Linear(32, 100)

    def forward(self, x: torch.Tensor) -> Any:
        y, levels, words = self.stem(x).relu(), [], []
        for _ in range(3):
            levels.append(self.deep(self.head(y).relu()).mean((2, 3)))
            y = 0.1 * nn.functional.max_pool2d(y, 2)
        h, word = levels[0], x.new_zeros(x.shape[0], dtype=torch.int64)
        for _ in range(4):
            h = self.cell(self.table(word), h)
            words.append(self.out(h))
            word = words[-1].argmax(1)
        return torch.stack(levels, 1), torch.stack(words, 1)


@pytest.mark.parametrize("bits", [8, 4])
def test_layers_that_are_called_again_are_stored_once(bits: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Again().eval()
    x = torch.randn(64, 3, 18, 18)
    small = niwaki.quantize(net, [x], weight_bits=bits, progress=False)
    compiled = niwaki.compile(small, (x[:1],))
    assert not compiled.plan.torch
    compiled.save(tmp_path / "net.niwaki")
    nodes = niwaki.inspect(tmp_path / "net.niwaki").nodes
    # Of each layer, one payload; small depthwise weights are each call's own.
    tables = ["value"] if bits == 8 else ["value"] * 2
    for op, name, count in (("conv2d", "weight", 1 + 1 + 3), ("linear", "weight", 1), ("recurrent", "w_hh_l0", 1)):
        places = [node["tensors"][name]["offset"] for node in nodes if node["op"] == op and name in node["tensors"]]
        assert len(places) > 1 and len(set(places)) == count, op
    held = [node for node in nodes if node["op"] == "constant" and node["name"].startswith("table")]
    assert len(held) == len(tables) + 1
    loaded = niwaki.load(tmp_path / "net.niwaki")
    for batch in (1, 4):
        given = torch.randn(batch, 3, 18, 18)
        with torch.no_grad():
            found, wanted = compiled(given), net(given)
        assert equal(found, loaded(given))
        for a, b in zip(found, wanted, strict=True):
            # Later words hang on which one is the likeliest.
            assert float((a[:, 0] - b[:, 0]).norm() / b[:, 0].norm()) < (0.05 if bits == 8 else 0.5)
