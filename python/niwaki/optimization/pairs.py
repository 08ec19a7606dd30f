"""Finds the batch norms that directly follow a convolution or linear layer and are all that it feeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import fx, nn
from torch.fx import Node

from niwaki.capture import capture, evaluating
from niwaki.errors import NiwakiError, first_sentence
from niwaki.modules.plain import has_hooks, is_conv2d, is_linear, pads_same
from niwaki.optimization.fold import BatchNorm, Foldable, fold_batch_norm, outputs_of, what_remains
from niwaki.optimization.rewrite.padding import SamePad2d
from niwaki.optimization.rewrite.wrapper import is_plain

Pair = tuple[Foldable, BatchNorm]

_OTHERS = (nn.Conv1d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_LAYERS = {
    getattr(packet, overload)
    for packet in (
        torch.ops.aten.linear, torch.ops.aten.conv1d, torch.ops.aten.conv2d, torch.ops.aten.conv3d,
        torch.ops.aten.conv_transpose1d, torch.ops.aten.conv_transpose2d, torch.ops.aten.conv_transpose3d,
    )
    for overload in packet.overloads()
}  # fmt: skip


def fold_batch_norms(
    model: nn.Module, args: tuple[Any, ...] | None, kwargs: Mapping[str, Any] | None
) -> tuple[nn.Module, str]:
    """Folds the batch norms of a copy into the layers before them; and says why none, if the graph is unknown."""
    if not any(isinstance(module, BatchNorm) for module in model.modules()):
        return model, ""
    pairs, failure = find_pairs(model, args, kwargs)
    with torch.no_grad():
        for layer, norm in pairs:
            model = fold_batch_norm(model, layer, norm)
    return model, failure


def find_pairs(
    model: nn.Module, args: tuple[Any, ...] | None, kwargs: Mapping[str, Any] | None
) -> tuple[list[Pair], str]:
    """(layer, batch norm) pairs that may be folded, in order; and why there are none, if the graph is unknown."""
    failure = ""
    if args is not None or kwargs:
        try:
            return _foldable(_from_capture(model, args or (), kwargs or {}), model), ""
        except (NiwakiError, TypeError) as error:
            failure = f"{error} "
    try:
        return _foldable(_from_trace(model), model), ""
    except Exception as error:
        return [], f"{failure}torch.fx cannot trace the network: {first_sentence(error)}."


def _foldable(pairs: list[tuple[nn.Module, nn.Module]], model: nn.Module) -> list[Pair]:
    shared = Counter(id(parameter) for module in model.modules() for parameter in module._parameters.values())
    found: list[Pair] = []
    for layer, norm in pairs:
        if not isinstance(layer, Foldable) or not _is_plain(layer):
            continue
        if not isinstance(norm, BatchNorm) or norm.running_mean is None or norm.running_var is None:
            continue  # it normalizes with the statistics of each batch
        if what_remains(norm) is None:
            continue  # it does something besides, which is not known
        tied = any(parameter is not None and shared[id(parameter)] > 1 for parameter in layer._parameters.values())
        if tied or has_hooks(layer) or has_hooks(norm) or outputs_of(layer) != norm.num_features:
            continue
        found.append((layer, norm))
    return found


def _is_plain(layer: nn.Module) -> bool:
    known = is_conv2d(layer) or pads_same(layer) or is_linear(layer)
    return known or any(is_plain(layer, kind) for kind in (nn.Conv2d, *_OTHERS))


def _from_capture(
    model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> list[tuple[nn.Module, nn.Module]]:
    program = capture(model, args, kwargs, free=False).exported
    signature = program.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    modules = dict(model.named_modules(remove_duplicate=False))

    def owner(node: Any) -> nn.Module | None:
        """The module whose tensor this is, if nothing else uses the tensor."""
        if not isinstance(node, Node) or node.name not in names or len(node.users) != 1:
            return None
        return modules.get(names[node.name].rpartition(".")[0])

    pairs = []
    for norm_node in program.graph.nodes:
        if norm_node.target is not torch.ops.aten.batch_norm.default:
            continue
        x = norm_node.args[0]
        if x.target not in _LAYERS or len(x.users) != 1 or norm_node.args[5]:
            continue
        if x.target is torch.ops.aten.linear.default and x.meta["val"].dim() != 2:
            continue  # the channels of the batch norm are not the layer's outputs
        layer, norm = owner(x.args[1]), owner(norm_node.args[3])
        if layer is not None and norm is not None:
            pairs.append((layer, norm))
    return pairs


class _Tracer(fx.Tracer):
    """Batch norms of other packages, which do more than torch's, are seen as one step, too; so are pads."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        known = isinstance(m, (*_OTHERS, nn.Conv2d, nn.Linear, BatchNorm, SamePad2d))
        return known or super().is_leaf_module(m, module_qualified_name)


def _from_trace(model: nn.Module) -> list[tuple[nn.Module, nn.Module]]:
    with evaluating(model):
        graph = _Tracer().trace(model)
    calls = Counter(id(model.get_submodule(str(node.target))) for node in graph.nodes if node.op == "call_module")
    read = {str(node.target).rpartition(".")[0] for node in graph.nodes if node.op == "get_attr"}
    pairs: list[tuple[nn.Module, nn.Module]] = []
    for node in graph.nodes:
        if node.op != "call_module" or not node.args or not isinstance(node.args[0], Node):
            continue
        before = node.args[0]
        if before.op != "call_module" or len(before.users) != 1 or str(before.target) in read:
            continue
        layer, norm = model.get_submodule(str(before.target)), model.get_submodule(str(node.target))
        # Shapes are unknown here, and after a linear layer a batch norm's channels depend on the rank.
        if isinstance(layer, (nn.Conv2d, *_OTHERS)) and calls[id(layer)] == 1 and calls[id(norm)] == 1:
            pairs.append((layer, norm))
    return pairs
