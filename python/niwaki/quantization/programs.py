"""The graph of a network with niwaki's layers, captured once for all sizes that it takes."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from niwaki.capture import Captured, capture
from niwaki.capture.fingerprint import fingerprint
from niwaki.errors import NiwakiError, first_sentence
from niwaki.lower.canonical import canonicalize
from niwaki.lower.nodes import constant_of, name_nodes, operator_name
from niwaki.nn.layers import QuantizedLayer, quantized_layers
from niwaki.quantization.inputs import Batch

# Graphs that are kept; a network whose code ties it to the sizes of its inputs has one for each of them.
_KEPT = 4
_LAYERS = ("niwaki::conv2d", "niwaki::linear", "niwaki::dynamic_linear")


@dataclass(frozen=True, eq=False)
class Program:
    """A graph as it is compiled: canonical, and still fit to be run.

    Attributes:
        captured: the capture it was made from.
        module: the graph.
        layers: the layer that each call of one calls, by its node.
        constants: of its arguments, those that are no tensors, and how all are nested.
    """

    captured: Captured
    module: GraphModule
    layers: dict[Node, QuantizedLayer]
    constants: tuple[Any, ...]

    def accepts(self, batch: Batch) -> bool:
        """Whether the graph holds for a call."""
        return _constants(batch) == self.constants and not self.captured.refusal(batch.tensors)

    @functools.cached_property
    def peak(self) -> int:
        """The most bytes of values that are alive at once, for the inputs that the graph was captured with."""
        nodes = list(self.module.graph.nodes)
        last = {used: node for node in nodes for used in node.all_input_nodes}
        sizes = {node: 0 if node.op == "get_attr" else _bytes(node.meta.get("val")) for node in nodes}
        alive = most = 0
        ends: dict[Node, int] = {}
        for node in nodes:
            alive += sizes[node]
            most = max(most, alive)
            end = last.get(node, node)
            ends[end] = ends.get(end, 0) + sizes[node]
            alive -= ends.pop(node, 0)
        return max(most, 1)

    def bytes_of(self, batch: Batch) -> float:
        """About how many bytes all values of a call have together: as at capture, by the size of the inputs."""
        nodes = self.module.graph.nodes
        inputs = sum(_bytes(node.meta.get("val")) for node in nodes if node.op == "placeholder")
        values = sum(_bytes(node.meta.get("val")) for node in nodes if node.op == "call_function")
        return values / max(1, inputs) * sum(x.nbytes for x in batch.tensors)

    def inputs(self, batch: Batch) -> list[Any]:
        """What the placeholders are given for a call, in order."""
        spec = self.captured.exported.call_spec.in_spec
        order = spec.child(1).context
        return pytree.tree_leaves((batch.args, {name: batch.kwargs[name] for name in order}))


def _bytes(value: Any) -> int:
    tensors = [x for x in pytree.tree_leaves(value) if isinstance(x, torch.Tensor)]
    return sum(x.element_size() * math.prod(map(_hint, x.shape)) for x in tensors)


def _hint(size: Any) -> int:
    """What a size was at capture."""
    return int(size.node.hint or 1) if isinstance(size, torch.SymInt) else int(size)


def _constants(batch: Batch) -> tuple[Any, ...]:
    kwargs = dict(sorted(batch.kwargs.items()))
    leaves, structure = pytree.tree_flatten((batch.args, kwargs))
    return (str(structure), *(None if isinstance(leaf, torch.Tensor) else repr(leaf) for leaf in leaves))


class Programs:
    """Finds the graph for a call, and captures it where none holds.

    Args:
        model: a network with niwaki's layers.

    Attributes:
        fingerprint: of the first call's graph; empty before it.
        failure: why there is no graph; empty where there is one.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._found: list[Program] = []
        self._structure = ""
        self.fingerprint = ""
        self.failure = ""

    @property
    def first(self) -> Program | None:
        """A graph of the network; None where there is none, or no call was made yet."""
        return self._found[0] if self._found else None

    def find(self, batch: Batch) -> Program | None:
        """The graph for a call; None where the network cannot be captured.

        Raises:
            ValueError: the network does not take the call, or is another graph for it.
        """
        if self.failure:
            return None
        for program in self._found:
            if program.accepts(batch):
                return program
        try:
            copied = batch.copy()
            captured = capture(self._model, copied.args, copied.kwargs)
        except (NiwakiError, TypeError) as error:
            if self._found or isinstance(error, TypeError):
                reason = first_sentence(error.__cause__ or error)
                raise ValueError(f"{batch}: the network cannot be run with it: {reason}.") from error
            self.failure = str(error)
            return None
        structure = fingerprint(captured.exported, numbers=False)
        if self._found and structure != self._structure:
            raise ValueError(
                f"{batch}: the network is another graph for these inputs than for the first item; calibrate with "
                "inputs of one kind and size, those that it will be called with."
            )
        if not self._found:
            self.fingerprint, self._structure = captured.fingerprint, structure
        if len(self._found) >= _KEPT:
            self._found.pop()
        self._found.append(program_of(captured, self._model, batch))
        return self._found[-1]


def program_of(captured: Captured, model: nn.Module, batch: Batch) -> Program:
    """The graph of a network with niwaki's layers that was captured for a call."""
    module = captured.program()
    name_nodes(module)
    canonicalize(module)
    layers = {part.weight.data_ptr(): part for part in quantized_layers(model)}
    calls = {
        node: layers[constant_of(node.args[1]).data_ptr()]
        for node in module.graph.nodes
        if node.op == "call_function" and operator_name(node) in _LAYERS
    }
    return Program(captured, module, calls, _constants(batch))


def source_of(call: Node) -> Node:
    """The value that the call of a layer reads."""
    source = call.args[0]
    assert isinstance(source, Node)
    return source
