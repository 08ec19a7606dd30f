"""Layers that are a convolution or linear layers in another guise become that: these are pruned and quantized."""

from __future__ import annotations

from collections.abc import Callable

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
    one: `head` becomes `head.conv`.

    Args:
        model: in eval mode, with plain parameters. It is changed. A layer with hooks stays.
    """
    for module in list(model.modules()):
        if has_hooks(module):
            continue
        new = next((new for rewrite in _REWRITES if (new := rewrite(module)) is not None), None)
        if new is not None:
            model = replace_module(model, module, new.train(module.training))
    return model
