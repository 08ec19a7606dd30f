"""Recurrent layers and their cells, against torch, at several lengths and batches."""

from __future__ import annotations

import pytest
import torch
from lowered import check
from torch import nn

KINDS = [nn.LSTM, nn.GRU, nn.RNN]
OPTIONS = [
    {}, {"num_layers": 2, "bidirectional": True}, {"batch_first": True, "bias": False}, {"num_layers": 3,
        "dropout": 0.5},
    {"bidirectional": True, "batch_first": True},
]  # fmt: skip


def sequences(*shapes: tuple[int, ...]) -> list[tuple[torch.Tensor]]:
    return [(torch.randn(shape),) for shape in shapes]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_layers(kind, options: dict) -> None:
    program = check(kind(5, 6, **options), *sequences((4, 3, 5), (7, 2, 5), (1, 1, 5)))
    assert "recurrent" in program.stages[0].graph.ops()
    assert "full" not in program.stages[0].graph.ops()  # zeros as states are what it begins with anyway


@pytest.mark.filterwarnings("ignore:LSTM with projections")  # torch 2.14 says so where 2.13 does not
def test_other_kinds() -> None:
    check(nn.RNN(5, 6, nonlinearity="relu"), *sequences((4, 3, 5), (7, 2, 5)))
    check(nn.LSTM(5, 6, proj_size=4, num_layers=2), *sequences((4, 3, 5), (7, 2, 5)))


def test_states_come_in_and_go_out() -> None:
    check(nn.LSTM(5, 6), (torch.randn(4, 3, 5), (torch.randn(1, 3, 6), torch.randn(1, 3, 6))))
    check(nn.GRU(5, 6), (torch.randn(4, 3, 5), torch.randn(1, 3, 6)), (torch.randn(2, 1, 5), torch.randn(1, 1, 6)))


def test_single_sequences() -> None:
    check(nn.GRU(5, 6), *sequences((4, 5), (7, 5)))


def test_cells() -> None:
    for kind in (nn.GRUCell, nn.RNNCell):
        check(kind(5, 6), (torch.randn(3, 5), torch.randn(3, 6)), (torch.randn(1, 5), torch.randn(1, 6)))
    lstm = nn.LSTMCell(5, 6)
    check(lambda m, x, h, c: m.cell(x, (h, c)), (torch.randn(3, 5), torch.randn(3, 6), torch.randn(3, 6)), cell=lstm)
