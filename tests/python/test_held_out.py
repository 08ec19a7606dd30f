"""What is held out of calibration, and which calls can be cut."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from niwaki.quantization.held_out import MOST, Cutter, HeldOut
from niwaki.quantization.inputs import Batch


class OfTheBatch(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - x.mean(0)


class Fixed(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(16, 3)


class Two(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        return x if y is None else x + y


def call(*tensors: torch.Tensor, number: int = 0) -> Batch:
    return Batch(number, tensors, {})


def test_calls_are_cut_where_inputs_are_independent() -> None:
    cutter = Cutter(nn.Linear(3, 2))
    whole = call(torch.randn(10, 3))
    assert cutter.inputs(whole) == 10
    parts = list(cutter.pieces(whole, 4))
    assert [len(part.args[0]) for part in parts] == [4, 4, 2]
    assert torch.equal(torch.cat([part.args[0] for part in parts]), whole.args[0])
    both = list(Cutter(Two()).pieces(call(torch.ones(6, 2), torch.zeros(6, 2)), 3))
    assert [tuple(len(x) for x in part.args) for part in both] == [(3, 3), (3, 3)]


@pytest.mark.parametrize(
    ("model", "batch"),
    [
        (OfTheBatch(), call(torch.randn(16, 3))),
        (Fixed(), call(torch.randn(16, 3))),
        (nn.LSTM(3, 4), call(torch.randn(16, 2, 3))),  # steps first
        (nn.Conv2d(16, 4, 1), call(torch.randn(16, 5, 5))),  # channels first
        (Two(), call(torch.randn(16, 3), torch.randn(1, 3))),
        (nn.Linear(16, 3), call(torch.randn(16))),
    ],
    ids=["of the batch", "fixed", "steps first", "unbatched", "unlike lengths", "a vector"],
)
def test_calls_that_cannot_be_cut(model: nn.Module, batch: Batch) -> None:
    cutter = Cutter(model)
    assert cutter.inputs(batch) == 1
    assert list(cutter.pieces(batch, 2)) == [batch]


@pytest.mark.parametrize("size", [1, 2, 3, 8, 20])
def test_an_eighth_is_held_out_and_nothing_is_lost(size: int) -> None:
    rows = torch.arange(240.0).reshape(-1, 1).expand(-1, 3)
    held = HeldOut(Cutter(nn.Linear(3, 2)))
    left = [x for batch in held.watch(map(call, rows.split(size))) for x in batch.args[0][:, 0].tolist()]
    out = [x for batch in held.calls for x in batch.args[0][:, 0].tolist()]
    assert sorted(left + out) == list(range(240))
    assert held.inputs == len(out) and 20 <= len(out) <= 36
    assert 0 in left or size > 1
    again = HeldOut(Cutter(nn.Linear(3, 2)))
    list(again.watch(map(call, rows.split(size))))
    assert [x for batch in again.calls for x in batch.args[0][:, 0].tolist()] == out


def test_nothing_is_held_out_of_a_few_inputs() -> None:
    held = HeldOut(Cutter(nn.Linear(3, 2)))
    assert len(list(held.watch(call(torch.randn(1, 3)) for _ in range(7)))) == 7 and not held.calls
    four = HeldOut(Cutter(nn.Linear(3, 2)))
    assert sum(batch.inputs for batch in four.watch(call(torch.randn(2, 3)) for _ in range(4))) == 7
    assert four.inputs == 1


def test_calls_that_cannot_be_cut_are_held_out_whole() -> None:
    held = HeldOut(Cutter(Fixed()))
    left = list(held.watch(call(torch.randn(16, 3), number=i) for i in range(16)))
    assert len(left) == 14 and held.inputs == 2 and left[0].number == 0


def test_an_endless_stream_is_not_read_ahead_and_little_is_kept() -> None:
    held = HeldOut(Cutter(nn.Linear(3, 2)))
    read = []

    def stream() -> itertools.chain[Batch]:
        for number in itertools.count():
            read.append(number)
            yield call(torch.randn(4, 3), number=number)  # type: ignore[misc]

    walk = held.watch(stream())  # type: ignore[arg-type]
    next(walk)
    assert len(read) <= 8
    list(itertools.islice(walk, 500))
    assert held.inputs == MOST
