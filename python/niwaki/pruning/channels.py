"""Cutting out whole channels: a smaller network, with residual sums and concatenations followed (by Torch-Pruning)."""

from __future__ import annotations

import copy
import logging
import re
import warnings
from collections.abc import Collection, Iterable
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
from niwaki.modules.names import check_skips, matches, sharing_skipped
from niwaki.pruning.config import PruneConfig
from niwaki.pruning.criteria import Loss, taylor_scores
from niwaki.pruning.groups import Group, choose_channels
from niwaki.pruning.heads import find_heads, prune_heads
from niwaki.pruning.lost import remember_lost
from niwaki.quantization.inputs import Batch

_REMEDY = "Leave out the layers concerned with skip=, or choose the pattern 'block4'."

_NUMBERS = re.compile(r"(^|(?<=\.))\d+(?=\.)")  # of blocks: parts of a name but the last
_log = logging.getLogger("niwaki")

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

    Of attention, whole heads go, those whose values and reader have the least weights, whatever `importance` says (see
    niwaki.pruning.heads). Channels that something else reads stay, with a warning that names their layers: those of a
    transformer's tokens, say, which norms and tables read.

    Raises:
        NiwakiError: Torch-Pruning is missing, or there is no layer whose channels can be followed; one is named.
    """
    pruning = _torch_pruning()
    model = check_model(model, "prune")
    check_skips(model, config.skip, "prune")
    for name, layer in named_layers(model):
        check_finite(name, layer.module)
    left: dict[str, str] = {}
    heads = find_heads(model, config, example)
    whole = {name for found in heads for name in found.writers}
    each = False
    while True:
        try:
            pruned = _cut(pruning, model, config, example, items, loss, left=whole | left.keys(), each=each)
            break
        except _AnotherAnswerError as error:
            # Once more, with a look at each layer: which one it is, is worth the time now.
            if each:
                left |= dict.fromkeys(_alike(error.layer, model), error.reason)
            each = True
    left |= prune_heads(pruned, heads, config, lambda net, other, layer: _check_answer(net, other, example, layer))
    if left:
        if all(a.shape == b.shape for a, b in zip(_weights(model), _weights(pruned), strict=True)):
            name, reason = next(iter(left.items()))
            raise NiwakiError(f"Layer '{name}': {reason}. {_REMEDY}")
        _warn(left)
    remember_lost(pruned, model)
    return pruned


class _AnotherAnswerError(NiwakiError):
    """The network without its channels does not answer as it has to.

    Attributes:
        layer: whose channels these are; empty where it was not looked for.
        reason: what is wrong, without a full stop.
    """

    def __init__(self, layer: str, reason: str) -> None:
        super().__init__(f"Layer '{layer}': {reason}. {_REMEDY}")
        self.layer, self.reason = layer, reason


def _alike(name: str, model: nn.Module) -> list[str]:
    """The layers whose names differ from this one in their numbers alone: those of other blocks."""
    return [other for other, _ in named_layers(model) if _NUMBERS.sub("#", other) == _NUMBERS.sub("#", name)]


def _weights(model: nn.Module) -> list[torch.Tensor]:
    return [layer.weight for _, layer in named_layers(model)]


def _warn(left: dict[str, str]) -> None:
    kinds: dict[str, list[str]] = {}
    for name in left:
        kinds.setdefault(_NUMBERS.sub("#", name), []).append(name)
    for names in kinds.values():
        more = f" and {len(names) - 1} like it" if len(names) > 1 else ""
        _log.warning("the channels of layer '%s'%s stay: %s", names[0], more, left[names[0]])


def _cut(
    pruning: ModuleType,
    model: nn.Module,
    config: PruneConfig,
    example: Batch,
    items: Iterable[Any] | None,
    loss: Loss | None,
    *,
    left: Collection[str],
    each: bool,
) -> nn.Module:
    """Cuts channels out of a copy.

    Those of the layers in `left` stay. `each`: its answer is compared after each group of channels, else at the end.
    """
    copied = copy_model(model)
    bake_parametrizations(copied)
    kept = _output_layers(copied, example)
    whole = {*left, *sharing_skipped(copied, config.skip)}
    kept += [layer.module for name, layer in named_layers(copied) if matches(name, config.skip) or name in whole]
    modes = {name: module.training for name, module in copied.named_modules()}
    # A weight that two layers share has both names: where one of them is cut, they are two.
    wanted = {name: parameter.requires_grad for name, parameter in copied.named_parameters(remove_duplicate=False)}
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
                    _check_answer(copied, ignoring, example, names[group.layer])
            if not each:
                _check_answer(copied, ignoring, example, "")
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


def _check_answer(model: nn.Module, ignoring: nn.Module, example: Batch, layer: str) -> None:
    """Raises _AnotherAnswerError unless `model` answers as the whole network does that ignores the channels cut out."""
    try:
        found = _answer(model, example)
    except Exception as error:
        raise _AnotherAnswerError(
            layer, f"without the channels that were chosen the network cannot run ({first_sentence(error)})"
        ) from error
    for a, b in zip(_answer(ignoring, example), found, strict=True):
        if a.shape != b.shape or float((a - b).norm()) > _TOLERANCE * float(a.norm()) + 1e-6:
            raise _AnotherAnswerError(
                layer,
                "channels cannot be cut out there, because something besides the layers that follow reads them (a "
                "shuffle, a view, a norm over channels, a table)",
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
