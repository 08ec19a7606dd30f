"""nn.TransformerEncoder answers 0 where sequences are padded at their ends, and so does what niwaki makes of it."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import niwaki


class Positioned(nn.TransformerEncoder):
    """Adds positions before, and a factor after what torch's encoder answers."""

    def forward(self, src: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        positions = torch.arange(src.shape[1])[:, None] / (1.0 + torch.arange(src.shape[2]))
        return 0.5 * super().forward(src + positions.sin(), *args, **kwargs)


class Named(nn.TransformerEncoder):
    """torch's encoder under another name."""


class Encoder(nn.Module):
    def __init__(self, norm: bool, kind: type[nn.TransformerEncoder]) -> None:
        super().__init__()
        last = nn.LayerNorm(16) if norm else None
        if last is not None:
            nn.init.normal_(last.bias)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.encoder = kind(layer, 2, norm=last)

    def forward(self, x: torch.Tensor, padding: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.encoder(x, src_key_padding_mask=padding)
        return y, y.mean(1)


def padded_from(length: int, *ends: int) -> torch.Tensor:
    return torch.arange(length) >= torch.tensor(ends)[:, None]


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("kind", [nn.TransformerEncoder, Positioned, Named])
def test_padding_is_answered_as_torch_does(norm: bool, kind: type[nn.TransformerEncoder], tmp_path: Path) -> None:
    module = Encoder(norm, kind).eval()
    x, padding = torch.randn(3, 8, 16), padded_from(8, 8, 5, 3)
    between = padding.clone()
    between[1] = torch.arange(8) == 2  # then torch packs nothing
    calls = [(x, padding), (x, between), (torch.randn(2, 5, 16), padded_from(5, 1, 5)), (x, padded_from(8, 8, 8, 8))]
    net = niwaki.compile(module, (x, padding))
    small, _ = niwaki.compress(module, [{"x": x, "padding": padding}] * 4)
    quantized = niwaki.compile(small, (x, padding))
    quantized.save(tmp_path / "x.niwaki")
    with torch.no_grad():
        assert float(module(x, padding)[0][1, 5:].std(0).max()) == 0, "torch packs sequences"
        for call in calls:
            for found, wanted in zip(net(*call), module(*call), strict=True):
                torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
            for found, close, wanted in zip(quantized(*call), small(*call), module(*call), strict=True):
                assert (found - wanted).norm() < 0.15 * wanted.norm()
                torch.testing.assert_close(found, close, rtol=1e-3, atol=1e-4)
    for copied in (copy.deepcopy(small), pickle.loads(pickle.dumps(small))):
        torch.testing.assert_close(copied(x, padding), small(x, padding), rtol=0, atol=0)
    assert type(module.encoder) is kind, "the caller's network is not changed"
