"""Weights of 4 bits that stay 4 bits in memory: the answers are those of bytes, and the memory is half."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

import niwaki

ROWS = (1, 2, 6, 7, 64, 130)


def rows(count: int) -> torch.Tensor:
    return torch.randn(count, 516, generator=torch.Generator().manual_seed(count))


def quantized(**options: object) -> nn.Sequential:
    torch.manual_seed(0)
    config = niwaki.QuantizeConfig(observer="minmax", **options)
    return niwaki.quantize(nn.Sequential(nn.Linear(516, 260)).eval(), [rows(64)], config, progress=False)


@pytest.fixture(
    scope="module",
    params=[{"weight_bits": {"*": 4}}, {"codebook": "kmeans", "codebook_entries": 16}],
    ids=["4-bit", "codebook"],
)
def twins(request: pytest.FixtureRequest) -> tuple[niwaki.Network, ...]:
    """A layer, and one that differs in its last output alone, whose weights take more values than 4 bits can number."""
    small = quantized(rounding="nearest", **request.param)
    other = copy.deepcopy(small)
    other[0].weight[-1] = torch.arange(516) % 200 - 100
    return tuple(niwaki.compile(module, (rows(2),), threads=1) for module in (small, other))


def held(net: niwaki.Network) -> tuple[str, int]:
    """The layer's kernel and the bytes of its weights, biases and multipliers."""
    step = next(step for step in net.plan if step.op == "linear")
    return step.kernel, step.bytes


def test_answers_are_those_of_bytes(twins: tuple[niwaki.Network, niwaki.Network], tmp_path: Path) -> None:
    narrow, bytes_ = twins
    narrow.save(tmp_path / "narrow.niwaki")
    loaded = niwaki.load(tmp_path / "narrow.niwaki", threads=1)
    for count in ROWS:
        x = rows(count)
        wanted = bytes_(x)[:, :-1]
        assert torch.equal(narrow(x)[:, :-1], wanted)
        assert torch.equal(loaded(x)[:, :-1], wanted)
    assert held(loaded) == held(narrow)


def test_memory_is_half(twins: tuple[niwaki.Network, niwaki.Network]) -> None:
    (kernel, size), (other, whole) = map(held, twins)
    assert other.startswith("conv_wide_")
    if kernel.startswith("conv_wide_"):  # AVX2 multiplies no large weights of a codebook as 4 bits
        assert kernel == "conv_wide_avx2"
        return
    assert kernel.startswith("conv_wide4_")
    assert size < 0.54 * whole
