"""Layers that are a convolution or linear layers in another guise become that: these are pruned and quantized."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from niwaki.modules.copies import replace_module
from niwaki.modules.plain import has_hooks
from niwaki.optimization.rewrite import along_time, attention, padding, rows, transposed, weights

__all__ = ["rewrite_layers"]

# Each gives what stands for a module, or None where it is not about it.
_REWRITES: tuple[Callable[[nn.Module], nn.Module | None], ...] = (
    padding.rewritten,
    weights.rewritten,
    along_time.rewritten,
    transposed.rewritten,
    rows.rewritten,
    attention.rewritten,
)


def rewrite_layers(model: nn.Module) -> nn.Module:
    """The same copy, with nn.Conv2d and nn.Linear in place of layers that compute what these can.

    Convolutions that pad in a mode of their own, or as TensorFlow does, become a pad and a convolution; those that
    standardize their weights, one that has such weights; those along one
    or three dimensions and transposed ones, a two-dimensional convolution between moves of its values;
    nn.MultiheadAttention, four linear layers and a product. The new layers are named after where they lie in the old
    one: `head` becomes `head.conv`. Layers that share a weight still do.

    Args:
        model: in eval mode, with plain parameters. It is changed. A layer with hooks stays.
    """
    made: dict[int, nn.Module] = {}  # what stands for the first module that has a parameter, by its id
    for module in list(model.modules()):
        if has_hooks(module):
            continue
        new = next((new for rewrite in _REWRITES if (new := rewrite(module)) is not None), None)
        if new is not None:
            own = [id(parameter) for parameter in module.parameters()]
            for earlier in dict.fromkeys(made[each] for each in own if each in made):
                _share_weights(new, earlier)
            made = {**dict.fromkeys(own, new), **made}
            model = replace_module(model, module, new.train(module.training))
    return model


def _share_weights(new: nn.Module, earlier: nn.Module) -> None:
    """Takes the weights of what stands for another layer, which has some of the same, where they are the same here."""
    others = dict(earlier.named_parameters())
    for name, weight in list(new.named_parameters()):
        other = others.get(name)
        path, _, key = name.rpartition(".")
        if key == "weight" and other is not None and torch.equal(weight, other):
            new.get_submodule(path).register_parameter(key, other)
