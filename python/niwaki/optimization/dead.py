"""Channels that always have the same value: their constant goes into the next layer's bias, and they are cut out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.fx import Node

from niwaki.capture import capture, evaluating
from niwaki.errors import NiwakiError
from niwaki.modules.layer import LAYER_CALLS, Layer, layer_of, named_layers
from niwaki.modules.plain import has_hooks

# Functions of one value, channel by channel, position by position: a constant channel stays one.
_POINTWISE = (
    torch.ops.aten.relu.default, torch.ops.aten.relu_.default, torch.ops.aten.hardtanh.default,
    torch.ops.aten.hardtanh_.default, torch.ops.aten.silu.default, torch.ops.aten.silu_.default,
    torch.ops.aten.sigmoid.default, torch.ops.aten.tanh.default, torch.ops.aten.gelu.default,
    torch.ops.aten.hardswish.default, torch.ops.aten.hardswish_.default, torch.ops.aten.leaky_relu.default,
    torch.ops.aten.leaky_relu_.default, torch.ops.aten.clamp.default, torch.ops.aten.dropout.default,
)  # fmt: skip


def remove_dead_channels(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, int]:
    """Cuts out the channels of a copy that have no weights left, where one layer alone reads them.

    A channel without weights gives its bias, everywhere and for every input. Between the layer and the one that reads
    it there may be functions of single values; what they make of the bias, times the weights that read it, goes into
    that layer's bias. With padding, its border sees zeros instead of the constant: there only channels whose constant
    is 0 are cut out.

    Args:
        model: a copy in eval mode without parametrizations; its layers are changed in place.
        args, kwargs: an example input.

    Returns:
        How many channels each layer lost, by its name. At least one is left.

    Raises:
        NiwakiError: the network cannot be captured.
    """
    with torch.no_grad():
        removed = {}
        for name, layer, chain, reader in _pairs(model, args, kwargs):
            constants = _constants(layer, chain)
            dead = ~layer.weight.flatten(1).any(1)
            if reader.pads:
                dead &= constants == 0
            dead = _in_fours(dead)
            if bool(dead.any()):
                _cut(layer, reader, dead, constants)
                removed[name] = int(dead.sum())
        return removed


def _pairs(
    model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> list[tuple[str, Layer, list[Node], Layer]]:
    """(name, layer, functions in between, the one layer that reads it), in the order of the graph."""
    program = capture(model, args, kwargs, free=False).exported
    names = program.graph_signature.inputs_to_parameters
    modules = dict(model.named_modules(remove_duplicate=False))
    weights = [node.args[1] for node in program.graph.nodes if node.target in LAYER_CALLS]

    def owner(node: Node) -> tuple[str, Layer] | None:
        weight = node.args[1]
        if not isinstance(weight, Node) or weight.name not in names or weights.count(weight) != 1:
            return None
        path, _, what = names[weight.name].rpartition(".")
        layer = layer_of(modules[path]) if what == "weight" and path in modules else None
        if layer is None or layer.groups > 1 or has_hooks(layer.module) or len(weight.users) != 1:
            return None
        return (path, layer) if layer.is_plain() else None

    found = []
    for node in program.graph.nodes:
        if node.target not in LAYER_CALLS or (first := owner(node)) is None:
            continue
        chain: list[Node] = []
        last = node
        while len(last.users) == 1 and next(iter(last.users)).target in _POINTWISE:
            last = next(iter(last.users))
            chain.append(last)
        users = list(last.users)
        if len(users) != 1 or users[0].target not in LAYER_CALLS or users[0].args[0] is not last:
            continue
        second = owner(users[0])
        # A linear layer reads the channels of a linear layer, a convolution those of a convolution.
        if second is not None and type(second[1]) is type(first[1]) and second[1] != first[1]:
            found.append((first[0], first[1], chain, second[1]))
    return found


def _constants(layer: Layer, chain: list[Node]) -> torch.Tensor:
    """float32 [O], what comes out for each channel whose weights are all zero."""
    value = torch.zeros(len(layer.weight)) if layer.bias is None else layer.bias.detach().clone()
    for node in chain:
        assert callable(node.target)
        value = node.target(value, *node.args[1:], **node.kwargs)
    return value


def _in_fours(dead: torch.Tensor) -> torch.Tensor:
    """So many of the dead channels that four times something are left, where it was so; and at least one.

    Blocks of four input channels are what pruning and the kernels work on.
    """
    alive = int((~dead).sum())
    wanted = max(1, alive if len(dead) % 4 else -(-alive // 4) * 4)
    spared = torch.nonzero(dead).flatten()[: max(0, wanted - alive)]
    return dead.index_fill(0, spared, False)


def _cut(layer: Layer, reader: Layer, dead: torch.Tensor, constants: torch.Tensor) -> None:
    alive = ~dead
    gone = reader.weight[:, dead].double()
    shift = (gone.flatten(2).sum(2) if gone.dim() > 2 else gone) @ constants[dead].double()
    if reader.bias is not None:
        reader.module.bias = nn.Parameter((reader.bias.double() + shift).float(), reader.bias.requires_grad)
    elif bool(shift.any()):
        reader.module.bias = nn.Parameter(shift.float(), reader.weight.requires_grad)
    layer.cut(outputs=alive)
    reader.cut(inputs=alive)


def try_to_remove(model: nn.Module, args: tuple[Any, ...] | None, kwargs: Mapping[str, Any] | None) -> dict[str, int]:
    """As remove_dead_channels; nothing where there is no example input, or no graph."""
    if args is None and not kwargs:
        return {}
    # Finding the graph takes seconds, and hardly any network needs it.
    layers = [layer for _, layer in named_layers(model) if layer.weight.numel()]
    if all(bool(layer.weight.flatten(1).any(1).all()) for layer in layers):
        return {}
    try:
        with evaluating(model):
            return remove_dead_channels(model, args or (), kwargs or {})
    except NiwakiError:
        return {}
