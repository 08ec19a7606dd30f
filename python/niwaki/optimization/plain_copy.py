"""Copies whose layers are all called: some of torch read the weights of their parts instead of calling them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from niwaki.modules.copies import bake_parametrizations, copy_model
from niwaki.modules.encoder import packs_sequences, pad_outputs
from niwaki.optimization.pairs import fold_batch_norms
from niwaki.optimization.rewrite import rewrite_layers
from niwaki.optimization.rewrite.attention import MultiheadAttention


def call_parts(model: nn.Module) -> None:
    """Makes the encoder layers of a copy call their linear layers, which can then be replaced.

    In eval mode without gradients, torch's nn.TransformerEncoderLayer hands all of its weights to one fused kernel. It
    does not where its activation is neither ReLU nor GELU, which it notes in an attribute; the activation itself is
    another one, and stays. Unlike a hook or a global switch, the attribute travels with copies and pickles.
    """
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoderLayer):
            module.activation_relu_or_gelu = 0
            attention: nn.Module = module.self_attn
            if isinstance(attention, MultiheadAttention):
                attention.shows_weights = False
        if isinstance(module, nn.TransformerEncoder):
            # Nested tensors are for the fused kernel alone. What they answer stays.
            if packs_sequences(module):
                pad_outputs(module)
            module.enable_nested_tensor = False
            if hasattr(module, "use_nested_tensor"):
                module.use_nested_tensor = False


def plain_copy(
    model: nn.Module, args: tuple[Any, ...] | None = None, kwargs: Mapping[str, Any] | None = None
) -> nn.Module:
    """A copy in eval mode whose layers are all called, with plain parameters and nn.Conv2d and nn.Linear where they do.

    Args:
        model: is not changed.
        args, kwargs: an example input; with one, batch norms are folded.

    Raises:
        NiwakiError: a part of the model cannot be copied.
    """
    copied = copy_model(model).eval()
    bake_parametrizations(copied)
    if args is not None or kwargs:
        copied, _ = fold_batch_norms(copied, args, kwargs)
    copied = rewrite_layers(copied)
    call_parts(copied)
    return copied
