"""Convolutions and linear layers whose weights niwaki has quantized."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.fx import Node

from niwaki.lower.builder import Builder
from niwaki.lower.nodes import arguments, constant_of, is_constant, rank_of
from niwaki.lower.operators.registry import Operator, register
from niwaki.lower.weights import quantize_bias


def layer_input(node: Node) -> Node:
    """What a layer reads besides its parameters."""
    given = node.args[0] if node.args else node.kwargs["x"]
    assert isinstance(given, Node)
    return given


def _arrays(node: Node) -> dict[str, NDArray[Any] | None]:
    given = arguments(node)
    return {
        name: np.ascontiguousarray(constant_of(given[name]).numpy()) if isinstance(given.get(name), Node) else None
        for name in ("weight", "weight_scale", "bias")
    }


class _Layer(Operator):
    """Reads uint8; makes uint8, or float32 where nobody wants uint8 of it."""

    computes = True
    bounds = True
    layer = True
    op = ""

    def refusal(self, node: Node) -> str:
        given = arguments(node)
        for name in ("weight", "weight_scale", "bias"):
            if isinstance(given.get(name), Node) and not is_constant(given[name]):
                return f"has a {name} that is computed while it runs"
        return ""

    def attributes(self, node: Node) -> dict[str, Any]:
        return {}

    def emit(self, builder: Builder, node: Node) -> int:
        source = layer_input(node)
        arrays = _arrays(node)
        weight, scale, bias = arrays["weight"], arrays["weight_scale"], arrays["bias"]
        assert weight is not None and scale is not None
        scales = np.broadcast_to(scale.astype(np.float32).reshape(-1), weight.shape[:1])
        tensors = quantize_bias(weight, scales, bias, builder.types.qparams(source).scale)
        made = builder.types.quantized.get(node)
        return builder.add(self.op, node, [builder.quantized(source)], self.attributes(node), tensors, qparams=made)

    emit_u8 = emit


@register("niwaki::conv2d")
class Conv2d(_Layer):
    op = "conv2d"

    def refusal(self, node: Node) -> str:
        rank = rank_of(layer_input(node))
        return super().refusal(node) if rank == 4 else f"works on an input of rank {rank}, not 4"

    def attributes(self, node: Node) -> dict[str, Any]:
        given = arguments(node)
        windows = {name: list(given[name]) for name in ("stride", "padding", "dilation")}
        return {**windows, "groups": int(given["groups"])}

    def adds(self, node: Node) -> bool:
        given = arguments(node)
        outputs, inputs = constant_of(given["weight"]).shape[:2]
        return bool(inputs != 1 or given["groups"] != outputs)  # depthwise ones do not


@register("niwaki::linear")
class Linear(_Layer):
    op = "linear"

    def refusal(self, node: Node) -> str:
        return super().refusal(node) if rank_of(layer_input(node)) else "works on a single number"

    def adds(self, node: Node) -> bool:
        return True


@register("niwaki::dynamic_linear")
class DynamicLinear(Operator):
    """Each row of its inputs is rounded with the range that it has: float32 in and out."""

    computes = True

    def refusal(self, node: Node) -> str:
        given = arguments(node)
        for name in ("weight", "weight_scale", "bias"):
            if isinstance(given.get(name), Node) and not is_constant(given[name]):
                return f"has a {name} that is computed while it runs"
        return "" if rank_of(layer_input(node)) else "works on a single number"

    def emit(self, builder: Builder, node: Node) -> int:
        arrays = _arrays(node)
        weight, bias = arrays["weight"], arrays["bias"]
        assert weight is not None
        outputs = weight.shape[0]
        tensors = {
            "weight": weight,
            "weight_scale": np.ascontiguousarray(np.broadcast_to(arrays["weight_scale"].reshape(-1), outputs)),  # type: ignore[union-attr]
            "bias": np.zeros(outputs, np.float32) if bias is None else bias,
        }
        return builder.add("dynamic_linear", node, [builder.plain(layer_input(node))], {}, tensors)
