"""Covariances as matrices and as the samples that they are made of: the same numbers, and the same networks."""

from __future__ import annotations

import pytest
import torch
from test_second_order import correlated
from torch import nn

import niwaki
from niwaki.layerwise.gram import Dense, LowRank
from niwaki.layerwise.moments import moments, parted_moments
from niwaki.modules.layer import Conv2dLayer, LinearLayer


def test_both_kinds_of_covariances_are_one_matrix() -> None:
    torch.manual_seed(1)
    samples, extra = torch.randn(2, 40, 7), torch.rand(2, 40)
    low = LowRank(samples, extra)
    matrix = samples @ samples.transpose(1, 2) + torch.diag_embed(extra)
    dense = Dense(matrix)
    rows, order = torch.randn(2, 5, 40), torch.stack([torch.randperm(40), torch.randperm(40)])[:, None]
    part = slice(8, 24)

    def close(a: torch.Tensor, b: torch.Tensor) -> bool:
        return torch.allclose(a, b, rtol=1e-4, atol=1e-4)

    for a, b in ((low, dense), (low.ordered(order), dense.ordered(order))):
        assert close(a.diagonal(), b.diagonal()) and close(a.times(rows), b.times(rows))
        assert close(a.block(part), b.block(part))
        inverse, other = a.inverse(0.5), b.inverse(0.5)
        assert inverse is not None and other is not None and close(inverse(rows), other(rows))
        assert close(inverse(b.times(rows) + 0.5 * rows), rows)
        rests = []
        for kind in (a, b):
            v = rows.clone()
            rest = kind.residual(torch.ones_like(v), v)
            v[:, :, part] += 2.0
            rest.moved(part, torch.full((2, 5, 16), 2.0))
            assert close(rest.of(slice(0, 40)), 1 - kind.times(v))
            rests.append(rest.of(slice(20, 30)))
        assert close(*rests)
    scale = (dense.diagonal()[:, None] + 0.3).sqrt()
    assert close(low.normalized(scale).times(rows), dense.normalized(scale).times(rows))
    assert torch.equal(dense.normalized(scale).diagonal(), torch.ones(2, 40))
    assert close(low.normalized(scale).diagonal(), torch.ones(2, 40))
    assert low.times(rows.double()).dtype == torch.float64
    assert torch.equal(matrix, dense.matrix)  # nothing wrote to it
    assert low.is_finite() and not LowRank(torch.full((1, 3, 2), 1e30)).is_finite()


def test_few_samples_are_kept_and_give_what_their_covariance_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = Conv2dLayer(nn.Conv2d(128, 4, 3))
    inputs, references = ([torch.randn(n, 128, 5, 5) for n in (20, 11)] for _ in range(2))
    found = moments(layer, inputs, references, centered=True)
    monkeypatch.setattr("niwaki.layerwise.moments._NARROW", 10**6)
    wanted = moments(layer, inputs, references, centered=True)
    assert isinstance(found.covariance, LowRank) and isinstance(wanted.covariance, Dense)
    rows = torch.randn(1, 3, 1152)
    assert torch.allclose(found.covariance.times(rows), wanted.covariance.times(rows), atol=1e-3)
    assert torch.allclose(found.cross(rows), wanted.cross(rows), atol=1e-3)
    for mean, exact in [(found.mean, wanted.mean), (found.reference_mean, wanted.reference_mean)]:
        assert torch.allclose(mean, exact, atol=1e-6)  # some are next to nothing


@pytest.mark.parametrize("centered", [True, False])
@pytest.mark.parametrize("narrow", [1, 10**6])
def test_moments_of_parts_and_of_all_are_those_of_each_alone(
    centered: bool, narrow: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("niwaki.layerwise.moments._NARROW", narrow)
    torch.manual_seed(2)
    layer = LinearLayer(nn.Linear(300, 8))
    parts = [([torch.randn(n, 300) + n, torch.randn(3, 300)], [torch.randn(n, 300) - 5, torch.randn(3, 300)])
             for n in (40, 9)]  # fmt: skip
    apart, together = parted_moments(layer, parts, centered=centered)
    everything = [[x for part in parts for x in part[which]] for which in (0, 1)]
    rows = torch.randn(1, 4, 300)
    for found, (inputs, references) in zip([*apart, together], [*parts, everything], strict=True):
        wanted = moments(layer, inputs, references, centered=centered)
        assert isinstance(found.covariance, LowRank if narrow == 1 else Dense)
        for ours, theirs in [
            (found.covariance.times(rows), wanted.covariance.times(rows)),
            (found.cross(rows), wanted.cross(rows)),
            (found.mean, wanted.mean),
            (found.reference_mean, wanted.reference_mean),
        ]:
            assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


def test_a_layer_too_wide_for_a_matrix_takes_fewer_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("niwaki.layerwise.moments._WIDEST", 1500)
    layer, inputs = LinearLayer(nn.Linear(2000, 8)), torch.randn(6000, 2000)
    found = moments(layer, [inputs], [inputs], centered=True)
    assert isinstance(found.covariance, LowRank) and found.covariance.samples.shape == (1, 2000, 500)


def test_pruning_is_as_good_from_samples_as_from_a_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(1024, 24), nn.ReLU(), nn.Linear(24, 8)).eval()
    x = correlated(64, 1024)
    errors = []
    for narrow in (1024, 10**6):
        monkeypatch.setattr("niwaki.layerwise.moments._NARROW", narrow)
        small, _ = niwaki.compress(net, x, sparsity=0.6, importance="second_order", progress=False)
        with torch.no_grad():
            errors.append(float((small(x) - net(x)).norm() / net(x).norm()))
    assert errors[0] < 1.1 * errors[1] + 1e-3
