"""The networks: torchvision's definitions, and a U-Net, with seeded weights, pruned by magnitude.

Only their speed means anything.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from torch import nn
from whole.own import UNet

from peers.cases import Case


def _torchvision():
    """torchvision, by niwaki's way of importing it beside a torch without CUDA; niwaki itself is not imported."""
    path = Path(__file__).resolve().parents[2] / "python" / "niwaki" / "_compat.py"
    spec = importlib.util.spec_from_file_location("peers_compat", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.import_torchvision()


class Mask(nn.Module):
    """A segmentation network of torchvision: the logits of pixels alone, of what it returns by name."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x)["out"]


def _defined(name: str) -> nn.Module:
    models = _torchvision().models
    if name == "unet":
        return UNet(classes=21, width=32)
    if hasattr(models.segmentation, name):
        return Mask(getattr(models.segmentation, name)(weights_backbone=None))
    if not hasattr(models, name):
        raise ValueError(f"torchvision has no network '{name}'.")
    return getattr(models, name)()


def build(name: str) -> nn.Module:
    """The network of a case in eval mode. Batch norms have statistics that cost precision, as trained ones do."""
    case = Case.parse(name)
    torch.manual_seed(0)
    network = _defined(case.model).eval()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0.0, 0.1)
            layer.running_var.uniform_(0.5, 1.5)
        elif isinstance(layer, nn.Conv2d) and case.block and layer.groups == 1 and layer.in_channels % 4 == 0:
            prune(layer.weight.data, case.zeros, case.block)
    return network


def prune(weight: torch.Tensor, zeros: float, block: int) -> None:
    """Zeros, in place, the share of blocks with the smallest sum of magnitudes.

    Args:
        weight: [outputs, inputs, height, width].
        zeros: the share of the blocks, 0 to 1.
        block: consecutive inputs of one output at one tap.
    """
    inputs_last = weight.movedim(1, 3).contiguous()
    blocks = inputs_last.view(-1, block)
    weakest = blocks.abs().sum(1).argsort(stable=True)[: int(zeros * len(blocks))]
    blocks[weakest] = 0
    weight.copy_(inputs_last.movedim(3, 1))


def calibration(size: int, batches: int = 3) -> list[torch.Tensor]:
    """Seeded noise for the quantizers of all engines: float32 [2, 3, size, size] each."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(2, 3, size, size, generator=generator) for _ in range(batches)]
