"""Embeddings with int8 tables: as modules, compiled, and in files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import niwaki


class Tagger(nn.Module):
    def __init__(self, vocabulary: int = 1000, width: int = 64) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width, padding_idx=0)
        self.places = nn.Embedding(32, width)
        self.head = nn.Linear(width, 8)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.words(ids) + self.places(torch.arange(ids.shape[1])))


def calibration() -> list[torch.Tensor]:
    return [torch.randint(0, 1000, (4, 12)) for _ in range(8)]


def test_the_module_is_the_table_rounded_by_row() -> None:
    table = nn.Embedding(50, 16)
    small = niwaki.nn.Embedding(table)
    assert small.weight.dtype == torch.int8 and small.weight_scale.shape == (50,)
    ids = torch.randint(0, 50, (3, 7))
    found, wanted = small(ids), table(ids).detach()
    assert float((found - wanted).abs().max()) <= float(table.weight.detach().abs().max()) / 254 * 1.01
    assert torch.equal(small(ids.int()), found) and small(ids[:0]).shape == (0, 7, 16)
    with pytest.raises(IndexError, match="indices must be 0 to 49; they are -1 to 3"):
        small(torch.tensor([3, -1]))
    with pytest.raises(TypeError, match="must be int64 or int32, not float32"):
        small(torch.zeros(2))


def test_a_network_is_a_quarter_and_the_same_compiled(tmp_path: Path) -> None:
    net = Tagger().eval()
    small, report = niwaki.compress(net, calibration())
    assert {row.name: row.op for row in report} == {"words": "embedding", "places": "embedding", "head": "linear"}
    assert all(row.scheme == "int8" and row.error is not None and row.error < 0.02 for row in report)
    compiled = niwaki.compile(small, (calibration()[0],))
    assert not compiled.plan.torch
    compiled.save(tmp_path / "tagger.niwaki")
    floats = 4 * sum(parameter.numel() for parameter in net.parameters())
    assert (tmp_path / "tagger.niwaki").stat().st_size < 0.31 * floats
    loaded = niwaki.load(tmp_path / "tagger.niwaki")
    for shape in ((1, 1), (3, 32), (2, 5)):
        ids = torch.randint(0, 1000, shape)
        wanted = net(ids).detach()
        assert torch.equal(loaded(ids), compiled(ids))
        assert float((loaded(ids) - wanted).norm() / wanted.norm()) < 0.03
    with pytest.raises((ValueError, IndexError), match="1000"):
        loaded(torch.tensor([[5, 1000]]))


def test_tables_that_are_left() -> None:
    net = Tagger().eval()
    small = niwaki.quantize(net, calibration(), niwaki.QuantizeConfig(skip=("words",)))
    assert type(small.words) is nn.Embedding and type(small.places) is niwaki.nn.Embedding

    class Tied(Tagger):
        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return super().forward(ids), self.words(ids) @ self.words.weight.t()

    assert type(niwaki.quantize(Tied().eval(), calibration()).words) is nn.Embedding
    bounded = Tagger().eval()
    bounded.words.max_norm = 1.0
    with pytest.raises(niwaki.NiwakiError, match=r"changes the parameter or buffer 'words.weight' in place"):
        niwaki.quantize(bounded, calibration())


class Converting(nn.Module):
    """Brings inputs to the type of a weight, as many networks do for half precision."""

    def __init__(self, *, careful: bool) -> None:
        super().__init__()
        self.first, self.second, self.careful = nn.Linear(8, 8), nn.Linear(8, 4), careful

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        if not self.careful or self.second.weight.dtype != torch.int8:
            x = x.to(self.second.weight.dtype)
        return self.second(x)


@pytest.mark.parametrize("careful", [True, False])
def test_a_weight_whose_type_is_looked_at(careful: bool) -> None:
    small = niwaki.quantize(Converting(careful=careful).eval(), torch.randn(16, 8))
    assert type(small.first) is niwaki.nn.Linear
    assert type(small.second) is (niwaki.nn.Linear if careful else nn.Linear)


def test_a_weight_that_is_asked_whether_it_is_floating_point() -> None:
    class Net(Converting):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.first(x)
            return self.second(x if self.second.weight.is_floating_point() else x * 2)

    assert type(niwaki.quantize(Net(careful=True).eval(), torch.randn(16, 8)).second) is nn.Linear


@pytest.mark.parametrize(("bits", "width", "share"), [(4, 64, 8), (3, 66, 8), (2, 64, 16), (4, 63, 4), (2, 62, 8)])
def test_tables_of_few_bits_are_as_small_as_that_and_the_same_compiled(
    bits: int, width: int, share: int, tmp_path: Path
) -> None:
    """Where the width is no multiple of the values in a byte, these are fewer."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Embedding(3000, width), nn.Linear(width, 8)).eval()
    small = niwaki.quantize(net, [torch.randint(0, 3000, (4, 12))], niwaki.QuantizeConfig(weight_bits={"0": bits}))
    assert int(small[0].weight.abs().max()) == 2 ** (bits - 1) - 1
    compiled = niwaki.compile(small[0], (torch.tensor([[1, 2]]),))
    compiled.save(tmp_path / "table.niwaki")
    # The rows, a scale for each, what bytes stand for, and the graph.
    assert (tmp_path / "table.niwaki").stat().st_size < 3000 * width * 4 / share + 3000 * 4 + 256 * 4 * 4 + 2000
    loaded = niwaki.load(tmp_path / "table.niwaki")
    for shape in ((5,), (1, 1), (3, 100), (0, 4)):
        ids = torch.randint(0, 3000, shape) if len(shape) == 2 else torch.arange(3000)[None, -5:]
        assert torch.equal(loaded(ids), small[0](ids)) and torch.equal(compiled(ids), small[0](ids))
    with pytest.raises((ValueError, IndexError), match="3000"):
        loaded(torch.tensor([[5, 3000]]))
    _, report = niwaki.compress(net, [torch.randint(0, 3000, (4, 12))], weight_bits=bits)
    assert report[0].bytes == pytest.approx(3000 * (width * 4 / share + 4), rel=0.01)
