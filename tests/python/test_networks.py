"""Whole networks: all of it native, and the same answers as float32. Seeded weights, calibrated on the inputs."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from lowering import cosine, images
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

import niwaki
from niwaki._compat import import_torchvision
from niwaki._core import isas

NAMES = (
    "resnet18",
    "resnext50_32x4d",
    "vgg11",
    "mobilenet_v2",
    "squeezenet1_1",
    "densenet121",
    "googlenet",
    "shufflenet_v2_x1_0",
    "mobilenet_v3_large",
    "efficientnet_b0",
    "regnet_y_400mf",
)
# Where a network has the same blocks many times, or ten times the weights of others, it has fewer here.
OPTIONS: dict[str, dict[str, object]] = {
    "googlenet": {"init_weights": True, "aux_logits": False},
    "densenet121": {"block_config": (3, 4, 3, 3)},
    "resnext50_32x4d": {"layers": [1, 2, 2, 1]},
}


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


def check(model: nn.Module, small: nn.Module, x: torch.Tensor) -> niwaki.Network:
    net = niwaki.compile(small, (x,), threads=1)
    assert not net.plan.torch, net.plan
    with torch.no_grad():
        wanted = model(x)
    assert cosine(net(x), wanted) >= 0.99
    assert torch.equal(net(x[:1]), net(x)[:1])
    return net


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    models, options = import_torchvision().models, OPTIONS.get(name, {})
    if name == "densenet121":
        return with_statistics(models.DenseNet(32, num_init_features=64, **options))
    if name == "resnext50_32x4d":
        block = models.resnet.Bottleneck
        return with_statistics(models.ResNet(block, groups=32, width_per_group=4, **options))
    made = getattr(models, name)(**options)
    if name == "vgg11":
        made.classifier[0], made.classifier[3] = nn.Linear(25_088, 256), nn.Linear(256, 256)
        made.classifier[6] = nn.Linear(256, 1000)
    return with_statistics(made)


@functools.cache
def compressed(name: str) -> tuple[nn.Module, nn.Module]:
    """The network, and what becomes of it on the images that it is tested on."""
    model = build(name)
    return model, niwaki.compress(model, [images(2, 64, 64)])[0]


@pytest.mark.parametrize("name", NAMES)
def test_torchvision(name: str) -> None:
    net = check(*compressed(name), images(2, 64, 64))
    assert net(images(1, 97, 65)).shape == (1, 1000)


def test_timm_resnet50() -> None:
    timm = pytest.importorskip("timm", reason="needs timm: its ResNet-50 is tested")
    model, x = with_statistics(timm.create_model("resnet50", pretrained=False)), images(2, 64, 64)
    check(model, niwaki.compress(model, [x])[0], x)


@pytest.mark.parametrize("n", [3, 9], ids=["resnet20", "resnet56"])
def test_cifar(n: int) -> None:
    model, x = with_statistics(CifarResNet(n)), images(4, 32, 32)
    check(model, niwaki.compress(model, [x])[0], x)


def load_cifar(name: str, n: int, folder: Path) -> tuple[nn.Module, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A trained network, 512 training images to calibrate on, and the test images with their labels."""
    model = CifarResNet(n)
    model.load_state_dict(load_file(folder / f"{name}_cifar10.safetensors"))
    with np.load(folder / "cifar10_lossless.npz") as data:
        train, test, labels = (data[key] for key in ("train_images", "test_images", "test_labels"))
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    normalized = [(torch.from_numpy(pixels).float() / 255 - mean) / std for pixels in (train[:512], test)]
    return model.eval(), *normalized, torch.from_numpy(labels).long()


@pytest.mark.parametrize(("name", "n", "most"), [("resnet20", 3, 0.026), ("resnet56", 9, 0.03)])
def test_trained_cifar_networks_keep_their_answers(name: str, n: int, most: float, shared_dir: Path) -> None:
    model, train, test, _ = load_cifar(name, n, shared_dir / "data")
    small, _ = niwaki.compress(model, train.split(64))
    net = niwaki.compile(small, (train[:1],), threads=1)
    assert not net.plan.torch, net.plan
    with torch.no_grad():
        wanted = torch.cat([model(part) for part in test.split(256)])
    found = net(test)
    # Not how many are right: of the few answers that change, chance says which way.
    assert float((found.argmax(1) == wanted.argmax(1)).float().mean()) >= 0.985
    assert float((found - wanted).norm() / wanted.norm()) <= most


@pytest.mark.parametrize(
    ("name", "size", "batch"), [("resnet18", 33, 5), ("resnet18", 97, 1), ("mobilenet_v3_large", 224, 1)]
)
def test_every_instruction_set_gives_the_same_bits(
    name: str, size: int, batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From one file: that compile(isa=...) makes the same network is tested with small ones."""
    _, small = compressed(name)
    x = images(batch, size, size, seed=4)
    net = niwaki.compile(small, (x,), threads=1)
    net.save(tmp_path / "net.niwaki")
    expected = net(x)
    for isa in isas():
        monkeypatch.setenv("NIWAKI_ISA", isa)
        for threads in (1, 2):
            other = niwaki.load(tmp_path / "net.niwaki", threads=threads)
            assert other.isa == isa and torch.equal(other(x), expected), (isa, threads)
