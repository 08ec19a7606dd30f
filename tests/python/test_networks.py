"""Whole networks: all of it native, and the same answers as float32. Seeded weights, calibrated on the inputs."""

from __future__ import annotations

import pytest
import torch
from lowering import cosine, images
from torch import nn
from torch.nn import functional as F

import niwaki
from niwaki._compat import import_torchvision

NAMES = (
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnext50_32x4d",
    "wide_resnet50_2",
    "vgg11",
    "vgg16_bn",
    "mobilenet_v2",
    "squeezenet1_1",
    "densenet121",
    "googlenet",
    "shufflenet_v2_x1_0",
    "mobilenet_v3_large",
    "efficientnet_b0",
    "regnet_y_400mf",
)
OPTIONS = {"googlenet": {"init_weights": True, "aux_logits": False}}


class Block(nn.Module):
    """Of the ResNets for CIFAR: a shortcut that changes shape takes every second pixel and pads the channels."""

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.widens = stride != 1 or inputs != planes
        self.border = planes // 4

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.widens:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.border, self.border), "constant", 0)
        return F.relu(y + x)


class CifarResNet(nn.Module):
    """Of 6 n + 2 layers."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        stages = []
        inputs = 16
        for planes, stride in ((16, 1), (32, 2), (64, 2)):
            stages.append(
                nn.Sequential(*(Block(inputs if i == 0 else planes, planes, stride if i == 0 else 1) for i in range(n)))
            )
            inputs = planes
        self.layer1, self.layer2, self.layer3 = stages
        self.linear = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        x = F.avg_pool2d(x, x.size()[3])
        return self.linear(x.view(x.size(0), -1))


def with_statistics(model: nn.Module) -> nn.Module:
    """Batch norm statistics that are not the identity."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model.eval()


def check(model: nn.Module, x: torch.Tensor) -> niwaki.Network:
    small, _ = niwaki.compress(model, [x])
    net = niwaki.compile(small, (x,), threads=1)
    assert not net.plan.torch, net.plan
    with torch.no_grad():
        wanted = model(x)
    assert cosine(net(x), wanted) >= 0.99
    assert torch.equal(net(x[:1]), net(x)[:1])
    return net


def build(name: str) -> nn.Module:
    return with_statistics(getattr(import_torchvision().models, name)(**OPTIONS.get(name, {})))


@pytest.mark.parametrize("name", NAMES)
def test_torchvision(name: str) -> None:
    net = check(build(name), images(2, 64, 64))
    assert net(images(1, 97, 65)).shape == (1, 1000)


def test_timm_resnet50() -> None:
    timm = pytest.importorskip("timm", reason="needs timm")
    check(with_statistics(timm.create_model("resnet50", pretrained=False)), images(2, 64, 64))


@pytest.mark.parametrize("n", [3, 9], ids=["resnet20", "resnet56"])
def test_cifar(n: int) -> None:
    check(with_statistics(CifarResNet(n)), images(4, 32, 32))
