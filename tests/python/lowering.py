"""What the tests of lowering and compilation share: small networks, compressed and compiled, against float32."""

from __future__ import annotations

import torch
from torch import nn

import niwaki


class Function(nn.Module):
    """A convolution, so that there is something to quantize, and a function of its output."""

    def __init__(self, function, channels: int = 8, image_channels: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(image_channels, channels, 3, padding=1)
        self.function = function

    def forward(self, x: torch.Tensor):
        return self.function(self.conv(x))


def images(batch: int = 2, height: int = 16, width: int = 12, channels: int = 3, seed: int = 1) -> torch.Tensor:
    """Seeded noise, float32 [batch, channels, height, width]."""
    return torch.randn(batch, channels, height, width, generator=torch.Generator().manual_seed(seed))


def compiled(model: nn.Module, calibration: torch.Tensor | list[torch.Tensor], **options) -> niwaki.Network:
    """Quantized on the calibration inputs with their whole range, compiled for one thread."""
    items = calibration if isinstance(calibration, list) else [calibration]
    config = niwaki.QuantizeConfig(observer="minmax")
    small = niwaki.quantize(model.eval(), items, config, progress=False)
    return niwaki.compile(small, (items[0],), **{"threads": 1, **options})


def steps_off(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """The largest difference in steps of a uint8 value that spans what was wanted."""
    assert found.shape == wanted.shape
    span = max(float(wanted.max()), 0.0) - min(float(wanted.min()), 0.0)
    return float((found - wanted).abs().max()) / (span / 255) if span else float(found.abs().max())


def cosine(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """The smallest cosine similarity of an image's outputs."""
    return float(torch.nn.functional.cosine_similarity(found.flatten(1), wanted.flatten(1)).min())
