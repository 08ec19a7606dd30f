"""Channels that stay inside of a network: written by one layer, read by others, and seen by no one else.

Their order is free: a network whose layers write and read them in another order computes the same.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule, Node

from niwaki.layerwise.walk import layer_called
from niwaki.modules.layer import Layer
from niwaki.modules.plain import has_hooks

_aten = torch.ops.aten
# Functions of single values; with other arguments that are numbers.
_POINTWISE = {
    getattr(_aten, name).default
    for name in (
        "relu", "relu_", "relu6", "relu6_", "hardtanh", "hardtanh_", "silu", "silu_", "sigmoid", "sigmoid_", "tanh",
        "tanh_", "gelu", "gelu_", "hardswish", "hardswish_", "hardsigmoid", "hardsigmoid_", "leaky_relu",
        "leaky_relu_", "elu", "elu_", "mish", "mish_", "softplus", "clamp", "clamp_", "dropout", "dropout_",
        "feature_dropout", "alias", "clone", "contiguous", "detach",
    )
}  # fmt: skip
# Of one value and a number, or of values that all have these channels.
_BINARY = {
    _aten.add.Tensor, _aten.add_.Tensor, _aten.sub.Tensor, _aten.mul.Tensor, _aten.mul_.Tensor, _aten.div.Tensor,
    operator.add, operator.sub, operator.mul, operator.truediv,
}  # fmt: skip
# Along the positions of an image; the channels stay.
_PLANES = {
    _aten.max_pool2d.default, _aten.avg_pool2d.default, _aten.adaptive_avg_pool2d.default,
    _aten.adaptive_max_pool2d.default, _aten.upsample_nearest2d.vec, _aten.upsample_bilinear2d.vec,
}  # fmt: skip
_PADS = {_aten.pad.default, _aten.constant_pad_nd.default}
_FLAT = {_aten.flatten.using_ints, _aten.view.default, _aten.reshape.default}


@dataclass
class Inner:
    """Channels between layers.

    Attributes:
        writer: the layer that gives them.
        source: the node that it reads.
        others: modules with a parameter or buffer along the channels: depthwise convolutions, batch norms.
        readers: the layers that read them, of one group each, and the node that each reads.
    """

    writer: Layer
    source: Node
    others: list[nn.Module] = field(default_factory=list)
    readers: list[tuple[Layer, Node]] = field(default_factory=list)

    def reorder(self, order: torch.Tensor) -> None:
        """Puts channel order[i] at place i, int64 [C], in all tensors of the network."""
        with torch.no_grad():
            for module in (self.writer.module, *self.others):
                for tensor in (*module._parameters.values(), *module._buffers.values()):
                    if tensor is not None and tensor.dim():  # a count of batches is a number alone
                        tensor.copy_(tensor[order])
            for reader, _ in self.readers:
                reader.weight.copy_(reader.weight[:, order])


def find_inner(program: GraphModule, model: nn.Module) -> list[Inner]:
    """The inner channels of a network, in the order of their writers.

    Args:
        program: the network's graph, see niwaki.capture.
        model: the network in eval mode, with plain parameters.
    """
    graph = _Graph(program, model)
    found = (graph.follow(node, layer) for node, layer in graph.layers.items() if layer.groups == 1)
    return [inner for inner in found if inner is not None and inner.readers]


class _Graph:
    def __init__(self, program: GraphModule, model: nn.Module) -> None:
        self._modules = dict(model.named_modules(remove_duplicate=False))
        owners = Counter(id(p) for module in model.modules() for p in module._parameters.values() if p is not None)
        readings: Counter[str] = Counter()
        for node in program.graph.nodes:
            if node.op == "get_attr":
                readings[str(node.target)] += len(node.users)

        def alone(path: str) -> bool:
            """Whether nothing else reads or owns what the module has."""
            module = self._modules[path]
            names = [name for name, p in module._parameters.items() if p is not None]
            return not has_hooks(module) and all(
                owners[id(module._parameters[name])] == 1 and readings[f"{path}.{name}"] <= 1 for name in names
            )

        self.layers: dict[Node, Layer] = {}
        self._norms: dict[Node, nn.Module] = {}
        for node in program.graph.nodes:
            called = layer_called(node, self._modules)
            if called is not None and called[1].is_plain() and alone(called[0]):
                self.layers[node] = called[1]
            elif node.target is _aten.batch_norm.default and (path := self._norm_of(node)) and alone(path):
                self._norms[node] = self._modules[path]

    def _norm_of(self, node: Node) -> str:
        tensors = [part for part in node.args[1:5] if isinstance(part, Node)]
        paths = {str(part.target).rpartition(".")[0] for part in tensors if part.op == "get_attr"}
        training = node.args[5] if len(node.args) > 5 else True
        if len(paths) != 1 or training or any(part.op != "get_attr" for part in tensors):
            return ""
        (path,) = paths
        return path if isinstance(self._modules.get(path), (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)) else ""

    def follow(self, node: Node, layer: Layer) -> Inner | None:
        """What becomes of a layer's outputs; None where anything but layers could tell their order."""
        shape = _shape(node)
        if shape is None:
            return None
        source = node.args[0]
        if not isinstance(source, Node):
            return None
        inner = Inner(layer, source)
        dims = {node: layer.axis(len(shape))}
        if dims[node] < 1:  # a single input
            return None
        waiting = [node]
        sums: list[Node] = []
        while waiting:
            value = waiting.pop()
            if not value.users:
                return None
            for user in value.users:
                if user in dims:
                    continue
                reader = self.layers.get(user)
                if reader is not None and reader.groups == 1:
                    if not self._reads(reader, user, value, dims[value]):
                        return None
                    inner.readers.append((reader, value))
                    continue
                dim = self._passes(user, value, dims[value], inner)
                if dim is None:
                    return None
                if user.target in _BINARY:
                    sums.append(user)
                dims[user] = dim
                waiting.append(user)
        for total in sums:
            parts = [part for part in total.args if isinstance(part, Node)]
            same = all(part in dims and dims[part] == dims[total] and _shape(part) == _shape(total) for part in parts)
            if not same:
                return None
        return inner

    def _reads(self, reader: Layer, user: Node, value: Node, dim: int) -> bool:
        shape = _shape(value)
        alone = user.args[0] is value and sum(part is value for part in user.all_input_nodes) == 1
        return alone and shape is not None and reader.axis(len(shape)) == dim and reader.inputs == shape[dim]

    def _passes(self, user: Node, value: Node, dim: int, inner: Inner) -> int | None:
        """The dimension of the channels in what a node makes of a value; None where they may get lost."""
        before, after = _shape(value), _shape(user)
        if before is None or after is None or user.op != "call_function":
            return None
        target: Any = user.target
        if target in _BINARY:
            return dim if before == after and not user.kwargs else None
        layer = self.layers.get(user)
        if user.args[0] is not value:
            return None
        if layer is not None:
            channels = before[dim]
            depthwise = layer.groups == channels == len(layer.weight) == layer.inputs and layer.axis(len(before)) == dim
            if depthwise:
                inner.others.append(layer.module)
            return dim if depthwise else None
        if user in self._norms:
            inner.others.append(self._norms[user])
            return dim if dim == 1 else None
        if sum(isinstance(part, Node) for part in user.args) > 1:
            return None
        if target in _POINTWISE:
            return dim if before == after else None
        if target in _PLANES:
            return dim if len(before) == 4 and dim == 1 else None
        if target in _PADS:
            sizes = user.args[1]
            inside = len(before) == 4 and dim == 1 and isinstance(sizes, (list, tuple)) and len(sizes) <= 4
            return dim if inside else None
        if target is _aten.mean.dim:
            return _averaged(user, before, dim)
        return _flattened(before, after, dim) if target in _FLAT else None


def _averaged(node: Node, before: tuple[int, ...], dim: int) -> int | None:
    over = node.args[1] if len(node.args) > 1 else None
    if not isinstance(over, (list, tuple)):
        return None
    gone = {int(one) % len(before) for one in over if isinstance(one, int)}
    keeps = bool(node.args[2]) if len(node.args) > 2 else bool(node.kwargs.get("keepdim", False))
    if dim in gone:
        return None
    return dim if keeps else dim - sum(one < dim for one in gone)


def _flattened(before: tuple[int, ...], after: tuple[int, ...], dim: int) -> int | None:
    if before == after:
        return dim
    # [N, C, 1, 1] and [N, C].
    if after[:2] == before[:2] and dim == 1 and all(size == 1 for size in (*before[2:], *after[2:])):
        return 1
    return len(after) - 1 if dim == len(before) - 1 and before[-1] == after[-1] else None


def _shape(node: Any) -> tuple[int, ...] | None:
    value: Mapping[str, Any] | Any = node.meta.get("val") if isinstance(node, Node) else None
    return tuple(int(size) for size in value.shape) if isinstance(value, torch.Tensor) else None
