"""Networks that take bytes and other narrow integers: the core gets int32, and what wraps stays in torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lowered import Of
from torch import nn

import niwaki


def whole_numbers(dtype: torch.dtype, *shape: int) -> torch.Tensor:
    limits = torch.iinfo(dtype)
    return torch.randint(limits.min, limits.max + 1, shape, dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16])
def test_narrow_integers_are_taken_as_int32(dtype: torch.dtype, tmp_path: Path) -> None:
    def function(x: torch.Tensor) -> Any:
        y = x.permute(0, 3, 1, 2)[:, :, 1:]
        return (
            y.float() / 255 - 0.5,
            y / 3,
            (x > 100).sum((1, 2)),
            x.sum(),
            x.to(torch.int64).amax((1, 2)),
            y[:, 0] * 0.5,
        )

    module = Of(function)
    example = whole_numbers(dtype, 2, 6, 5, 3)
    net = niwaki.compile(module, (example,))
    assert [info.dtype for info in net.inputs] == ["int32"]
    net.save(tmp_path / "x.niwaki")
    loaded = niwaki.load(tmp_path / "x.niwaki")
    for shape in ((2, 6, 5, 3), (1, 9, 4, 3)):
        x = whole_numbers(dtype, *shape)
        for expected, compiled, again in zip(module(x), net(x), loaded(x), strict=True):
            assert compiled.dtype == expected.dtype
            torch.testing.assert_close(compiled, expected, rtol=1e-6, atol=0)
            assert torch.equal(compiled, again)
        assert torch.equal(loaded(x.to(torch.int32))[3], loaded(x)[3])


def test_layers_read_pictures_as_bytes(tmp_path: Path) -> None:
    class Pictures(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv((x.float() / 255 - 0.45) / 0.22).relu()

    module = Pictures().eval()
    images = [whole_numbers(torch.uint8, 2, 3, 12, 16) for _ in range(4)]
    small, _ = niwaki.compress(module, images)
    net = niwaki.compile(small, (images[0],))
    net.save(tmp_path / "x.niwaki")
    other = whole_numbers(torch.uint8, 1, 3, 9, 7)
    error = (net(other) - module(other)).norm() / module(other).norm()
    assert error < 0.02
    assert torch.equal(niwaki.load(tmp_path / "x.niwaki")(other), net(other))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: (x + 200).float(),  # wraps
        lambda x: (x * x).float(),
        lambda x: x.view(torch.int8).float(),  # other numbers of the same bits
        lambda x: (~x).float(),
    ],
    ids=["sum", "product", "bits", "complement"],
)
def test_what_depends_on_the_narrow_type_stays_in_torch(function: Any) -> None:
    module = Of(function)
    x = whole_numbers(torch.uint8, 2, 7)
    net = niwaki.compile(module, (x,))
    assert [info.dtype for info in net.inputs] == ["uint8"]
    assert torch.equal(net(x), module(x))
    with pytest.raises(TypeError, match="uint8 is expected, not int32"):
        net(x.to(torch.int32))


def test_wider_integers_are_not_taken_for_int32() -> None:
    net = niwaki.compile(Of(lambda x: x.float()), (torch.zeros(2, 3, dtype=torch.uint8),))
    with pytest.raises(TypeError, match="int32 is expected, not int64"):
        net(torch.zeros(2, 3, dtype=torch.int64))
