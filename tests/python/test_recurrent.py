"""Recurrent layers with int8 weights: as modules, compiled, and in files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import niwaki
from niwaki.nn.ops import dynamic_linear

KINDS = [nn.LSTM, nn.GRU, nn.RNN]


class Tagger(nn.Module):
    def __init__(self, kind: type[nn.RNNBase], **options: Any) -> None:
        super().__init__()
        self.layer = kind(16, 48, batch_first=True, **options)
        self.head = nn.Linear(48 * (2 if self.layer.bidirectional else 1), 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(x)[0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}, {"bias": False}])
def test_a_quarter_of_the_size_in_a_file(kind: type[nn.RNNBase], options: dict[str, Any], tmp_path: Path) -> None:
    net = Tagger(kind, **options).eval()
    small, report = niwaki.compress(net, torch.randn(64, 7, 16))
    row = next(row for row in report if row.name == "layer")
    assert row.op == kind.__name__.lower() and row.scheme == "int8" and row.error is not None and row.error < 0.01
    compiled = niwaki.compile(small, (torch.randn(1, 7, 16),))
    assert not compiled.plan.torch
    compiled.save(tmp_path / "tagger.niwaki")
    floats = 4 * sum(parameter.numel() for parameter in net.parameters())
    assert (tmp_path / "tagger.niwaki").stat().st_size < 0.35 * floats + 2000
    loaded = niwaki.load(tmp_path / "tagger.niwaki")
    for shape in ((1, 1, 16), (3, 12, 16)):
        x = torch.randn(shape)
        wanted = net(x).detach()
        assert torch.equal(loaded(x), compiled(x))
        assert float((loaded(x) - wanted).norm() / wanted.norm()) < 0.04


@pytest.mark.parametrize("kind", KINDS)
def test_it_takes_and_returns_what_the_layer_does(kind: type[nn.RNNBase]) -> None:
    layer = kind(6, 5, num_layers=2, bidirectional=True)
    small = niwaki.nn.recurrent.quantized_recurrent(layer)
    x, lengths = torch.randn(7, 3, 6), torch.tensor([4, 7, 1])

    def alike(a: Any, b: Any) -> None:
        a, b = (pad_packed_sequence(y) if isinstance(y, nn.utils.rnn.PackedSequence) else y for y in (a, b))
        if isinstance(a, tuple):
            for left, right in zip(a, b, strict=True):
                alike(left, right)
        else:
            torch.testing.assert_close(a, b, rtol=0.02, atol=0.02)

    states = layer(x)[1]
    with torch.no_grad():
        alike(small(x), layer(x))
        alike(small(x, states), layer(x, states))
        alike(small(x[:, 0]), layer(x[:, 0]))
        packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
        alike(small(packed), layer(packed))
        alike(small(packed, states), layer(packed, states))
        rows, inside = pad_packed_sequence(small(packed)[0])[0], torch.arange(7)[:, None] < lengths
        assert torch.equal(
            rows[inside],
            torch.cat([small(x[:n, i : i + 1])[0] for i, n in enumerate(lengths)], 0)[
                torch.argsort(torch.cat([torch.arange(n) * 3 + i for i, n in enumerate(lengths)]))
            ][:, 0],
        )
        assert pad_packed_sequence(small(packed)[0])[0].shape == (7, 3, 10)


class Steps(nn.Module):
    """One layer written out step by step, of products whose rows have their own ranges."""

    def __init__(self, layer: niwaki.nn.recurrent.Recurrent) -> None:
        super().__init__()
        self.layer = layer

    def product(self, x: torch.Tensor, part: str) -> torch.Tensor:
        bias = getattr(self.layer, f"bias_{part}_l0", None)
        weight = f"weight_{part}_l0"
        return dynamic_linear(x, getattr(self.layer, weight), getattr(self.layer, weight + "_scale"), bias)

    def forward(self, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        for step in range(4):
            a, b = self.product(x[step], "ih"), self.product(h, "hh")
            if self.layer.mode == "LSTM":
                i, f, g, o = (a + b).chunk(4, 1)
                c = f.sigmoid() * c + i.sigmoid() * g.tanh()
                h = o.sigmoid() * c.tanh()
                if self.layer.proj_size:
                    h = self.product(h, "hr")
            elif self.layer.mode == "GRU":
                (ra, za, na), (rb, zb, nb) = a.chunk(3, 1), b.chunk(3, 1)
                n = (na + (ra + rb).sigmoid() * nb).tanh()
                h = n + (za + zb).sigmoid() * (h - n)
            else:
                h = (a + b).tanh()
        return h, c


@pytest.mark.parametrize(("kind", "options"), [*((kind, {}) for kind in KINDS), (nn.LSTM, {"proj_size": 9})])
def test_it_is_a_loop_of_dynamic_linear_layers_to_the_bit(kind: type[nn.RNNBase], options: dict[str, Any]) -> None:
    small = niwaki.nn.recurrent.quantized_recurrent(kind(19, 37, **options))
    x, width = 3 * torch.randn(4, 3, 19), options.get("proj_size", 37)
    h, c = torch.randn(3, width), torch.randn(3, 37)
    steps = niwaki.compile(Steps(small).eval(), (x, h, c))
    assert not steps.plan.torch
    wanted, cell = steps(x, h, c)
    _, last = small(x, (h[None], c[None]) if kind is nn.LSTM else h[None])
    found = last[0] if kind is nn.LSTM else last
    assert torch.equal(found[0], wanted)
    assert kind is not nn.LSTM or torch.equal(last[1][0], cell)


def test_a_part_that_is_not_finite_stays_in_its_row() -> None:
    small = niwaki.nn.recurrent.quantized_recurrent(nn.GRU(4, 6))
    x = torch.randn(3, 2, 4)
    x[1, 0, 2] = torch.inf
    y, _ = small(x)
    assert y[1:, 0].isnan().all() and y[0].isfinite().all() and y[:, 1].isfinite().all()


def test_bad_arguments() -> None:
    small = niwaki.nn.recurrent.quantized_recurrent(nn.GRU(4, 6))
    with pytest.raises(ValueError, match="x must have three axes, the last of 4, not \\[3, 2, 5\\]"):
        small(torch.randn(3, 2, 5))
    with pytest.raises(TypeError, match="x must be float32, not float64"):
        small(torch.randn(3, 2, 4, dtype=torch.float64))
    with pytest.raises(ValueError, match="'h0' must have the shape \\[1, batch, 6\\], not \\[1, 3, 6\\]"):
        small(torch.randn(3, 2, 4), torch.randn(1, 3, 6))
    with pytest.raises(ValueError, match="x has no steps"):
        small(torch.randn(0, 2, 4))


def test_a_layer_that_rounded_inputs_cost_too_much_keeps_them() -> None:
    """One input is ten thousand times as large as the others, which are what tells rows apart."""
    torch.manual_seed(0)
    net = Tagger(nn.GRU).eval()
    with torch.no_grad():
        net.layer.weight_ih_l0[:, 0] *= 1e-5
    x = torch.randn(64, 7, 16)
    x[..., 0] *= 1e4
    small, report = niwaki.compress(net, x)
    assert not small.layer.dynamic and "8 bits for its inputs and states would cost" in report[0].reason
    with torch.no_grad():
        wanted = net(x)
    compiled = niwaki.compile(small, (x[:1],))
    assert not compiled.plan.torch
    assert float((compiled(x) - wanted).norm() / wanted.norm()) < 0.03
    forced, _ = niwaki.compress(net, x, precision="int8")
    assert forced.layer.dynamic and float((forced(x) - wanted).norm() / wanted.norm()) > 0.1


class Step(nn.Module):
    """One step of a cell, whose states the caller keeps; or as many as there are, in a loop."""

    def __init__(self, kind: type[nn.RNNCellBase], steps: int = 1) -> None:
        super().__init__()
        self.cell, self.head, self.steps = kind(16, 48), nn.Linear(48, 5), steps

    def forward(self, x: torch.Tensor, *states: torch.Tensor) -> tuple[torch.Tensor, ...]:
        for _ in range(self.steps):
            given = self.cell(x, states if len(states) == 2 else states[0])
            states = given if isinstance(given, tuple) else (given,)
        return self.head(states[0]), *states


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_cells(kind: type[nn.RNNCellBase], tmp_path: Path) -> None:
    count = 2 if kind is nn.LSTMCell else 1

    def given(batch: int) -> tuple[torch.Tensor, ...]:
        return tuple(torch.randn(batch, width) for width in (16, *[48] * count))

    net = Step(kind).eval()
    small, report = niwaki.compress(net, [given(16) for _ in range(2)], progress=False)
    assert next(row for row in report if row.name == "cell").scheme == "int8"
    compiled = niwaki.compile(small, given(1))
    assert not compiled.plan.torch and any(step.op == "recurrent" for step in compiled.plan)
    compiled.save(tmp_path / "step.niwaki")
    x = given(3)
    with torch.no_grad():
        for found, module, wanted in zip(niwaki.load(tmp_path / "step.niwaki")(*x), small(*x), net(*x), strict=True):
            assert found.shape == module.shape and torch.allclose(found, module, rtol=0.02, atol=0.02)
            assert float((found - wanted).norm() / wanted.norm()) < 0.05
        torch.testing.assert_close(
            small.cell(x[0][0]), small.cell(x[0])[0] if count == 1 else tuple(part[0] for part in small.cell(x[0]))
        )
    loop, report = niwaki.compress(Step(kind, 3).eval(), [given(16)], progress=False)
    assert next(row for row in report if row.name == "cell").scheme == "int8"
    assert [step.op for step in niwaki.compile(loop, given(2)).plan].count("recurrent") == 1


class Reader(nn.Module):
    """A loop over a cell, which is int8, and a layer whose weights are read and which is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.unused, self.head = nn.GRUCell(16, 16), nn.RNN(16, 16), nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = x
        for _ in range(3):
            h = self.cell(x, h)
        return self.head(h + x @ self.unused.weight_ih_l0.T)


