"""Which channels of a network's values can be scaled, and which of them only together."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.fx import GraphModule, Node

from niwaki.modules.layer import LAYER_CALLS, Layer, layer_of
from niwaki.modules.plain import has_hooks

Ids = NDArray[np.int64]

_aten = torch.ops.aten
# Functions f with f(s x) = s f(x) for s > 0, channel by channel, that leave the shape's order of dimensions.
_HOMOGENEOUS = (
    _aten.relu.default, _aten.relu_.default, _aten.leaky_relu.default, _aten.leaky_relu_.default,
    _aten.dropout.default, _aten.dropout_.default, _aten.feature_dropout.default, _aten.alias.default,
    _aten.clone.default, _aten.contiguous.default, _aten.detach.default, _aten.max_pool2d.default,
    _aten.avg_pool2d.default, _aten.adaptive_avg_pool2d.default, _aten.adaptive_max_pool2d.default,
    _aten.upsample_nearest2d.vec, _aten.upsample_bilinear2d.vec,
)  # fmt: skip
_CLAMPS = (_aten.hardtanh.default, _aten.hardtanh_.default, _aten.clamp.default, _aten.clamp_.default,
           _aten.relu6.default, _aten.relu6_.default)  # fmt: skip
_SUMS = (_aten.add.Tensor, _aten.add_.Tensor, _aten.sub.Tensor, operator.add, operator.iadd)
_PRODUCTS = (_aten.mul.Tensor, _aten.mul_.Tensor, operator.mul)
_FLAT = (_aten.flatten.using_ints, _aten.view.default, _aten.reshape.default)


@dataclass(frozen=True)
class Value:
    """Channels of a value: the variable of each, and the dimension that they lie along (0 is that of the inputs)."""

    ids: Ids
    dim: int


@dataclass
class Reader:
    """A layer, with the variables of its inputs and of its outputs, and the node that it reads."""

    name: str
    layer: Layer
    inputs: Ids
    outputs: Ids
    source: Node
    dim: int


@dataclass(frozen=True)
class Norm:
    """A layer norm whose scale and shift can take up a scale of its outputs."""

    module: nn.LayerNorm
    outputs: Ids


@dataclass(frozen=True)
class Clamp:
    """A function that cuts its values off at `most`: channels may be scaled while they stay below."""

    node: Node
    value: Value
    most: float


class Ties:
    """Variables of a network's channels: variable 0 is 1 forever, others are free; some are tied to be equal.

    A channel that is multiplied by s where it is written, and whose readers divide by s, changes nothing, as long as
    all on the way lets a factor through: sums tie the channels that meet in them, concatenations put them side by side.

    Args:
        program: the graph of a network in eval mode, batch norms folded.
        model: the network; nodes of the graph read its parameters.

    Attributes:
        readers: the convolutions and linear layers that are called once.
        norms: layer norms that can take a scale.
        clamps: where channels have an upper bound.
    """

    def __init__(self, program: GraphModule, model: nn.Module) -> None:
        self._parents: list[int] = [0]
        self._modules = dict(model.named_modules(remove_duplicate=False))
        self._values: dict[Node, Value] = {}
        self.readers: list[Reader] = []
        self.norms: list[Norm] = []
        self.clamps: list[Clamp] = []
        for node in program.graph.nodes:
            self._visit(node)

    def roots(self, ids: Ids) -> Ids:
        """The variables that stand for those given: tied ones have one root, and 0 is that of all that are fixed."""
        return np.array([self._find(int(i)) for i in ids], dtype=np.int64)

    def count(self) -> int:
        """How many variables there are, tied or not."""
        return len(self._parents)

    def _find(self, i: int) -> int:
        while self._parents[i] != i:
            self._parents[i] = self._parents[self._parents[i]]
            i = self._parents[i]
        return i

    def _tie(self, a: Ids, b: Ids) -> None:
        for i, j in zip(a, b, strict=True):
            x, y = self._find(int(i)), self._find(int(j))
            # The lower one stays the root, so what is tied to 0 is fixed.
            self._parents[max(x, y)] = min(x, y)

    def _new(self, count: int) -> Ids:
        begin = len(self._parents)
        self._parents.extend(range(begin, begin + count))
        return np.arange(begin, begin + count, dtype=np.int64)

    def _fix(self, node: Any) -> None:
        value = self._values.get(node) if isinstance(node, Node) else None
        if value is not None:
            self._tie(value.ids, np.zeros_like(value.ids))

    def _visit(self, node: Node) -> None:
        if node.op in ("placeholder", "get_attr"):
            return
        value = self._follow(node) if node.op == "call_function" else None
        if value is not None:
            self._values[node] = value
            return
        for source in node.all_input_nodes:
            self._fix(source)

    def _follow(self, node: Node) -> Value | None:
        """The channels of what a node gives; None where no factor gets through."""
        if node.target in LAYER_CALLS:
            return self._layer(node)
        if node.target is _aten.layer_norm.default:
            return self._norm(node)
        shape = _shape(node)
        if shape is None:
            return None
        rules: tuple[tuple[tuple[Any, ...], Callable[[Node], Value | None]], ...] = (
            (_HOMOGENEOUS, self._same), (_CLAMPS, self._clamp), (_SUMS, self._sum), (_PRODUCTS, self._product),
            (_FLAT, self._flat), ((_aten.cat.default,), self._joined), ((_aten.slice.Tensor,), self._sliced),
            ((_aten.pad.default, _aten.constant_pad_nd.default), self._padded), ((_aten.mean.dim,), self._mean),
        )  # fmt: skip
        return next((rule(node) for targets, rule in rules if node.target in targets), None)

    def _of(self, node: Any) -> Value | None:
        return self._values.get(node) if isinstance(node, Node) else None

    def _same(self, node: Node) -> Value | None:
        return self._of(node.args[0])

    def _layer(self, node: Node) -> Value | None:
        found = self._owner(node, 1)
        source = node.args[0]
        if found is None or not isinstance(source, Node):
            return None
        layer = layer_of(found[1])
        if layer is None or not layer.is_plain():
            return None
        dim = layer.axis(len(_shape(source) or ()))
        if dim < 1:  # a single input
            return None
        known = self._values.get(source)
        if known is not None and (known.dim != dim or len(known.ids) != layer.inputs):
            self._fix(source)
            known = None
        inputs = np.zeros(layer.inputs, dtype=np.int64) if known is None else known.ids
        outputs = self._new(len(layer.weight))
        self.readers.append(Reader(found[0], layer, inputs, outputs, source, dim))
        return Value(outputs, dim)

    def _owner(self, node: Node, argument: int) -> tuple[str, nn.Module] | None:
        """The module whose weight a node reads, where nothing else does."""
        weight = node.args[argument] if len(node.args) > argument else None
        if not isinstance(weight, Node) or weight.op != "get_attr" or len(weight.users) != 1:
            return None
        path, _, what = str(weight.target).rpartition(".")
        module = self._modules.get(path)
        if module is None or what != "weight" or has_hooks(module):
            return None
        parameters = [p for p in (module._parameters.get("weight"), module._parameters.get("bias")) if p is not None]
        owners = {
            id(other) for other in self._modules.values() for p in other._parameters.values() if p is not None
            and any(p is mine for mine in parameters)
        }  # fmt: skip
        return (path, module) if owners == {id(module)} else None

    def _norm(self, node: Node) -> Value | None:
        found = self._owner(node, 2)
        self._fix(node.args[0])
        shape = _shape(node)
        if found is None or shape is None or not isinstance(found[1], nn.LayerNorm) or found[1].weight.dim() != 1:
            return None
        outputs = self._new(len(found[1].weight))
        self.norms.append(Norm(found[1], outputs))
        return Value(outputs, len(shape) - 1)

    def _clamp(self, node: Node) -> Value | None:
        value = self._of(node.args[0])
        ends = node.args[1:3]
        if str(node.target).startswith("aten.relu6"):
            ends = (0.0, 6.0)
        elif "hardtanh" in str(node.target):
            ends = (*ends, *(-1.0, 1.0)[len(ends) :])
        low, high = (*ends, None, None)[:2]
        if value is None or low != 0 or not isinstance(high, (int, float, type(None))):
            return None
        if high is not None:
            self.clamps.append(Clamp(node, value, float(high)))
        return value

    def _sum(self, node: Node) -> Value | None:
        if len(node.args) != 2 or node.kwargs.get("alpha", 1) != 1:
            return None
        values = [self._of(part) for part in node.args]
        first, second = values
        if first is None or second is None or first.dim != second.dim or len(first.ids) != len(second.ids):
            return None
        if any(_shape(part) != _shape(node) for part in node.args):
            return None
        self._tie(first.ids, second.ids)
        return first

    def _product(self, node: Node) -> Value | None:
        first, second = node.args[:2]
        if isinstance(second, (int, float)) and second > 0:
            return self._of(first)
        # A gate of its own scale, such as that of squeeze and excitation, lets the other factor's channels through.
        for one, other in ((first, second), (second, first)):
            value = self._of(one)
            if value is not None and isinstance(other, Node) and _shape(one) == _shape(node):
                self._fix(other)
                return value
        return None

    def _flat(self, node: Node) -> Value | None:
        value = self._of(node.args[0])
        before, after = _shape(node.args[0]), _shape(node)
        if value is None or before is None or after is None:
            return None
        if before == after:
            return value
        if value.dim == 1 and len(after) == 2 and after[0] == before[0]:
            # [N, C, H, W] to [N, C H W]: each channel's positions lie side by side.
            return Value(np.repeat(value.ids, after[1] // len(value.ids)), 1)
        if value.dim == len(before) - 1 and before[-1] == after[-1]:
            return Value(value.ids, len(after) - 1)
        return None

    def _joined(self, node: Node) -> Value | None:
        parts = [self._of(part) for part in node.args[0]]  # type: ignore[union-attr]
        shape = _shape(node)
        axis = node.args[1] if len(node.args) > 1 else 0
        if shape is None or not isinstance(axis, int):
            return None
        axis %= len(shape)
        known = [part for part in parts if part is not None]
        if len(known) != len(parts) or any(part.dim != axis for part in known):
            return None
        return Value(np.concatenate([part.ids for part in known]), axis)

    def _sliced(self, node: Node) -> Value | None:
        value = self._of(node.args[0])
        given: list[Any] = list(node.args)
        source, dim, begin, end, step = given + [None, 0, None, None, 1][len(given) :]
        shape = _shape(source)
        if value is None or shape is None or not isinstance(dim, int):
            return None
        if dim % len(shape) != value.dim:
            return value
        return Value(value.ids[begin:end:step], value.dim)

    def _padded(self, node: Node) -> Value | None:
        value = self._of(node.args[0])
        given: list[Any] = list(node.args)
        source, sizes, mode, fill = given + [None, None, "constant", None][len(given) :]
        if node.target is _aten.constant_pad_nd.default:
            mode, fill = "constant", mode if mode != "constant" else None
        shape = _shape(source)
        if value is None or shape is None or mode != "constant" or fill not in (None, 0, 0.0):
            return None
        pairs: list[Any] = list(sizes)
        place = 2 * (len(shape) - 1 - value.dim)
        before, after = pairs[place : place + 2] if place < len(pairs) else (0, 0)
        if min(before, after) < 0:
            return None
        # Channels of zeros may have any scale.
        return Value(np.concatenate([self._new(before), value.ids, self._new(after)]), value.dim)

    def _mean(self, node: Node) -> Value | None:
        value = self._of(node.args[0])
        shape = _shape(node.args[0])
        over = node.args[1] if len(node.args) > 1 else None
        keep = bool(node.args[2]) if len(node.args) > 2 else False
        if value is None or shape is None or not isinstance(over, (list, tuple)):
            return None
        gone = {int(dim) % len(shape) for dim in over}
        if value.dim in gone:
            return None
        return Value(value.ids, value.dim if keep else value.dim - sum(dim < value.dim for dim in gone))


def _shape(node: Any) -> tuple[int, ...] | None:
    value = node.meta.get("val") if isinstance(node, Node) else None
    return tuple(int(size) for size in value.shape) if isinstance(value, torch.Tensor) else None
