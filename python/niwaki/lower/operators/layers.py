"""Convolutions and linear layers whose weights niwaki has quantized."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.fx import Node

from niwaki.lower.builder import Builder
from niwaki.lower.nodes import arguments, constant_of, is_constant, shape_of
from niwaki.lower.operators.registry import Operator, register
from niwaki.lower.weights import quantize_bias


class _Layer(Operator):
    computes = True
    bounds = True
    rank = 4

    def makes_float(self, node: Node) -> bool:
        return True

    def refusal(self, node: Node) -> str:
        given = arguments(node)
        if len(shape_of(self.source(node))) != self.rank:
            return f"works on an input of another rank than {self.rank}"
        for name in ("weight", "weight_scale", "bias"):
            if isinstance(given.get(name), Node) and not is_constant(given[name]):
                return f"has a {name} that is computed while it runs"
        return ""

    def tensors(self, builder: Builder, node: Node) -> dict[str, NDArray[Any]]:
        given = arguments(node)
        arrays = {
            name: constant_of(given[name]).numpy() if isinstance(given.get(name), Node) else None
            for name in ("weight", "weight_scale", "bias")
        }
        weight, scale, bias = arrays["weight"], arrays["weight_scale"], arrays["bias"]
        assert weight is not None and scale is not None
        scales = np.broadcast_to(scale.astype(np.float32).reshape(-1), weight.shape[:1])
        return quantize_bias(weight, scales, bias, builder.qparams(self.source(node)).scale)

    @staticmethod
    def source(node: Node) -> Node:
        given = node.args[0] if node.args else node.kwargs["x"]
        assert isinstance(given, Node)
        return given


@register("niwaki::conv2d")
class Conv2d(_Layer):
    def emit(self, builder: Builder, node: Node) -> int:
        given = arguments(node)
        attributes: dict[str, int | list[int]] = {
            "stride": list(given["stride"]),
            "padding": list(given["padding"]),
            "dilation": list(given["dilation"]),
            "groups": int(given["groups"]),
        }
        return builder.add("conv2d", node, [self.source(node)], attributes, self.tensors(builder, node))


@register("niwaki::dynamic_linear")
class DynamicLinear(_Layer):
    def refusal(self, node: Node) -> str:
        return "measures the range of its inputs when it runs (QuantizeConfig.dynamic), which is done in torch"

    def emit(self, builder: Builder, node: Node) -> int:
        raise AssertionError(node.name)  # what is refused is never emitted


@register("niwaki::linear")
class Linear(_Layer):
    rank = 2

    def emit(self, builder: Builder, node: Node) -> int:
        return builder.add("linear", node, [self.source(node)], {}, self.tensors(builder, node))
