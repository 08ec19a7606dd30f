"""Whole heads of attention: which rows and columns of which layers they are, and how they go."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.fx import Node

from niwaki.capture import capture
from niwaki.errors import NiwakiError
from niwaki.layerwise.walk import layer_called
from niwaki.lower.canonical import canonicalize
from niwaki.lower.nodes import is_tensor, name_nodes, operator_name, shape_of
from niwaki.lower.operators.products import is_attention
from niwaki.modules.names import matches
from niwaki.pruning.config import PruneConfig
from niwaki.pruning.select import keep_largest
from niwaki.quantization.inputs import Batch

# What modules call the number of their heads, and the width of all of them.
_COUNTS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "nhead", "heads")
_WIDTHS = ("all_head_size", "attn_dim", "inner_dim", "attention_dim")
# What moves elements and computes nothing: heads can be followed through it.
_MOVES = {
    "aten::view", "aten::reshape", "aten::_unsafe_view", "aten::flatten", "aten::unflatten", "aten::unsqueeze",
    "aten::squeeze", "aten::permute", "aten::transpose", "aten::slice", "aten::select", "aten::contiguous",
    "aten::clone", "aten::mT",
}  # fmt: skip


@dataclass(frozen=True)
class Heads:
    """The heads of one attention.

    Attributes:
        writers: the names of the linear layers that make queries, keys and values (one, where it makes all three), with
            the rows of each head, int64 [heads, rows].
        reader: the name of the linear layer that reads them together.
        columns: of the reader, for each head, int64 [heads, width].
        values: the writer of the values, and its rows.
        width: of a head's queries.
    """

    writers: dict[str, torch.Tensor]
    reader: str
    columns: torch.Tensor
    values: tuple[str, torch.Tensor]
    width: int

    @property
    def count(self) -> int:
        return len(self.columns)

    def scores(self, model: nn.Module) -> torch.Tensor:
        """What each head counts, [heads]: the squares of the product of its values' and its reader's weights."""
        name, rows = self.values
        values, reader = (_linear(model, each).weight.detach() for each in (name, self.reader))
        return torch.stack([(reader[:, c] @ values[r]).square().sum() for r, c in zip(rows, self.columns, strict=True)])

    def ignore(self, model: nn.Module, gone: torch.Tensor) -> None:
        """Sets the weights to zero by which the reader reads some heads, bool [heads]."""
        with torch.no_grad():
            _linear(model, self.reader).weight[:, self.columns[gone].flatten()] = 0

    def cut(self, model: nn.Module, gone: torch.Tensor) -> None:
        """Takes some heads, bool [heads], out of all layers, and tells the modules that they lie in."""
        left = int((~gone).sum())
        for name, rows in self.writers.items():
            layer = _linear(model, name)
            kept = _without(layer.out_features, rows[gone])
            layer.weight = _cut(layer.weight, kept, 0)
            if layer.bias is not None:
                layer.bias = _cut(layer.bias, kept, 0)
            layer.out_features = len(kept)
        reader = _linear(model, self.reader)
        kept = _without(reader.in_features, self.columns[gone])
        reader.weight = _cut(reader.weight, kept, 1)
        reader.in_features = len(kept)
        for name in {each.rpartition(".")[0] for each in (*self.writers, self.reader)}:
            module = model.get_submodule(name)
            _tell(module, _COUNTS, self.count, left)
            _tell(module, _WIDTHS, self.count * self.width, left * self.width)


def _linear(model: nn.Module, name: str) -> nn.Linear:
    layer = model.get_submodule(name)
    assert isinstance(layer, nn.Linear)
    return layer


def _tell(module: nn.Module, names: Sequence[str], before: int, now: int) -> None:
    for name in names:
        if vars(module).get(name) == before:
            setattr(module, name, now)


def _without(count: int, gone: torch.Tensor) -> torch.Tensor:
    kept = torch.ones(count, dtype=torch.bool)
    kept[gone.flatten()] = False
    return kept.nonzero().flatten()


def _cut(parameter: torch.Tensor, kept: torch.Tensor, dim: int) -> nn.Parameter:
    return nn.Parameter(parameter.detach().index_select(dim, kept).clone(), requires_grad=parameter.requires_grad)


def find_heads(model: nn.Module, config: PruneConfig, example: Batch) -> list[Heads]:
    """The heads of a network that can be told apart, but those of layers in `config.skip`.

    Queries, keys and values have to come from linear layers by moves alone, and to go to one linear layer. Others (with
    rotated queries, say, or keys that several heads share) are left out.
    """
    call = example.copy()
    try:
        module = capture(model, call.args, call.kwargs, free=False).program()
        name_nodes(module)
        canonicalize(module)
    except NiwakiError:
        return []
    modules = dict(model.named_modules(remove_duplicate=False))
    nodes = [node for node in module.graph.nodes if is_attention(node)]
    found = [heads for heads in (_heads(node, modules) for node in nodes) if heads is not None]
    calls = [layer_called(node, modules) for node in module.graph.nodes]
    times = [call[0] for call in calls if call is not None]
    return [
        heads
        for heads in found
        if all(times.count(name) == 1 and not matches(name, config.skip) for name in (*heads.writers, heads.reader))
    ]


def _heads(node: Node, modules: dict[str, nn.Module]) -> Heads | None:
    shape = shape_of(node)
    if len(shape) < 3 or not all(isinstance(size, int) for size in shape):
        return None
    count = int(shape[-3])
    sources = [_source(part, count, modules) for part in node.args[:3]]
    target = _target(node, modules)
    if any(source is None for source in sources) or target is None:
        return None
    writers: dict[str, torch.Tensor] = {}
    for name, rows in sources:  # type: ignore[misc]
        writers[name] = torch.cat([writers[name], rows], 1) if name in writers else rows
    name, rows = sources[2]  # type: ignore[misc]
    return Heads(writers, target[0], target[1], (name, rows), int(sources[0][1].shape[1]))  # type: ignore[index]


def _source(node: object, count: int, modules: dict[str, nn.Module]) -> tuple[str, torch.Tensor] | None:
    """The linear layer that a value [.., heads, T, width] comes from, and the row of each of its channels."""
    way: list[Node] = []
    while isinstance(node, Node) and layer_called(node, modules) is None:
        if not _moves(node):
            return None
        way.append(node)
        node = node.args[0]
    called = layer_called(node, modules) if isinstance(node, Node) else None
    if called is None or type(called[1].module) is not nn.Linear or not isinstance(node, Node):
        return None
    shape = [int(size) for size in shape_of(node)]
    found = torch.arange(shape[-1]).expand(shape).contiguous()
    for move in reversed(way):
        found = _moved(move, found)
    heads = found.reshape(-1, *found.shape[-3:])
    if len(found.shape) < 3 or heads.shape[1] != count or not bool((heads == heads[:1, :, :1]).all()):
        return None
    rows = heads[0, :, 0]
    return (called[0], rows) if len(rows.unique()) == rows.numel() else None


def _target(node: Node, modules: dict[str, nn.Module]) -> tuple[str, torch.Tensor] | None:
    """The linear layer that alone reads a value [.., heads, T, width], and the column of each of its channels."""
    shape = [int(size) for size in shape_of(node)]
    places = torch.arange(shape[-3] * shape[-1]).reshape(shape[-3], 1, shape[-1]).expand(shape).contiguous()
    while len(node.users) == 1:
        (node,) = node.users
        called = layer_called(node, modules)
        if called is not None:
            columns = places.reshape(-1, places.shape[-1])
            module = called[1].module
            if type(module) is not nn.Linear or not bool((columns == columns[:1]).all()):
                return None
            if columns.shape[1] != shape[-3] * shape[-1] or module.in_features != columns.shape[1]:
                return None
            return called[0], columns[0].argsort().reshape(shape[-3], shape[-1])
        if not _moves(node):
            return None
        places = _moved(node, places)
    return None


def _moves(node: Node) -> bool:
    return node.op == "call_function" and operator_name(node) in _MOVES and is_tensor(node.args[0])


def _moved(node: Node, x: torch.Tensor) -> torch.Tensor:
    target: Callable[..., torch.Tensor] = node.target  # type: ignore[assignment]
    if operator_name(node) in ("aten::view", "aten::_unsafe_view"):
        target = torch.ops.aten.reshape.default
    return target(x, *node.args[1:], **node.kwargs)


def prune_heads(
    model: nn.Module,
    found: Sequence[Heads],
    config: PruneConfig,
    check: Callable[[nn.Module, nn.Module, str], None],
) -> dict[str, str]:
    """Cuts the share `config.sparsity` of all heads, or of each attention's, but one of each.

    Args:
        model: is changed.
        found: its heads.
        config: sparsity and scope.
        check: of (the network without heads, one that ignores them, a layer's name); raises NiwakiError where they
            answer differently. These heads stay.

    Returns:
        Why heads stay, by the name of the layer that reads them.
    """
    scores = [heads.scores(model) for heads in found]
    scores = [score / score.mean().clamp_min(1e-30) for score in scores]
    if config.scope == "global":
        masks = keep_largest(scores, config.share)
    else:
        masks = [keep_largest([score], config.share)[0] for score in scores]
    left: dict[str, str] = {}
    for heads, score, kept in zip(found, scores, masks, strict=True):
        kept[score.argmax()] = True
        gone = ~kept
        if not bool(gone.any()):
            continue
        ignoring = copy.deepcopy(model)
        heads.ignore(ignoring, gone)
        before = {name: copy.deepcopy(vars(model.get_submodule(name))) for name in _changed(heads)}
        heads.cut(model, gone)
        try:
            check(model, ignoring, heads.reader)
        except NiwakiError as error:
            for name, state in before.items():
                vars(model.get_submodule(name)).update(state)
            left[heads.reader] = getattr(error, "reason", str(error))
    return left


def _changed(heads: Heads) -> list[str]:
    layers = [*heads.writers, heads.reader]
    return sorted({*layers, *(name.rpartition(".")[0] for name in layers)})
