"""Dims of inputs that the network's layers leave one size alone, as the one channel of a signal, are constants."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import niwaki
from niwaki.capture import capture
from niwaki.errors import NiwakiError

B, H, W, L = "batch", "height", "width", "length"


class Calls(nn.Module):
    """A function of an input, and layers."""

    def __init__(self, function: Callable[..., Any], **layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(layers)
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x, **self.layers)


def first(x: torch.Tensor, layer: nn.Module) -> torch.Tensor:
    return layer(x)[0]


def alone(x: torch.Tensor) -> torch.Tensor:
    if x.shape[1] != 1:
        raise ValueError("one channel is expected")
    return x.mean(2)


NETWORKS = {
    "conv1d": (nn.Conv1d(1, 4, 3), (2, 1, 32), (B, 1, L)),
    "conv2d": (nn.Conv2d(1, 4, 3), (2, 1, 12, 16), (B, 1, H, W)),
    "conv3d": (nn.Conv3d(1, 2, 3), (2, 1, 6, 7, 8), (B, 1, "depth", H, W)),
    "transposed": (nn.ConvTranspose1d(1, 4, 3, stride=2), (2, 1, 8), (B, 1, L)),
    "convolutions": (nn.Sequential(nn.Conv1d(1, 4, 3), nn.ReLU(), nn.Conv1d(4, 1, 3)), (2, 1, 32), (B, 1, L)),
    "features": (nn.Linear(1, 4), (2, 1), (B, 1)),
    "features of tokens": (nn.Linear(1, 4), (2, 7, 1), (B, L, 1)),
    "batch norm": (nn.BatchNorm2d(1), (2, 1, 5, 6), (B, 1, H, W)),
    "layer norm": (nn.LayerNorm(1), (2, 5, 1), (B, L, 1)),
    "group norm": (nn.GroupNorm(1, 1), (2, 1, 5, 6), (B, 1, H, W)),
    "lstm": (Calls(first, layer=nn.LSTM(1, 4, batch_first=True)), (2, 9, 1), (B, L, 1)),
    "gru": (Calls(first, layer=nn.GRU(1, 4)), (9, 2, 1), (B, L, 1)),
    "its own code": (Calls(alone), (2, 1, 9), (B, 1, L)),
    "three channels": (nn.Conv1d(3, 4, 3), (2, 3, 32), (B, 3, L)),
}


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_dim_of_one_size_is_a_constant(name: str, batch: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, shape, wanted = NETWORKS[name]
    axis = 1 if name == "gru" else 0
    example = torch.randn(*(batch if i == axis else size for i, size in enumerate(shape)))
    net = niwaki.compile(module.eval(), (example,), threads=1)
    assert net.inputs[0].dims == wanted
    net.save(tmp_path / "net.niwaki")
    loaded = niwaki.load(tmp_path / "net.niwaki", threads=1)
    assert loaded.inputs[0].dims == wanted
    # What is free takes other sizes, among them another batch; what is not takes none.
    other = torch.randn(*(5 if i == axis else size + 4 * isinstance(dim, str) for i, (size, dim) in enumerate(
        zip(shape, wanted, strict=True)
    )))  # fmt: skip
    with torch.no_grad():
        torch.testing.assert_close(loaded(other), module(other))
    fixed = wanted.index(shape[1] if name == "three channels" else 1)
    with pytest.raises(ValueError, match=rf"dim {fixed} must be {wanted[fixed]}\."):
        loaded(torch.cat([other, other], fixed))


def test_sizes_that_may_be_others_stay_free() -> None:
    for example in (torch.randn(1, 1, 9), torch.randn(2, 1, 9)):
        captured = capture(Calls(lambda x: x.relu().sum(2)), (example,))
        assert captured.dims_in_words(captured.inputs[0]) == (B, L, "x_length")
        assert not captured.guards


def test_a_size_that_another_one_ties_to_a_number() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(1, 4, 3)

        def forward(self, x: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
            return self.conv(torch.cat([x, gain], 2)) * self.conv(gain).mean()

    net = niwaki.compile(Both().eval(), (torch.randn(2, 1, 9), torch.randn(2, 1, 4)), threads=1)
    assert [info.dims for info in net.inputs] == [(B, 1, L), (B, 1, "gain_length")]
    assert [size.name for size in net.sizes] == [B, L, "gain_length"]


def test_sizes_that_are_tied_to_each_other_stay_free() -> None:
    net = niwaki.compile(nn.Sequential(nn.Flatten(), nn.Linear(60, 3)).eval(), (torch.randn(2, 1, 5, 12),), threads=1)
    with pytest.raises(ValueError, match="must"):
        net(torch.randn(2, 1, 7, 12))
    assert net(torch.randn(3, 1, 5, 12)).shape == (3, 3)


def test_sizes_computed_beyond_64_bits_are_refused_in_a_sentence() -> None:
    """torch's padding 'same' for kernels of any size brings 2^63 into a size."""

    class Same(nn.Module):
        def forward(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
            return F.conv2d(x, weight, padding="same", dilation=2)

    with pytest.raises(NiwakiError, match=r"computed with 9223372036854775808, a number of more than 64 bits"):
        niwaki.compile(Same(), (torch.randn(4, 7, 9), torch.randn(6, 4, 2, 4)))
