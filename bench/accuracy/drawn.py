"""Dense prediction on drawn pictures: a U-Net and a detector trained for a minute, and how int8 keeps their answers.

    python bench/accuracy/drawn.py [--seconds 60] [--seed 0]
    python bench/accuracy/drawn.py --seconds 0        # not trained: weights as torch makes them, norms fit the pictures

Pictures have a disc and a box, each of a colour of its own, on noise: what is a pixel of, and where are they. Compared
are the compiled network and the float32 module, on pictures that neither training nor calibration saw: the share of
pixels of the same class, and how far the sides of boxes are apart, in widths of the picture, at all places whose score
is at least 0.3 in one of the two.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from whole.check import enliven
from whole.own import UNet, Yolo

import niwaki

KINDS = 2  # disc and box


@dataclass(frozen=True)
class Drawn:
    """Pictures: float32 [N, 3, S, S], 0 to 1; classes of pixels, int64 [N, S, S], 0 for neither; boxes [N, 2, 4]."""

    images: torch.Tensor
    classes: torch.Tensor
    boxes: torch.Tensor


def draw(count: int, size: int, generator: torch.Generator) -> Drawn:
    """Draws pictures with a disc in one half and a box in the other; left, top, right and bottom are in pixels."""

    def number(low: float, high: float, *shape: int) -> torch.Tensor:
        return torch.rand(count, *shape, generator=generator) * (high - low) + low

    y, x = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="ij")
    images = number(0, 0.5, 3, size, size)
    classes, boxes = torch.zeros(count, size, size, dtype=torch.int64), torch.zeros(count, KINDS, 4)
    left = torch.rand(count, generator=generator) < 0.5
    for kind in range(KINDS):
        here = left if kind == 0 else ~left
        half = number(size / 10, size / 5, 2)
        if kind == 0:
            half = half[:, :1].expand(-1, 2)
        center = torch.stack([number(0.22, 0.28) + 0.5 * ~here, number(0.25, 0.75)], 1) * size
        away = torch.stack([x, y]) - center[:, :, None, None]
        away = away / half[:, :, None, None]
        inside = (away.square().sum(1) if kind == 0 else away.abs().amax(1)) <= 1
        colour = number(0.5, 1, 3)
        images = torch.where(inside[:, None], colour[..., None, None] + 0.2 * (images - 0.25), images)
        classes = torch.where(inside, kind + 1, classes)
        boxes[:, kind] = torch.cat([center - half, center + half], 1)
    return Drawn(images.clamp(0, 1), classes, boxes)


def segmentation_loss(net: nn.Module, drawn: Drawn) -> torch.Tensor:
    return F.cross_entropy(net(drawn.images), drawn.classes)


def detection_loss(net: Yolo, drawn: Drawn) -> torch.Tensor:
    """Of scores at all places, and of boxes at those near an object's middle."""
    sides, kinds, places = net.heads(drawn.images)
    boxes, stride = net.boxes(sides, places), places[:, 2]
    middle = (drawn.boxes[..., :2] + drawn.boxes[..., 2:]) / 2
    away = (places[None, None, :, :2] - middle[:, :, None]).abs().amax(-1)
    near = away < 0.75 * stride  # [N, kinds, A]
    scores = F.binary_cross_entropy_with_logits(kinds, near.transpose(1, 2).float(), reduction="sum")
    apart = (boxes[:, None] - drawn.boxes[:, :, None]).abs().mean(-1) / stride
    return (scores + 2 * (apart * near).sum()) / near.sum()


def train(
    net: nn.Module,
    loss: Callable[..., torch.Tensor],
    size: int,
    *,
    steps: int | None = None,
    seconds: float = 60.0,
    batch: int = 8,
) -> nn.Module:
    """Trains a network on pictures drawn for it: as many steps as given, or as long as given. In eval mode then.

    Of 0 seconds, its norms have the statistics of some pictures, or nothing of them would be seen in its answers.
    """
    generator = torch.Generator().manual_seed(0)
    if seconds == 0:
        enliven(net, (draw(16, size, generator).images,))
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3)
    net.train()
    begin = time.perf_counter()
    for step in itertools.count():
        if (step >= steps) if steps is not None else (time.perf_counter() - begin >= seconds):
            break
        value = loss(net, draw(batch, size, generator))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return net.eval()


def compile_drawn(net: nn.Module, size: int, count: int = 64) -> niwaki.Network:
    """The network in int8, calibrated on pictures of its own."""
    images = draw(count, size, torch.Generator().manual_seed(1)).images
    small, _ = niwaki.compress(net, images.split(16), progress=False)
    return niwaki.compile(small, (images[:1],), threads=1)


def same_classes(net: nn.Module, compiled: Callable[..., torch.Tensor], images: torch.Tensor) -> float:
    """The share of pixels that both put into the same class."""
    with torch.no_grad():
        return float((net(images).argmax(1) == compiled(images).argmax(1)).float().mean())


def boxes_apart(
    net: nn.Module, compiled: Callable[..., tuple[torch.Tensor, torch.Tensor]], images: torch.Tensor
) -> tuple[float, float, int]:
    """How far sides are apart at the most, in widths of a picture; scores; and at how many places."""
    apart, scores = _apart(net, compiled, images)
    if not len(apart):
        return 0.0, 0.0, 0
    return float(apart.max()), float(scores.max()), len(apart)


def _apart(
    net: nn.Module, compiled: Callable[..., tuple[torch.Tensor, torch.Tensor]], images: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """At each place that is seen, how far sides [P, 4] are apart, in widths of a picture, and scores [P, kinds]."""
    with torch.no_grad():
        (boxes, scores), (found, found_scores) = net(images), compiled(images)
    seen = (scores >= 0.3).any(2) | (found_scores >= 0.3).any(2)
    return (boxes - found)[seen].abs() / images.shape[-1], (scores - found_scores)[seen].abs()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, metavar="N", help="of training (default: 60)")
    parser.add_argument("--size", type=int, default=96, metavar="N", help="of pictures (default: 96)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the weights (default: 0)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    test = draw(64, options.size, torch.Generator().manual_seed(2))
    for resize in (False, True):
        torch.manual_seed(options.seed)
        unet = train(UNet(KINDS + 1, 8, resize), segmentation_loss, options.size, seconds=options.seconds)
        with torch.no_grad():
            right = float((unet(test.images).argmax(1) == test.classes).float().mean())
        same = same_classes(unet, compile_drawn(unet, options.size), test.images)
        way = "resized" if resize else "transposed convolutions"
        print(f"U-Net, {way}: {right:.2%} of pixels right in float32, {same:.3%} the same in int8", flush=True)
    torch.manual_seed(options.seed)
    yolo = train(Yolo(KINDS, 8), detection_loss, options.size, seconds=options.seconds)
    apart, scores = _apart(yolo, compile_drawn(yolo, options.size), test.images)
    print(f"detector, {len(apart)} places: sides are {float(apart.mean()):.3%} of the picture apart on average, "
          f"{float(apart.max()):.3%} at the most, scores {float(scores.max()):.3f}")  # fmt: skip


if __name__ == "__main__":
    main()
