"""Means and covariances of what a layer multiplies its weights with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

# Columns of inputs that a layer's covariance is made of. More change it little and cost as much as running the layer.
SAMPLES = 1 << 16
# Values of unfolded inputs held at a time.
_CHUNK = 1 << 22


@dataclass(frozen=True)
class Moments:
    """Second moments of a layer's inputs.

    x are inputs as the layer has them now, r what it had in the reference network, at the same positions: columns of
    K = channels / groups * kernel height * kernel width, for each of G groups.

    Attributes:
        covariance: float32 [G, K, K], E[x x'], less the means' share where `centered`.
        cross: float32 [G, K, K], E[r x'], centered in the same way.
        mean: float32 [G, K], of x.
        reference_mean: float32 [G, K], of r.
    """

    covariance: torch.Tensor
    cross: torch.Tensor
    mean: torch.Tensor
    reference_mean: torch.Tensor


def columns(layer: nn.Conv2d | nn.Linear, x: torch.Tensor, chosen: torch.Tensor | None = None) -> torch.Tensor:
    """What the layer's weights are multiplied with: [groups, K, columns].

    `chosen` are the positions to take: of each image, for a convolution; of all rows, for a linear layer.
    """
    if isinstance(layer, nn.Linear):
        rows = x.reshape(-1, x.shape[-1])
        return (rows if chosen is None else rows[chosen]).T[None]
    x = x if x.dim() == 4 else x.unsqueeze(0)
    x = _padded(layer, x)
    unfolded = F.unfold(x, layer.kernel_size, layer.dilation, 0, layer.stride)
    if chosen is not None:
        unfolded = unfolded[:, :, chosen]
    images, depth, _ = unfolded.shape
    return unfolded.reshape(images, layer.groups, depth // layer.groups, -1).permute(1, 2, 0, 3).flatten(2)


def _padded(layer: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    if isinstance(layer.padding, str):
        if layer.padding == "valid":
            return x
        ends = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        # An odd pixel goes below and to the right, as in torch.
        border = [ends[1] // 2, ends[1] - ends[1] // 2, ends[0] // 2, ends[0] - ends[0] // 2]
    else:
        border = [layer.padding[1], layer.padding[1], layer.padding[0], layer.padding[0]]
    if not any(border):
        return x
    return F.pad(x, border, mode="constant" if layer.padding_mode == "zeros" else layer.padding_mode)


def moments(
    layer: nn.Conv2d | nn.Linear,
    inputs: Sequence[torch.Tensor],
    references: Sequence[torch.Tensor],
    *,
    centered: bool,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Moments:
    """Moments of a layer's inputs. Positions are sampled where there are more than `samples`.

    Args:
        layer: whose inputs they are.
        inputs, references: float32, of each batch, of equal shapes.
        centered: whether means are taken off: a bias can hold them.
        samples: how many columns to use at most, about.
        seed: of the choice of positions.
    """
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    size = layer.weight[0].numel()
    same = all(a is b for a, b in zip(inputs, references, strict=True))
    generator = torch.Generator().manual_seed(seed)
    share = min(1.0, samples / max(1, _total(layer, inputs)))
    second = torch.zeros(groups, size, size)
    cross = second if same else torch.zeros(groups, size, size)
    mean, reference_mean = torch.zeros(2, groups, size, dtype=torch.float64).unbind(0)
    count = 0
    for x, r in zip(inputs, references, strict=True):
        for now, before in zip(_parts(layer, x), _parts(layer, r), strict=True):
            chosen = None
            if share < 1:
                places = _places(layer, now)
                chosen = torch.randperm(places, generator=generator)[: max(1, round(share * places))]
            found = columns(layer, now, chosen)
            count += found.shape[2]
            second.baddbmm_(found, found.transpose(1, 2))
            mean += found.sum(2)
            if not same:
                other = columns(layer, before, chosen)
                cross.baddbmm_(other, found.transpose(1, 2))
                reference_mean += other.sum(2)
    count = max(1, count)
    mean /= count
    reference_mean = mean if same else reference_mean / count
    covariance = _centered(second / count, mean, mean, centered)
    crossed = covariance if same else _centered(cross / count, reference_mean, mean, centered)
    return Moments(covariance, crossed, mean.float(), reference_mean.float())


def deficiency(layer: nn.Conv2d | nn.Linear, inputs: Sequence[torch.Tensor], covariance: torch.Tensor) -> str:
    """That a covariance [G, K, K] of a layer's inputs is singular, and why; empty where nothing says that it is."""
    diagonal = covariance.diagonal(dim1=1, dim2=2)
    still = int((diagonal <= 1e-10 * diagonal.mean().clamp_min(1e-30)).sum())
    if still:
        return f"the covariance of its inputs is singular: {still} of {diagonal.numel()} never vary"
    columns = min(_total(layer, inputs), SAMPLES)
    if columns < diagonal.shape[1]:
        return f"the covariance of its inputs is singular: {columns} samples of {diagonal.shape[1]}"
    return ""


def _total(layer: nn.Conv2d | nn.Linear, inputs: Sequence[torch.Tensor]) -> int:
    """Columns that the inputs of all batches make."""
    image = isinstance(layer, nn.Conv2d)
    return sum(_places(layer, x) * (x.shape[0] if x.dim() == 4 and image else 1) for x in inputs)


def _centered(second: torch.Tensor, left: torch.Tensor, right: torch.Tensor, centered: bool) -> torch.Tensor:
    if not centered:
        return second
    return second.sub_((left[:, :, None] * right[:, None, :]).float())


def _places(layer: nn.Conv2d | nn.Linear, x: torch.Tensor) -> int:
    """Output pixels of an image, or rows of a linear layer."""
    if isinstance(layer, nn.Linear):
        return x.numel() // x.shape[-1]
    padded = _padded(layer, x[:1] if x.dim() == 4 else x)
    sizes = zip(padded.shape[-2:], layer.kernel_size, layer.dilation, layer.stride, strict=True)
    height, width = ((size - d * (k - 1) - 1) // step + 1 for size, k, d, step in sizes)
    return height * width


def _parts(layer: nn.Conv2d | nn.Linear, x: torch.Tensor) -> Sequence[torch.Tensor]:
    """Images in numbers whose unfolded values are not too many at once."""
    if isinstance(layer, nn.Linear) or x.dim() != 4:
        return (x,)
    taps = layer.kernel_size[0] * layer.kernel_size[1]
    size = max(1, x[0].numel() * taps // (layer.stride[0] * layer.stride[1]))
    parts: Sequence[torch.Tensor] = x.split(max(1, _CHUNK // size))
    return parts
