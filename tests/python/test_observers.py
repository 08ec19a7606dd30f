"""Scales, zero points and the ranges that observers find."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from niwaki.quantization.affine import SMALLEST_SCALE, qparams
from niwaki.quantization.config import QuantizeConfig
from niwaki.quantization.observers import (
    BINS,
    EntropyObserver,
    HistogramObserver,
    MinMaxObserver,
    MseObserver,
    NotFiniteError,
    Observer,
    PercentileObserver,
    make_observer,
)


@pytest.mark.parametrize(
    ("low", "high", "scale", "zero_point"),
    [
        (0.0, 255.0, 1.0, 0),
        (-255.0, 0.0, 1.0, 255),
        (-1.0, 1.55, 0.01, 100),
        (3.0, 5.1, 0.02, 0),  # widened to hold 0
        (-5.1, -3.0, 0.02, 255),
        (0.0, 0.0, 1 / 255, 0),  # always 0
    ],
)
def test_qparams(low: float, high: float, scale: float, zero_point: int) -> None:
    found = qparams(low, high)
    assert found == (pytest.approx(scale), zero_point)
    assert float(np.float32(found[0])) == found[0]


@pytest.mark.parametrize(("low", "high"), [(1e-45, 2e-45), (-3e38, 3e38), (0.0, 3.4e38), (-1e-40, 0.0)])
def test_qparams_at_the_ends_of_float32(low: float, high: float) -> None:
    scale, zero_point = qparams(low, high)
    assert scale >= np.float32(SMALLEST_SCALE) and math.isfinite(scale) and 0 <= zero_point <= 255


@pytest.mark.parametrize(("low", "high"), [(math.nan, 1.0), (0.0, math.inf), (1.0, 0.0)])
def test_qparams_refuses(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="a range must"):
        qparams(low, high)


def test_minmax_over_batches() -> None:
    observer = MinMaxObserver()
    for batch in (torch.tensor([1.0, 2.0]), torch.empty(0), torch.tensor([[-3.0, 0.5]])):
        observer.observe(batch)
    assert observer.range() == (-3.0, 2.0)


@pytest.mark.parametrize("observer", [MinMaxObserver, MseObserver, PercentileObserver, EntropyObserver])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_not_finite_is_refused(observer: type[Observer], bad: float) -> None:
    with pytest.raises(NotFiniteError):
        observer().observe(torch.tensor([0.0, bad, 1.0]))


def test_nothing_observed() -> None:
    with pytest.raises(ValueError, match="nothing was observed"):
        MseObserver().range()


def test_histogram_counts_every_value_in_its_place_as_it_grows() -> None:
    observer = HistogramObserver.__new__(MseObserver)
    MseObserver.__init__(observer)
    batches = [torch.rand(1000) + 0.5, torch.rand(1000) * 100, -torch.rand(1000) * 3000, torch.tensor([1e6])]
    for batch in batches:
        observer.observe(batch)
    values = torch.cat(batches).double().numpy()
    edges = observer._begin + observer._width * np.arange(BINS + 1)
    expected, _ = np.histogram(values, edges)
    assert observer._counts.sum() == len(values)
    # Bins were merged after counting: only values on an edge may lie one bin aside.
    assert np.abs(np.cumsum(observer._counts) - np.cumsum(expected)).max() <= 2


def test_percentile_cuts_that_share_on_each_side() -> None:
    observer = PercentileObserver(99.0)
    values = torch.linspace(-1, 1, 100_001)
    for part in values.split(9_999):
        observer.observe(part)
    low, high = observer.range()
    assert low == pytest.approx(-0.98, abs=0.003) and high == pytest.approx(0.98, abs=0.003)


def test_percentile_does_not_count_zeros() -> None:
    observer = PercentileObserver(90.0)
    observer.observe(torch.cat([torch.zeros(100_000), torch.linspace(0.01, 1, 1000)]))
    assert observer.range()[1] == pytest.approx(0.9, abs=0.01)


def _squared_error(values: torch.Tensor, low: float, high: float) -> float:
    scale, zero = qparams(low, high)
    q = (values / scale).round().add(zero).clamp(0, 255)
    return float(((q - zero) * scale - values).double().square().sum())


@pytest.mark.parametrize("sides", ["both", "relu"])
def test_mse_range_has_the_least_error(sides: str) -> None:
    values = torch.randn(500_000)
    values[:2] = torch.tensor([9.0, -9.0])
    if sides == "relu":
        values.relu_()
    observer = MseObserver()
    for part in values.split(70_000):
        observer.observe(part)
    low, high = observer.range()
    found = _squared_error(values, low, high)
    assert found < 0.9 * _squared_error(values, values.min().item(), values.max().item())
    grid = [
        _squared_error(values, values.min().item() * a, values.max().item() * b)
        for a in np.linspace(0.05, 1, 20)
        for b in np.linspace(0.05, 1, 20)
    ]
    assert found <= 1.05 * min(grid)


@pytest.mark.parametrize(("count", "wider"), [(8, 1.2), (64, 1.1), (500_000, 0.7)])
def test_ranges_of_few_values_reach_beyond_them(count: int, wider: float) -> None:
    """On values that were not seen: cutting off costs most where few were."""
    errors = []
    for seed in range(10):
        values = torch.randn(count + 2000, generator=torch.Generator().manual_seed(seed))
        seen, unseen = values[:count], values[count:]
        observer = make_observer(QuantizeConfig())
        observer.observe(seen)
        for low, high in observer.candidates().values():
            assert high - low > wider * float(seen.max() - seen.min())
        plain = _squared_error(unseen, float(seen.min()), float(seen.max()))
        errors.append((_squared_error(unseen, *observer.range()), plain))
    found, plain = np.sum(errors, 0)
    assert found < (0.6 if count < 1000 else 1.0) * plain
    positive = make_observer(QuantizeConfig())
    positive.bounds = (-1.0, 1.0)
    positive.observe(torch.rand(4))
    assert positive.range()[0] >= 0 and positive.range()[1] <= 1


def test_mse_keeps_values_that_are_all_the_same() -> None:
    observer = MseObserver()
    observer.observe(torch.full((10,), 0.5))
    assert observer.range()[1] == 0.5


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_entropy_cuts_off_lone_outliers_and_keeps_full_ranges(sign: float) -> None:
    generator = torch.Generator().manual_seed(1)
    normal = torch.randn(200_000, generator=generator).abs()
    observer = EntropyObserver()
    observer.observe(sign * torch.cat([normal, torch.tensor([100.0])]))
    low, high = observer.range()
    assert 3.0 < (high if sign > 0 else -low) < 15.0
    uniform = EntropyObserver()
    uniform.observe(sign * torch.rand(200_000, generator=generator))
    low, high = uniform.range()
    assert (high if sign > 0 else -low) > 0.95
    same = EntropyObserver()
    same.observe(torch.full((10,), 0.5))
    assert same.range()[1] == 0.5


def test_large_tensors_are_sampled_but_their_ends_are_exact() -> None:
    observer = MinMaxObserver()
    mse = MseObserver()
    x = torch.randn(3_000_000)
    x[1_234_567] = 100.0
    observer.observe(x)
    mse.observe(x)
    assert observer.range()[1] == 100.0 and mse.high == 100.0
    assert abs(mse._counts.sum() - x.numel()) < 20


def test_config_names_the_observer() -> None:
    assert isinstance(make_observer(QuantizeConfig(observer="minmax")), MinMaxObserver)
    assert isinstance(make_observer(QuantizeConfig()), MseObserver)
    assert isinstance(make_observer(QuantizeConfig(observer="entropy")), EntropyObserver)
    percentile = make_observer(QuantizeConfig(observer="percentile", percentile=99))
    assert isinstance(percentile, PercentileObserver) and percentile.percentile == 99
