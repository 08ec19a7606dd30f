"""Recurrent layers with int8 weights: as modules, compiled, and in files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import niwaki

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
        assert pad_packed_sequence(small(packed)[0])[0].shape == (7, 3, 10)
