"""Runs a captured graph in float32, with the weights from before quantization."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.fx import Interpreter, Node
from torch.nn import functional as F

from niwaki.capture import evaluating
from niwaki.errors import first_sentence
from niwaki.lower.nodes import arguments, operator_name
from niwaki.quantization.inputs import Batch
from niwaki.quantization.programs import Layer, Program

_VIEWS = (torch.ops.aten.view.default, torch.ops.aten._unsafe_view.default)
_RESHAPE = torch.ops.aten.reshape.default


@dataclass(frozen=True)
class Weights:
    """What a layer computes with, float32, where there is no layer of torch's."""

    weight: torch.Tensor
    bias: torch.Tensor | None


Float = nn.Conv2d | nn.Linear | Weights


class FloatRun(Interpreter):
    """A graph in float32: niwaki's layers compute with the weights from before quantization.

    Args:
        program: the graph.
        floats: the layer in float32 that each of niwaki's stands for.
    """

    def __init__(self, program: Program, floats: Mapping[Layer, Float]) -> None:
        super().__init__(program.module)
        self.extra_traceback = False
        self.program = program
        self._floats = floats

    def call(self, batch: Batch) -> list[Any]:
        """Runs a call; returns the leaves of the result.

        Raises:
            ValueError: the network does not take it.
        """
        try:
            with evaluating(self.program.module):
                found = self.run(*self.program.inputs(batch.copy()), enable_io_processing=False)
        except (TypeError, RuntimeError, IndexError, AssertionError) as error:
            raise ValueError(f"{batch}: the network cannot be run with it: {first_sentence(error)}.") from error
        return list(torch.utils._pytree.tree_leaves(found))

    def run_node(self, n: Node) -> Any:
        layer = self.program.layers.get(n)
        if layer is None:
            return self.value(n, super().run_node(n))
        args, _ = self.fetch_args_kwargs_from_env(n)
        return self.value(n, self.layer(n, layer, args[0]))

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        # A view asks for the strides that its source had at capture.
        return super().call_function(_RESHAPE if target in _VIEWS else target, args, kwargs)

    def value(self, node: Node, value: Any) -> Any:
        """What a node made, on its way to those that read it."""
        return value

    def layer(self, node: Node, layer: Layer, x: torch.Tensor) -> torch.Tensor:
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


def dequantized(layer: Layer) -> torch.Tensor:
    """The weight of a quantized layer in float32."""
    return layer.weight * layer.weight_scale.reshape(-1, *[1] * (layer.weight.dim() - 1))
