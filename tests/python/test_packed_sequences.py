"""Batches with sequences of different lengths: pack_padded_sequence, recurrent layers, pad_packed_sequence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

import niwaki
from niwaki._core import isas

KINDS = [nn.LSTM, nn.GRU, nn.RNN]


class Net(nn.Module):
    """A recurrent layer over packed sequences; everything that it gives."""

    def __init__(self, kind: type[nn.RNNBase], ordered: bool = False, total: bool = True, **options: Any) -> None:
        super().__init__()
        self.layer = kind(6, 5, **options)
        self.ordered, self.total, self.first = ordered, total, self.layer.batch_first
        self.cells = kind is nn.LSTM

    def forward(self, x: torch.Tensor, lengths: torch.Tensor, *states: torch.Tensor) -> Any:
        packed = pack_padded_sequence(x, lengths, self.first, self.ordered)
        y, last = self.layer(packed, (states if self.cells else states[0]) if states else None)
        total = x.shape[1 if self.first else 0] if self.total else None
        padded, ends = pad_packed_sequence(y, self.first, total_length=total)
        return padded, ends, *(last if self.cells else (last,))


def batch(net: Net, steps: int, lengths: list[int], states: bool = False) -> tuple[torch.Tensor, ...]:
    x = torch.randn(*((len(lengths), steps) if net.first else (steps, len(lengths))), 6)
    count = net.layer.num_layers * (2 if net.layer.bidirectional else 1)
    kept = [torch.randn(count, len(lengths), 5) for _ in range(2 if net.cells else 1)]
    return x, torch.tensor(lengths), *(kept if states else ())


def close(found: Any, wanted: Any, most: float = 1e-5) -> None:
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        torch.testing.assert_close(a, b, rtol=most, atol=most)


OPTIONS = [
    {}, {"num_layers": 2, "bidirectional": True, "batch_first": True}, {"bias": False, "ordered": True},
    {"num_layers": 3, "dropout": 0.5, "batch_first": True, "ordered": True, "total": False},
    {"bidirectional": True, "total": False},
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("states", [False, True], ids=["", "states"])
def test_as_torch_at_other_lengths_and_batches(kind: type[nn.RNNBase], options: dict[str, Any], states: bool) -> None:
    net = Net(kind, **options).eval()
    compiled = niwaki.compile(net, batch(net, 5, [5, 4, 2], states), threads=1)
    assert not compiled.plan.torch, compiled.plan
    cases = [(5, [5, 4, 2]), (7, [7, 7, 3, 1]), (1, [1]), (9, [9, 4])]
    if not net.ordered:
        cases += [(6, [2, 6, 1]), (4, [1, 2, 3, 4, 4, 1])]
    if net.total:
        cases += [(8, [5, 2]), (3, [1])]
    for steps, lengths in cases:
        given = batch(net, steps, lengths, states)
        with torch.no_grad():
            close(compiled(*given), net(*given))


@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_other_kinds() -> None:
    class Projected(Net):
        def __init__(self) -> None:
            super().__init__(nn.LSTM, batch_first=True, proj_size=3, num_layers=2)

    for net in (Projected().eval(), Net(nn.RNN, nonlinearity="relu").eval()):
        given = batch(net, 5, [2, 5])
        with torch.no_grad():
            close(niwaki.compile(net, given)(*given), net(*given))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True, "batch_first": True}], ids=str)
def test_int8_is_near_and_the_same_bits_everywhere(
    kind: type[nn.RNNBase], options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = Net(kind, **options).eval()
    calibration = [batch(net, 6, [6, 3, 1, 4]) for _ in range(3)]
    small, report = niwaki.compress(net, calibration, progress=False)
    assert next(row for row in report if row.name == "layer").scheme == "int8"
    compiled = niwaki.compile(small, calibration[0])
    assert not compiled.plan.torch and "int8" in str(compiled.plan)
    compiled.save(tmp_path / "net.niwaki")
    given = batch(net, 9, [3, 9, 1, 7, 7])
    with torch.no_grad():
        wanted, module = net(*given), small(*given)
    found = compiled(*given)
    close(found, wanted, 0.05)
    for a, b in zip(found, module, strict=True):
        assert torch.equal(a, b)
    for isa in isas():
        monkeypatch.setenv("NIWAKI_ISA", isa)
        for threads in (1, 2):
            again = niwaki.load(tmp_path / "net.niwaki", threads=threads)(*given)
            assert all(torch.equal(a, b) for a, b in zip(again, found, strict=True)), isa


def test_each_sequence_is_what_it_is_alone() -> None:
    net = Net(nn.LSTM, bidirectional=True, batch_first=True).eval()
    small, _ = niwaki.compress(net, [batch(net, 6, [6, 3, 1, 4])], progress=False)
    for module in (net, small):
        compiled = niwaki.compile(module, batch(net, 6, [6, 3]))
        x, lengths = batch(net, 8, [5, 8, 2])
        y, _, h, c = compiled(x, lengths)
        for row, length in enumerate([5, 8, 2]):
            alone = compiled(x[row : row + 1, :length], torch.tensor([length]))
            assert torch.equal(y[row, :length], alone[0][0]) and not y[row, length:].any()
            assert torch.equal(h[:, row], alone[2][:, 0]) and torch.equal(c[:, row], alone[3][:, 0])


class Between(nn.Module):
    """What people do with the rows of a packed sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.into = nn.Embedding(20, 6), nn.Linear(6, 5)
        self.first, self.second = nn.GRU(5, 5), nn.LSTM(5, 4, bidirectional=True)
        self.norm, self.drop = nn.LayerNorm(5), nn.Dropout(0.3)

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor) -> Any:
        packed = pack_padded_sequence(ids, lengths, enforce_sorted=False)
        rows = torch.relu(self.into(self.embed(packed.data)))
        like = packed[1:]
        made, last = self.first(PackedSequence(rows, *like))
        made = PackedSequence(self.drop(self.norm(made.data + rows)), *like)
        return pad_packed_sequence(self.second(made)[0], batch_first=True, padding_value=-1.0)[0], last


