"""Runs a captured graph in float32, with the weights from before quantization."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Interpreter, Node
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from niwaki.capture import evaluating
from niwaki.errors import first_sentence
from niwaki.lower.nodes import arguments, operator_name
from niwaki.modules.layer import Layer
from niwaki.nn.layers import QuantizedLayer
from niwaki.quantization.inputs import Batch
from niwaki.quantization.programs import Program

_VIEWS = (torch.ops.aten.view.default, torch.ops.aten._unsafe_view.default)
_RESHAPE = torch.ops.aten.reshape.default


@dataclass(frozen=True)
class Weights:
    """What a layer computes with, float32, where there is no layer of torch's."""

    weight: torch.Tensor
    bias: torch.Tensor | None


Float = Layer | Weights


class FloatRun(Interpreter):
    """A graph in float32: niwaki's layers compute with the weights from before quantization.

    Args:
        program: the graph.
        floats: the layer in float32 that each of niwaki's stands for.
        watched: nodes whose values are kept.

    Attributes:
        program: the graph.
        seen: the values of the watched nodes in the last call.
    """

    def __init__(
        self, program: Program, floats: Mapping[QuantizedLayer, Float], watched: Collection[Node] = ()
    ) -> None:
        super().__init__(program.module)
        self.extra_traceback = False
        self.program = program
        self.seen: dict[Node, Any] = {}
        self._floats = floats
        self._watched = frozenset(watched)

    def call(self, batch: Batch, *, gradients: bool = False) -> list[Any]:
        """Runs a call; returns the leaves of the result.

        Raises:
            ValueError: the network does not take it.
        """
        given = self.program.inputs(batch.copy())
        try:
            with evaluating(self.program.module), torch.set_grad_enabled(gradients):
                found = self.run(*given, enable_io_processing=False)
        except (TypeError, RuntimeError, IndexError, AssertionError) as error:
            raise ValueError(f"{batch}: the network cannot be run with it: {first_sentence(error)}.") from error
        return list(pytree.tree_leaves(found))

    def begin(self, batch: Batch) -> None:
        """Begins a call that goes on by `step`, node by node."""
        self.env = {}
        self.args_iter = iter(self.program.inputs(batch))

    def step(self, node: Node) -> None:
        """Runs the next node."""
        self._store(node, self.run_node(node))

    def keep(self, node: Node, made: Any) -> None:
        """Instead of running the next node, takes something else for what it made."""
        self._store(node, self.value(node, made))

    def _store(self, node: Node, value: Any) -> None:
        self.env[node] = value
        for used in self.user_to_last_uses.get(node, ()):
            del self.env[used]

    def input_of(self, node: Node) -> torch.Tensor:
        """The input of a call of a layer, before it runs."""
        args, _ = self.fetch_args_kwargs_from_env(node)
        assert isinstance(args[0], torch.Tensor)
        return args[0]

    def run_node(self, n: Node) -> Any:
        layer = self.program.layers.get(n)
        made = super().run_node(n) if layer is None else self.layer(n, layer, self.input_of(n))
        made = self.value(n, made)
        if n in self._watched:
            self.seen[n] = made
        return made

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        # A view asks for the strides that its source had at capture.
        return super().call_function(_RESHAPE if target in _VIEWS else target, args, kwargs)

    def value(self, node: Node, value: Any) -> Any:
        """What a node made, on its way to those that read it."""
        return value

    def layer(self, node: Node, layer: QuantizedLayer, x: torch.Tensor) -> torch.Tensor:
        """What a layer makes of its input."""
        found = self._floats[layer]
        return apply(node, x, found.weight.detach(), None if found.bias is None else found.bias.detach())


def apply(node: Node, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """What the call of a layer at `node` computes, with this weight and bias."""
    if operator_name(node) != "niwaki::conv2d":
        return F.linear(x, weight, bias)
    given = arguments(node)
    top, left, bottom, right = given["padding"]
    if (top, left) == (bottom, right):
        return F.conv2d(x, weight, bias, given["stride"], (top, left), given["dilation"], given["groups"])
    padded = F.pad(x, (left, right, top, bottom))
    return F.conv2d(padded, weight, bias, given["stride"], 0, given["dilation"], given["groups"])


def dequantized(layer: QuantizedLayer) -> torch.Tensor:
    """The weight of a quantized layer in float32."""
    return layer.weight * layer.weight_scale.reshape(-1, *[1] * (layer.weight.dim() - 1))
