"""The trained ResNets for CIFAR-10 and the images that accuracy is measured on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

DEPTHS = {"resnet20": 3, "resnet56": 9}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Block(nn.Module):
    """Two convolutions and a shortcut without weights: every second pixel, channels padded with zeros."""

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.border = (planes - inputs) // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.border:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.border, self.border))
        return F.relu(y + x)


class ResNet(nn.Module):
    """A ResNet for CIFAR-10 of 6 n + 2 layers, with the names of the published weights."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(n, 16, 16, 1)
        self.layer2 = self._stage(n, 16, 32, 2)
        self.layer3 = self._stage(n, 32, 64, 2)
        self.linear = nn.Linear(64, 10)

    @staticmethod
    def _stage(n: int, inputs: int, planes: int, stride: int) -> nn.Sequential:
        rest = [Block(planes, planes, 1) for _ in range(n - 1)]
        return nn.Sequential(Block(inputs, planes, stride), *rest)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))


@dataclass(frozen=True)
class Images:
    """Normalized images, float32 [N, 3, 32, 32], and the labels of the test images, int64 [N]."""

    train: torch.Tensor
    test: torch.Tensor
    labels: torch.Tensor


def load_network(name: str, folder: Path) -> ResNet:
    """A trained network in eval mode."""
    model = ResNet(DEPTHS[name])
    model.load_state_dict(load_file(folder / f"{name}_cifar10.safetensors"))
    return model.eval()


def unbalanced(model: ResNet, seed: int = 0) -> ResNet:
    """The same network in float32, whose channels inside of the blocks have ranges that differ by up to 64 times.

    Networks come so: nothing in training keeps the channels between two layers alike, and those of MobileNetV2 are not.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for block in (part for part in model.modules() if isinstance(part, Block)):
            factors = 2 ** (6 * torch.rand(len(block.bn1.weight), generator=generator) - 3)
            block.bn1.weight.mul_(factors)
            block.bn1.bias.mul_(factors)
            block.conv2.weight.div_(factors[:, None, None])
    return model


def load_images(folder: Path) -> Images:
    """The lossless images: 8,068 to calibrate on and 1,017 to test with."""
    with np.load(folder / "cifar10_lossless.npz") as data:
        train, test, labels = (data[key] for key in ("train_images", "test_images", "test_labels"))
    mean, std = (torch.tensor(value).reshape(3, 1, 1) for value in (MEAN, STD))
    normalized = [(torch.from_numpy(pixels).float() / 255 - mean) / std for pixels in (train, test)]
    return Images(*normalized, torch.from_numpy(labels).long())


def load_labels(folder: Path) -> torch.Tensor:
    """int64 [N], the labels of the lossless training images."""
    with np.load(folder / "cifar10_lossless.npz") as data:
        return torch.from_numpy(data["train_labels"]).long()