def test_rows_between_layers() -> None:
    net = Between().eval()
    compiled = niwaki.compile(net, (torch.randint(20, (5, 3)), torch.tensor([2, 5, 3])))
    assert not compiled.plan.torch, compiled.plan
    small, _ = niwaki.compress(net, [(torch.randint(20, (5, 3)), torch.tensor([2, 5, 3]))], progress=False)
    bytes_ = niwaki.compile(small, (torch.randint(20, (5, 3)), torch.tensor([2, 5, 3])))
    assert not bytes_.plan.torch, bytes_.plan
    for steps, lengths in ((5, [2, 5, 3]), (4, [4, 1, 1, 4, 2])):
        given = torch.randint(20, (steps, len(lengths))), torch.tensor(lengths)
        with torch.no_grad():
            close(compiled(*given), net(*given))
            close(bytes_(*given), net(*given), 0.05)


def test_lengths_of_other_kinds() -> None:
    class Masked(nn.Module):
        """Lengths that are counted, in int32; a total length that is a number; the states alone."""

        def __init__(self, total: int) -> None:
            super().__init__()
            self.layer, self.total = nn.GRU(6, 5, batch_first=True), total

        def forward(self, x: torch.Tensor, mask: torch.Tensor) -> Any:
            lengths = mask.sum(1).to(torch.int32)
            packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            y, last = self.layer(packed)
            return pad_packed_sequence(y, True, total_length=self.total)[0], last

    mask = torch.tensor([[1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0]]).bool()
    x = torch.randn(2, 6, 6)
    for total in (4, 6, 9):
        net = Masked(total).eval()
        compiled = niwaki.compile(net, (x, mask))
        assert not compiled.plan.torch
        with torch.no_grad():
            close(compiled(x, mask), net(x, mask))
    short = niwaki.compile(Masked(4).eval(), (x, mask))
    with pytest.raises(ValueError, match="the length of sequence 0 is 5, and there are 4 steps"):
        short(x, torch.tensor([[1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 0]]).bool())

    class Listed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.GRU(6, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(pack_padded_sequence(x, [4, 2], enforce_sorted=True))[1]

    x = torch.randn(6, 2, 6)
    with torch.no_grad():
        torch.testing.assert_close(niwaki.compile(Listed().eval(), (x,))(x).shape, (1, 2, 5))


@pytest.mark.parametrize("quantized", [False, True])
def test_lengths_that_do_not_fit_are_refused_in_words(quantized: bool) -> None:
    net: nn.Module = Net(nn.LSTM, ordered=True, total=False).eval()
    example = batch(net, 5, [5, 4, 2])
    if quantized:
        net = niwaki.quantize(net, [example], progress=False)
    compiled = niwaki.compile(net, example)

    def refused(lengths: list[int], match: str) -> None:
        with pytest.raises(ValueError, match=match):
            compiled(example[0], torch.tensor(lengths))

    refused([5, 2, 4], "the length of sequence 2 is 4 and that of the one before 2: sort the sequences")
    refused([5, 4, 0], "the length of sequence 2 is 0; each must have at least 1 step")
    refused([5, -3, 2], "the length of sequence 1 is -3; each must")
    refused([6, 4, 2], "the length of sequence 0 is 6, and there are 5 steps")
    refused([4, 4, 2], "the longest sequence has 4 steps, and 5 are given")
    refused([5, 4], "'lengths' must have the shape")
    compiled(*example)  # and goes on


def test_from_a_file_with_numpy(tmp_path: Path) -> None:
    net = Net(nn.GRU, batch_first=True).eval()
    niwaki.compile(net, batch(net, 5, [5, 4])).save(tmp_path / "net.niwaki")
    given = batch(net, 7, [3, 7])
    found = niwaki.load(tmp_path / "net.niwaki")(*(each.numpy() for each in given))
    with torch.no_grad():
        for a, b in zip(found, net(*given), strict=True):
            np.testing.assert_allclose(a, b.numpy(), rtol=1e-5, atol=1e-5)


def test_a_stream_has_no_lengths() -> None:
    net = Net(nn.GRU, batch_first=True, ordered=True).eval()
    compiled = niwaki.compile(net, batch(net, 5, [5, 4]))
    with pytest.raises(ValueError, match="depends on how long the whole signal is"):
        compiled.stream(4, along="length")


class Reads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.GRU(6, 5)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        packed, _ = self.layer(pack_padded_sequence(x, lengths, enforce_sorted=False))
        return packed.data.mean(0)


def test_what_reads_the_rows_is_refused_in_words() -> None:
    with pytest.raises(niwaki.NiwakiError, match=r"does more with a packed sequence .* pad it before anything else"):
        niwaki.compile(Reads().eval(), (torch.randn(5, 2, 6), torch.tensor([2, 5])))
