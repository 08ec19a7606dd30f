"""Cutting out whole channels: a smaller network, with residual sums and concatenations followed (by Torch-Pruning)."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.fx import Node
from torch.utils import _pytree as pytree

from niwaki.capture import capture
from niwaki.errors import NiwakiError, first_sentence
from niwaki.layerwise.walk import layer_called
from niwaki.modules.checks import check_finite, check_model
from niwaki.modules.copies import bake_parametrizations, copy_model
from niwaki.modules.layer import KINDS, Layer, named_layers
from niwaki.modules.names import check_skips, matches
from niwaki.pruning.config import PruneConfig
from niwaki.pruning.criteria import Loss, taylor_scores
from niwaki.pruning.groups import Group, choose_channels
from niwaki.quantization.inputs import Batch

_REMEDY = "Leave out the layers concerned with skip=, or choose the pattern 'block4'."

# Sums of fewer terms are rounded differently.
_TOLERANCE = 1e-3


def prune_channels(
    model: nn.Module,
    config: PruneConfig,
    example: Batch,
    *,
    items: Iterable[Any] | None = None,
    loss: Loss | None = None,
) -> nn.Module:
    """A copy of the network with `config.sparsity` of its channels cut out of all layers that they run through.

    What is cut together is found by Torch-Pruning. It is not taken on trust: the network that is returned was run, and
    gave what the whole network gives when nothing reads those channels.

    Channels that meet in a sum or a concatenation go together, as in DepGraph (Fang et al., 2023). Layers that make the
    network's output keep all of their channels, and so do those of `skip`. At least one channel of each layer is left.
    Masks and other parametrizations are baked in.

    Args:
        model: a float32 network on the CPU. It is not changed.
        config: sparsity, of the channels; scope; importance ('magnitude' or 'taylor'); skip.
        example: a call of the network, to find out how its layers hang together.
        items, loss: for 'taylor', see niwaki.prune.

    Raises:
        NiwakiError: Torch-Pruning is missing, or the channels of a layer, which is named, cannot be followed.
    """
    pruning = _torch_pruning()
    model = check_model(model, "prune")
    check_skips(model, config.skip, "prune")
    for name, layer in named_layers(model):
        check_finite(name, layer.module)
    try:
        return _cut(pruning, model, config, example, items, loss, each=False)
    except _AnotherAnswerError:
        # Once more, with a look at each layer: which one it is, is worth the time now.
        return _cut(pruning, model, config, example, items, loss, each=True)


class _AnotherAnswerError(NiwakiError):
    """The network without its channels does not answer as it has to."""


def _cut(
    pruning: ModuleType,
    model: nn.Module,
    config: PruneConfig,
    example: Batch,
    items: Iterable[Any] | None,
    loss: Loss | None,
    *,
    each: bool,
) -> nn.Module:
    """Cuts channels out of a copy. `each`: its answer is compared after each group of channels, else at the end."""
    copied = copy_model(model)
    bake_parametrizations(copied)
    kept = _output_layers(copied, example)
    kept += [layer.module for name, layer in named_layers(copied) if matches(name, config.skip)]
    modes = {name: module.training for name, module in copied.named_modules()}
    wanted = {name: parameter.requires_grad for name, parameter in copied.named_parameters()}
    saliency = _saliency(copied, config, items, loss)
    copied.eval().requires_grad_(True)  # the tracer follows gradients
    try:
        with torch.inference_mode(False), torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph = pruning.DependencyGraph().build_dependency(
                copied, example.copy(), forward_fn=lambda net, call: net(*call.args, **call.kwargs)
            )
            roots = [kind.kind for kind in KINDS]
            groups = [Group(graph, g, saliency) for g in graph.get_all_groups(kept, roots)]
            masks = choose_channels(groups, config)
            names = {module: name for name, module in copied.named_modules()}
            memo: dict[int, Any] = {}
            ignoring = copy.deepcopy(copied, memo)
            twins = {module: memo[id(module)] for module in copied.modules()}
            for group, mask in zip(groups, masks, strict=True):
                chosen = group.chosen(mask)
                group.ignore(chosen, twins)
                group.cut(chosen)
                if each and chosen:
                    _check_answer(copied, ignoring, example, f"Layer '{names[group.layer]}'")
            if not each:
                _check_answer(copied, ignoring, example, type(model).__name__)
    except NiwakiError:
        raise
    except Exception as error:
        raise NiwakiError(
            f"Torch-Pruning cannot follow the channels of {type(model).__name__}: {first_sentence(error)}. {_REMEDY}"
        ) from error
    copied.zero_grad(set_to_none=True)
    for name, module in copied.named_modules():
        module.training = modes[name]
    for name, parameter in copied.named_parameters():
        parameter.requires_grad_(wanted[name])
    return copied


def _answer(model: nn.Module, example: Batch) -> list[torch.Tensor]:
    call = example.copy()
    with torch.no_grad():
        leaves = pytree.tree_leaves(model(*call.args, **call.kwargs))
    return [leaf.double() for leaf in leaves if isinstance(leaf, torch.Tensor)]


def _check_answer(model: nn.Module, ignoring: nn.Module, example: Batch, where: str) -> None:
    """Raises _AnotherAnswerError unless `model` answers as the whole network does that ignores the channels cut out."""
    try:
        found = _answer(model, example)
    except Exception as error:
        raise _AnotherAnswerError(
            f"{where}: without the channels that were chosen the network cannot run ({first_sentence(error)}). "
            f"{_REMEDY}"
        ) from error
    for a, b in zip(_answer(ignoring, example), found, strict=True):
        if a.shape != b.shape or float((a - b).norm()) > _TOLERANCE * float(a.norm()) + 1e-6:
            raise _AnotherAnswerError(
                f"{where}: channels cannot be cut out there, because something besides the layers that follow reads "
                f"them (a shuffle, a view, a norm over channels, a table). {_REMEDY}"
            )


def _saliency(
    model: nn.Module, config: PruneConfig, items: Iterable[Any] | None, loss: Loss | None
) -> dict[Layer, torch.Tensor]:
    """What each weight of a layer counts: its square, or its part in the loss."""
    layers = dict(named_layers(model))
    if config.importance == "magnitude":
        return {layer: layer.weight.detach().square() for layer in layers.values()}
    assert items is not None and loss is not None
    scores = taylor_scores(model, layers, items, loss, "unstructured")
    return {layer: scores[name] if name in scores else torch.zeros_like(layer.weight) for name, layer in layers.items()}


def _torch_pruning() -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import torch_pruning
    except ImportError as error:
        raise NiwakiError(
            "niwaki.prune: the pattern 'channels' needs Torch-Pruning; install it with pip install 'niwaki[channels]'."
        ) from error
    module: ModuleType = torch_pruning
    return module


def _output_layers(model: nn.Module, example: Batch) -> list[nn.Module]:
    """The last layers on all ways to the network's output: their channels are what the caller sees."""
    copied = example.copy()
    graph = capture(model, copied.args, copied.kwargs, free=False).program().graph
    modules = dict(model.named_modules(remove_duplicate=False))
    waiting: list[Node] = [node for node in graph.nodes if node.op == "output"]
    seen: set[Node] = set()
    found: list[nn.Module] = []
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        layer = layer_called(node, modules)
        if layer is None:
            waiting.extend(node.all_input_nodes)
        else:
            found.append(layer[1].module)
    return found
