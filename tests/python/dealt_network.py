"""A network of some layers, and images, for tests of processes that share the measuring of layers."""

from __future__ import annotations

import torch
from torch import nn


def network() -> nn.Module:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for inputs in (4, 16, 16):
        layers += [nn.Conv2d(inputs, 16, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 10)).eval()


def images(seed: int = 0) -> list[torch.Tensor]:
    """Float32 [8, 4, 8, 8] each, four of them."""
    return list(torch.randn(32, 4, 8, 8, generator=torch.Generator().manual_seed(seed)).split(8))
