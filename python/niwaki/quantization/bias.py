"""Bias correction: what rounding shifts the mean of a channel by goes into its bias.

As in Nagel et al., "Data-free quantization through weight equalization and bias correction" (2019), with the means
measured on calibration inputs: https://arxiv.org/abs/1906.04721.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import nn
from torch.utils import _pytree as pytree

from niwaki.capture import evaluating, shapes_of
from niwaki.nn.layers import Conv2d, Linear
from niwaki.progress import track
from niwaki.quantization.inputs import Batch

# Inputs that means are taken over, and values in them: more make the means hardly better.
_INPUTS = 256
_VALUES = 1 << 24

Layer = Conv2d | Linear


class Kept:
    """The first batches of a stream, as one batch, for a look at them later."""

    def __init__(self) -> None:
        self._batches: list[Batch] = []
        self._full = False

    def watch(self, stream: Iterable[Batch]) -> Iterator[Batch]:
        """Yields the batches."""
        for batch in stream:
            self._keep(batch)
            yield batch

    def _keep(self, batch: Batch) -> None:
        if self._full or (self._batches and _kind(batch) != _kind(self._batches[0])):
            return
        self._batches.append(batch.copy())
        leaves = [x for b in self._batches for x in _tensors(b)]
        rows = sum(_tensors(b)[0].shape[0] for b in self._batches) if _kind(batch) is not None else _INPUTS
        self._full = rows >= _INPUTS or sum(x.numel() for x in leaves) >= _VALUES

    def merged(self) -> Batch:
        """All of them as one, where their tensors have the inputs along the first dimension; else the first."""
        first = self._batches[0]
        if _kind(first) is None:
            return first
        leaves, structure = pytree.tree_flatten((first.args, first.kwargs))
        columns = [pytree.tree_leaves((b.args, b.kwargs)) for b in self._batches]
        joined = [
            torch.cat([column[i] for column in columns])[:_INPUTS] if isinstance(leaf, torch.Tensor) else leaf
            for i, leaf in enumerate(leaves)
        ]
        args, kwargs = pytree.tree_unflatten(joined, structure)
        return Batch(first.number, args, kwargs)


def _tensors(batch: Batch) -> list[torch.Tensor]:
    return [x for x in pytree.tree_leaves((batch.args, batch.kwargs)) if isinstance(x, torch.Tensor)]


def _kind(batch: Batch) -> object:
    """What batches that can be joined have in common; None where the first dimension is not that of the inputs."""
    tensors = _tensors(batch)
    lengths = {x.shape[0] if x.dim() > 1 else 0 for x in tensors}
    if len(lengths) != 1 or lengths == {0}:
        return None
    args, kwargs = pytree.tree_map_only(torch.Tensor, lambda x: x[:1], (batch.args, batch.kwargs))
    return shapes_of(args, kwargs)


def correct_biases(
    model: nn.Module, layers: Mapping[str, Layer], means: Mapping[str, torch.Tensor], batch: Batch, *, progress: bool
) -> None:
    """Adds to each bias what the mean of the channel lacks, in the order in which the layers are called.

    Args:
        model: the quantized network.
        layers: its layers by name; those without a bias are left as they are.
        means: float32 [O] by the layer's name: the mean of its output in float32, for the same batch.
        batch: inputs.
        progress: shows a progress bar, if stderr is a terminal.
    """
    steps = track(range(len(layers)), "correcting biases", progress)
    done: set[str] = set()

    def correct(layer: nn.Module, _: object, output: torch.Tensor) -> torch.Tensor | None:
        assert isinstance(layer, (Conv2d, Linear))
        next(steps, None)
        # A layer that is called twice has one bias: the first call decides.
        if layer.name in done or layer.name not in means or layer.bias is None:
            return None
        done.add(layer.name)
        lacks = means[layer.name] - channel_means(layer, output)
        if not bool(torch.isfinite(lacks).all()):
            return None
        layer.bias.add_(lacks)
        # What comes after sees the corrected output, as if the layer had run again.
        return output + lacks.reshape(-1, 1, 1) if isinstance(layer, Conv2d) else output + lacks

    hooks = [layer.register_forward_hook(correct) for layer in layers.values()]
    try:
        with evaluating(model):
            model(*batch.copy().args, **batch.copy().kwargs)
    finally:
        for hook in hooks:
            hook.remove()
        for _ in steps:
            pass


def channel_means(layer: Layer, output: torch.Tensor) -> torch.Tensor:
    """float32 [O]: means of an output over everything but its channels."""
    rows = output.transpose(0, -3).flatten(1) if isinstance(layer, Conv2d) else output.flatten(0, -2).T
    return rows.mean(1, dtype=torch.float64).float()
