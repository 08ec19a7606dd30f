"""A small ResNet and scikit-learn's handwritten digits: 1,797 pictures of 8 x 8 pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from sklearn.datasets import load_digits
from torch import nn

Tensors = tuple[torch.Tensor, torch.Tensor]


class Block(nn.Module):
    """Two 3 x 3 convolutions and a shortcut around them."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class DigitsNet(nn.Module):
    """[N, 1, 8, 8] to scores of the ten digits [N, 10]."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.layer1 = nn.Sequential(Block(width, width, 1), Block(width, width, 1))
        self.layer2 = nn.Sequential(Block(width, 2 * width, 2), Block(2 * width, 2 * width, 1))
        self.layer3 = nn.Sequential(Block(2 * width, 4 * width, 2), Block(4 * width, 4 * width, 1))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4 * width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer3(self.layer2(self.layer1(self.stem(x))))
        return self.fc(torch.flatten(self.pool(x), 1))


def load_data(held_out: int = 597) -> tuple[Tensors, Tensors]:
    """Images float32 [N, 1, 8, 8] in -1..1 and labels, for training and held out; the same split every time."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 8 - 1
    labels = torch.tensor(digits.target)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    train, test = order[held_out:], order[:held_out]
    return (images[train], labels[train]), (images[test], labels[test])


def sgd(parameters: Iterable[nn.Parameter], rate: float) -> torch.optim.Optimizer:
    """What convolutions learn well with."""
    return torch.optim.SGD(parameters, lr=rate, momentum=0.9, weight_decay=5e-4, nesterov=True)


def adamw(parameters: Iterable[nn.Parameter], rate: float) -> torch.optim.Optimizer:
    """What transformers learn well with."""
    return torch.optim.AdamW(parameters, lr=rate, weight_decay=0.05)


@dataclass(frozen=True)
class Training:
    """How to train.

    Attributes:
        epochs: how often each picture is seen.
        rate: the learning rate at first; it falls along a cosine.
        batch: pictures in a step.
        shift: by how many pixels pictures are moved at most, up, down and sideways, 0 or 1.
        optimizer: makes one of the parameters and the rate.
    """

    epochs: int
    rate: float
    batch: int = 64
    shift: int = 1
    optimizer: Callable[[Iterable[nn.Parameter], float], torch.optim.Optimizer] = sgd


def train(model: nn.Module, data: Tensors, training: Training, after_epoch: Callable[[], None]) -> None:
    """Trains in place; the model is in eval mode afterwards."""
    images, labels = data
    generator = torch.Generator().manual_seed(1)
    optimizer = training.optimizer(model.parameters(), training.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, training.epochs)
    shift = training.shift
    padded = nn.functional.pad(images, (shift, shift, shift, shift), value=-1.0)
    model.train()
    for _ in range(training.epochs):
        for batch in torch.randperm(len(images), generator=generator).split(training.batch):
            top, left = torch.randint(0, 2 * shift + 1, (2,), generator=generator).tolist()
            loss = nn.functional.cross_entropy(model(padded[batch, :, top : top + 8, left : left + 8]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
        after_epoch()
    model.eval()


@torch.inference_mode()
def answers(network: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    """The digits [N] with the largest scores."""
    return network(images).argmax(1)


@torch.inference_mode()
def accuracy(network: Callable[[torch.Tensor], torch.Tensor], data: Tensors) -> float:
    """Share of the images whose largest score is the right one."""
    images, labels = data
    return (answers(network, images) == labels).float().mean().item()
