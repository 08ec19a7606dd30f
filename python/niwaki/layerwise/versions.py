"""Further versions of images: random parts of them, enlarged, some mixed, for layers that see too few inputs.

A late layer of a network for images has a covariance of a thousand inputs, and a few hundred images tell little of it.
What the network as it was makes of a part of an image is as good a target as what it makes of the whole, for no labels
are needed (as in Hubara et al., "Accurate post training quantization with small calibration sets", 2021, small sets
are what layer-by-layer methods fit too well; the remedy here is that of training: random resized crops, Szegedy et al.,
2015, and mixed images, Zhang et al., 2018).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from niwaki.capture import evaluating
from niwaki.quantization.inputs import Batch

# Versions of an input, itself included, and inputs in all, beyond which there are no more versions.
_MOST, _ENOUGH = 10, 2048
# Of the area of an image, and of how far the sides' ratio may change.
_AREA, _RATIO = (0.35, 1.0), 4 / 3
# Of the images of a version so many are mixed with another one, which has at most half of the weight.
_MIXED = 0.5
# Smaller pictures have no parts to speak of.
_SMALLEST = 16
# Where a network's outputs change by less than this when its inputs are mirrored, mirrored ones are typical.
_SAME, _TRIED = 0.6, 16
# Of so many inputs one may be left out of fitting: the last ones of a batch are mixed with each other only.
_ONE_OF = 4


def are_images(batch: Batch) -> bool:
    """Whether a call has one argument, float32 [N, 1 or 3, height, width]."""
    leaves = pytree.tree_leaves((batch.args, batch.kwargs))
    if len(leaves) != 1 or not isinstance(leaves[0], torch.Tensor) or leaves[0].dim() != 4:
        return False
    x = leaves[0]
    return x.dtype == torch.float32 and x.shape[1] in (1, 3) and min(x.shape[2:]) >= _SMALLEST


def versions_of(model: nn.Module, batches: Sequence[Batch], *, seed: int = 0) -> Iterator[tuple[int, Batch]]:
    """Versions of batches of images, and which batch each is of. Nothing, if one of them holds something else.

    Args:
        model: tells whether images may be mirrored: its answers hardly change then.
        batches: the images.
        seed: of the versions.
    """
    if not all(are_images(batch) for batch in batches):
        return
    inputs = sum(batch.inputs for batch in batches)
    generator = torch.Generator().manual_seed(seed)
    mirrored = _may_be_mirrored(model, batches[0])
    for _ in range(min(_MOST, math.ceil(_ENOUGH / inputs)) - 1):
        for origin, batch in enumerate(batches):
            yield origin, batch.mapped(lambda x: vary(x, generator, mirrored=mirrored))


def vary(x: torch.Tensor, generator: torch.Generator, *, mirrored: bool) -> torch.Tensor:
    """A random version of each of some images, float32 of their shape, [N, C, H, W].

    Args:
        x: the images.
        generator: of what is chosen.
        mirrored: whether half of them are mirrored.
    """
    count = len(x)

    def uniform(low: float, high: float) -> torch.Tensor:
        return torch.rand(count, generator=generator) * (high - low) + low

    area, ratio = uniform(*_AREA), uniform(-math.log(_RATIO), math.log(_RATIO)).exp()
    width, height = (area * ratio).sqrt().clamp_max(1), (area / ratio).sqrt().clamp_max(1)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 2], theta[:, 1, 2] = uniform(-1, 1) * (1 - width), uniform(-1, 1) * (1 - height)
    flips = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    theta[:, 0, 0], theta[:, 1, 1] = width * flips if mirrored else width, height
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    found = F.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    share = torch.where(uniform(0, 1) < _MIXED, uniform(0.5, 1), 1.0)[:, None, None, None]
    last = count // _ONE_OF
    others = torch.cat([part.roll(1, 0) for part in (found[: count - last], found[count - last :])])
    return share * found + (1 - share) * others


def _may_be_mirrored(model: nn.Module, batch: Batch) -> bool:
    plain = batch.mapped(lambda x: x[:_TRIED].clone())
    flipped = plain.mapped(lambda x: x.flip(-1))
    with evaluating(model):
        answers = [pytree.tree_leaves(model(*one.args, **one.kwargs)) for one in (plain, flipped)]
    for before, after in zip(*answers, strict=True):
        if not isinstance(before, torch.Tensor) or not before.is_floating_point():
            continue
        if not float((after - before).norm()) <= _SAME * float(before.norm()):
            return False
    return True
