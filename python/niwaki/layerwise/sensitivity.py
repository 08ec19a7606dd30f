"""What an error in a layer's output costs at the network's output, by output channel."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from niwaki.capture import evaluating
from niwaki.quantization.inputs import Batch

_log = logging.getLogger("niwaki")
# Inputs of one backward pass: all activations of the network are alive in it.
_AT_ONCE = 16

Layer = nn.Conv2d | nn.Linear


def sensitivities(
    model: nn.Module, layers: Sequence[Layer], batches: Iterable[Batch], *, inputs: int = 256, seed: int = 0
) -> dict[int, torch.Tensor] | None:
    """The diagonal of the Fisher information of each layer's outputs, summed over positions.

    To second order, the answers of the network move by half of it times the squared error of the output (in
    Kullback-Leibler divergence, where the network's output is [N, classes] logits). Answers are drawn from the
    network's own distribution, so no labels are needed.

    Args:
        model: float32, in eval mode; a copy whose parameters may be told to require gradients.
        layers: of the model.
        batches: inputs.
        inputs: how many to use.
        seed: of the draws.

    Returns:
        By id of the layer, float32 [O], the mean over inputs; layers whose gradients are not finite are left out, and
        the logger 'niwaki' says so. None where the network has no gradient.
    """
    generator = torch.Generator().manual_seed(seed)
    sums = {id(layer): torch.zeros(len(layer.weight), dtype=torch.float64) for layer in layers}
    count = 0

    def watch(layer: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor) and output.requires_grad:
            output.register_hook(lambda gradient: _add(sums[id(layer)], layer, gradient))

    hooks = [layer.register_forward_hook(watch) for layer in layers]
    try:
        with evaluating(model), torch.enable_grad():
            for layer in layers:
                layer.weight.requires_grad_(True)
            for batch in batches:
                for piece in pieces(batch, _AT_ONCE):
                    if count >= inputs:
                        break
                    output = model(*piece.args, **piece.kwargs)
                    loss, rows = _surrogate(output, generator)
                    loss.backward()
                    model.zero_grad(set_to_none=True)
                    count += rows
    except (RuntimeError, NotImplementedError, TypeError) as error:
        _log.warning("the network has no gradient, so layers are compared by their outputs' energy: %s", error)
        return None
    finally:
        for hook in hooks:
            hook.remove()
    found = {}
    for layer in layers:
        value = (sums[id(layer)] / max(1, count)).float()
        if bool(torch.isfinite(value).all()):
            found[id(layer)] = value
        else:
            _log.warning("a gradient at a layer %s is NaN or infinite; its output's energy is used instead", layer)
    return found


def _add(total: torch.Tensor, layer: nn.Module, gradient: torch.Tensor) -> None:
    channel = gradient.dim() - (1 if isinstance(layer, nn.Linear) else 3)
    others = [dim for dim in range(gradient.dim()) if dim != channel]
    total += gradient.detach().double().square().sum(others)


def _surrogate(output: Any, generator: torch.Generator) -> tuple[torch.Tensor, int]:
    """A scalar whose gradient, squared, has the Fisher information as its mean; and the number of inputs in it."""
    leaves = [x for x in pytree.tree_leaves(output) if isinstance(x, torch.Tensor) and x.requires_grad]
    if not leaves:
        raise TypeError("its output depends on no weight")
    if len(leaves) == 1 and leaves[0].dim() == 2 and leaves[0].shape[1] > 1:
        logs = leaves[0].log_softmax(1)
        drawn = torch.multinomial(logs.detach().exp(), 1, generator=generator)
        return logs.gather(1, drawn).sum(), len(logs)
    total = leaves[0].new_zeros(())
    for leaf in leaves:
        signs = torch.randint(0, 2, leaf.shape, generator=generator).mul_(2).sub_(1)
        total = total + (leaf * signs).sum()
    return total, leaves[0].shape[0] if leaves[0].dim() else 1


def pieces(batch: Batch, size: int) -> Iterator[Batch]:
    """The batch in parts of `size` inputs, where all of its tensors have the inputs along their first dimension."""
    leaves, structure = pytree.tree_flatten((batch.args, batch.kwargs))
    lengths = {x.shape[0] if x.dim() else 0 for x in leaves if isinstance(x, torch.Tensor)}
    if len(lengths) != 1 or lengths == {0}:
        yield batch.copy()
        return
    for begin in range(0, lengths.pop(), size):
        part = [x[begin : begin + size] if isinstance(x, torch.Tensor) else x for x in leaves]
        args, kwargs = pytree.tree_unflatten(part, structure)
        yield Batch(batch.number, args, kwargs).copy()
