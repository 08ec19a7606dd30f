"""Weights of few bits and codebooks: what values there are, that they are the best, and what lies in files."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import niwaki
from niwaki import QuantizeConfig
from niwaki.layerwise.gram import Dense
from niwaki.layerwise.learned import learn_rounding
from niwaki.layerwise.levels import Book, Uniform
from niwaki.layerwise.rounding import round_to_grid
from niwaki.layerwise.solve import quadratic
from niwaki.quantization.codebook import kmeans, power_of_two


def make_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1, groups=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    ).eval()  # fmt: skip


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def weights(module: nn.Module) -> dict[str, torch.Tensor]:
    return {
        part.name: part.weight for part in module.modules() if isinstance(part, (niwaki.nn.Conv2d, niwaki.nn.Linear))
    }


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("rounding", ["nearest", "second_order"])
def test_weights_lie_within_their_bits(x: torch.Tensor, bits: int, rounding: Any) -> None:
    small = niwaki.quantize(make_net(), x, QuantizeConfig(weight_bits=bits, rounding=rounding), progress=False)
    largest = 2 ** (bits - 1) - 1
    for weight in weights(small).values():
        assert int(weight.abs().max()) == largest


def test_bits_by_pattern(x: torch.Tensor) -> None:
    config = QuantizeConfig(weight_bits={"2": 4, "*": 8, "6": 2})
    assert hash(config) == hash(QuantizeConfig(weight_bits=(("2", 4), ("*", 8), ("6", 2))))
    found = weights(niwaki.quantize(make_net(), x, config, progress=False))
    assert [int(found[name].abs().max()) for name in ("0", "2", "6")] == [127, 7, 127]  # the first that matches counts


@pytest.mark.parametrize("value", [1, 9, True, "4", 4.0, {"*": 12}, {3: 4}, None])
def test_wrong_bits_are_refused(value: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="QuantizeConfig: weight_bits must be"):
        QuantizeConfig(weight_bits=value)


@pytest.mark.parametrize(
    ("field", "value"), [("codebook", "means"), ("rounding", "up"), ("codebook_entries", 1), ("codebook_entries", 257)]
)
def test_wrong_options_are_refused(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"QuantizeConfig: {field} must be"):
        QuantizeConfig(**{field: value})


@pytest.mark.parametrize("rounding", ["nearest", "second_order", "learned"])
@pytest.mark.parametrize(("codebook", "entries"), [("kmeans", 16), ("kmeans", 64), ("power_of_two", 16)])
def test_codebooks_have_so_many_entries(x: torch.Tensor, codebook: Any, entries: int, rounding: Any) -> None:
    config = QuantizeConfig(codebook=codebook, codebook_entries=entries, rounding=rounding)
    for weight in weights(niwaki.quantize(make_net(), x, config, progress=False)).values():
        values = set(weight.unique().tolist())
        assert len(values) <= entries
        if codebook == "power_of_two":
            assert values <= {0, *(sign * 2**k for sign in (-1, 1) for k in range(7))}


def test_pruned_weights_stay_zero_under_a_codebook(x: torch.Tensor) -> None:
    options: Any = {"codebook": "kmeans", "sparsity": 0.5, "importance": "second_order"}
    small, _ = niwaki.compress(make_net(), x, progress=False, **options)
    found = weights(small)
    assert all(len(weight.unique()) <= 16 for weight in found.values())
    assert float((found["6"] == 0).float().mean()) >= 0.5


def test_four_bits_take_four_bits_in_a_file(x: torch.Tensor, tmp_path: Path) -> None:
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 256)).eval()
    small = niwaki.quantize(
        net, torch.randn(64, 256), QuantizeConfig(weight_bits=4, rounding="nearest"), progress=False
    )
    compiled = niwaki.compile(small, (torch.randn(1, 256),))
    compiled.save(str(tmp_path / "four.niwaki"))
    assert (tmp_path / "four.niwaki").stat().st_size < 2 * 256 * 256 // 2 + 6000
    again = niwaki.load(str(tmp_path / "four.niwaki"))
    y = torch.randn(5, 256)
    assert torch.equal(again(y), compiled(y))


def test_kmeans_is_the_best_there_is() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(-6, 7, (40,), generator=generator).float() * 3
    importance = torch.rand(40, generator=generator)

    def cost(entries: torch.Tensor) -> float:
        return float((importance * (Book(entries).nearest(x) - x).square()).sum())

    found = kmeans(x, importance, 4)
    candidates = sorted({*x.tolist(), 0.0})
    # Entries of an optimum need not be values, so every set of whole numbers near them is tried.
    tried = [c for c in itertools.combinations(candidates, 4) if 0.0 in c]
    assert cost(found.entries) <= min(cost(torch.tensor(c)) for c in tried) + 1e-6
    assert 0.0 in found.entries.tolist() and len(found.entries) == 4
    moved = found.entries.clone()
    for i in range(4):
        for shift in (-1, 1):
            moved.copy_(found.entries)
            moved[i] += shift
            if 0.0 in moved.tolist() and bool((moved[1:] > moved[:-1]).all()):
                assert cost(found.entries) <= cost(moved) + 1e-6


def test_power_of_two_entries() -> None:
    assert power_of_two().entries.tolist() == [-64, -32, -16, -8, -4, -2, -1, 0, 1, 2, 4, 8, 16, 32, 64]


def test_learned_and_second_order_rounding_lower_the_error() -> None:
    torch.manual_seed(5)
    weight = torch.randn(1, 8, 24)
    inputs = torch.randn(200, 24) @ torch.randn(24, 24)  # correlated, so that errors can make up for each other
    covariance = Dense((inputs.T @ inputs / 200)[None])
    form = quadratic(weight, covariance, covariance.times)
    v, keep = weight * form.scale, torch.rand(weight.shape) > 0.2
    v = torch.where(keep, v, 0)
    levels, step = Uniform.of_bits(4), weight.abs().amax(2) / 7
    units = step[:, :, None] * form.scale
    nearest = torch.where(keep, levels.nearest(v / units), 0)
    for q in (learn_rounding(form, v, keep, step, levels), round_to_grid(form, v, keep, step, levels)):
        assert bool((q[~keep] == 0).all()) and float(q.abs().max()) <= 7 and torch.equal(q, q.round())
        assert float(form.error(q * units).sum()) < float(form.error(nearest * units).sum())
