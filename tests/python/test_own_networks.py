"""Networks that draw and hear: a U-Net, a detector, a Conformer, a WaveNet, a vocoder. Whole, in files, near torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import drawn
import pytest
import torch
from torch import nn
from whole import own
from whole.check import enliven, error, same

import niwaki
from niwaki._core import isas


def check_file(net: niwaki.Network, given: tuple[torch.Tensor, ...], folder: Path, patch: pytest.MonkeyPatch) -> None:
    """All of it is native, and the file's answers are to the bit the network's, for every instruction set."""
    assert not net.plan.torch, net.plan
    wanted = net(*given)
    net.save(folder / "net.niwaki")
    for isa in isas():
        patch.setenv("NIWAKI_ISA", isa)
        for threads in (1, 2):
            assert same(niwaki.load(folder / "net.niwaki", threads=threads)(*given), wanted), (isa, threads)


# Made, its inputs for a batch and a size, sizes, and the largest error: of seeded weights, on a few noises.
SOUND: dict[str, tuple[Callable[[], nn.Module], Callable[[int, int], torch.Tensor], tuple[int, ...], float]] = {
    "conformer": (own.Conformer, lambda batch, size: torch.randn(batch, size) / 8, (4000, 16000), 0.1),
    "wavenet": (lambda: own.WaveNet(layers=5), lambda batch, size: torch.randn(batch, 1, size), (300, 1000), 0.03),
    "vocoder": (
        lambda: own.Vocoder(16, (4, 4)), lambda batch, size: torch.randn(batch, 80, size), (8, 13), 0.05),
}  # fmt: skip


@pytest.mark.parametrize("name", SOUND)
def test_sound(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, inputs, sizes, most = SOUND[name]
    net = make().eval()
    enliven(net, (inputs(4, sizes[0]),))
    with torch.no_grad():  # as made, a vocoder's are so small that its biases are all that is heard
        for part in net.modules():
            if isinstance(part, (nn.Conv1d, nn.ConvTranspose1d)) and name == "vocoder":
                part.weight *= 2
    small, _ = niwaki.compress(net, [inputs(2, sizes[0]) for _ in range(4)], progress=False)
    compiled = niwaki.compile(small, (inputs(2, sizes[0]),), threads=1)
    for size, batch in zip(sizes, (3, 1), strict=True):
        x = inputs(batch, size)
        with torch.no_grad():
            far: Any = error(compiled(x), net(x))
        assert far < most
    check_file(compiled, (inputs(2, sizes[1] // 2),), tmp_path, monkeypatch)


@pytest.mark.parametrize("resize", [False, True])
def test_a_unet_keeps_its_masks(resize: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = drawn.train(own.UNet(3, 8, resize), drawn.segmentation_loss, 48, steps=60)
    test = drawn.draw(32, 48, torch.Generator().manual_seed(2))
    compiled = drawn.compile_drawn(net, 48, 16)
    with torch.no_grad():
        assert float((net(test.images).argmax(1) == test.classes).float().mean()) > 0.95
    assert drawn.same_classes(net, compiled, test.images) > 0.99
    check_file(compiled, (test.images[:2, :, :40],), tmp_path, monkeypatch)


def test_a_detector_keeps_its_boxes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = drawn.train(own.Yolo(drawn.KINDS, 8), drawn.detection_loss, 64, steps=300, batch=4)
    test = drawn.draw(16, 64, torch.Generator().manual_seed(2))
    compiled = drawn.compile_drawn(net, 64, 32)
    with torch.no_grad():
        assert float(drawn.detection_loss(net, test)) < 1.5
    apart, scores, places = drawn.boxes_apart(net, compiled, test.images)
    assert places > 50 and apart < 0.01 and scores < 0.1
    check_file(compiled, (test.images[:2, :, :48],), tmp_path, monkeypatch)