def test_the_report_says_why_layers_stay_in_float32_and_how_many_zeros_they_have() -> None:
    torch.manual_seed(0)
    net, x = Reader().eval(), torch.randn(8, 16)
    small, report = niwaki.compress(net, [x], sparsity=0.5, importance="magnitude", progress=False)
    rows = {row.name: row for row in report}
    assert [rows[name].scheme for name in ("cell", "unused")] == ["int8", "float32"]
    assert "other parts of the network read its weight" in rows["unused"].reason
    weights = [small.cell.weight_ih, small.cell.weight_hh]
    zeros = 1 - sum(int(weight.count_nonzero()) for weight in weights) / sum(weight.numel() for weight in weights)
    assert rows["cell"].zeros == pytest.approx(zeros) and zeros == pytest.approx(0.5, abs=0.01)
    _, report = niwaki.compress(net, [x], skip=("cell",), progress=False)
    assert next(row for row in report if row.name == "cell").reason == "skipped by name"


class Named(nn.Module):
    """Calls its layers with arguments by name."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gru, self.cell = nn.Conv2d(1, 4, 3), nn.GRU(8, 8, batch_first=True), nn.GRUCell(8, 8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _, last = self.gru(hx=None, input=self.conv(input=x[:, None]).mean(1))
        return self.head(input=self.cell(hx=last[0], input=last[0]))


def test_layers_may_be_called_with_arguments_by_name() -> None:
    torch.manual_seed(0)
    net, x = Named().eval(), torch.randn(16, 7, 10)
    small, _ = niwaki.compress(net, [x], progress=False)
    prepared = niwaki.prepare(net, [x], progress=False)
    with torch.no_grad():
        for found in (small(x), prepared(x), niwaki.compile(small, (x,))(x)):
            assert float((found - net(x)).norm() / net(x).norm()) < 0.05
