"""A gain and a shift per channel: batch norms that could not be folded, and arithmetic with per-channel constants.

Both run as a depthwise convolution of one tap, with weights of +-127 and the gain in their scale.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.fx import Node

from niwaki.lower.builder import Builder
from niwaki.lower.nodes import arguments, constant_of, data_inputs, is_constant, shape_of
from niwaki.lower.operators.registry import Operator, register
from niwaki.lower.weights import quantize_bias


def emit_affine(builder: Builder, node: Node, gain: NDArray[np.float64], shift: NDArray[np.float64]) -> int:
    """Adds gain * x + shift, both [C], to the graph."""
    source = data_inputs(node)[0]
    qparams = builder.qparams(source)
    channels = len(gain)
    scale = np.where(gain == 0, 1.0, np.maximum(np.abs(gain) / 127, 1e-30)).astype(np.float32)
    weight = (np.sign(gain) * 127).astype(np.int8).reshape(channels, 1, 1, 1)
    tensors = quantize_bias(weight, scale, shift, qparams.scale)
    if len(shape_of(node)) == 4:
        return builder.add("conv2d", node, [source], {"groups": channels}, tensors)
    image = builder.add("reshape", node, [source], {"shape": [channels, 1, 1]}, qparams=qparams, suffix=".image")
    image = builder.add("conv2d", node, [image], {"groups": channels}, tensors)
    return builder.add("reshape", node, [image], {"shape": [channels]}, suffix=".vector")


def per_channel(constant: torch.Tensor, shape: list[int]) -> NDArray[np.float64] | None:
    """A constant as [C], where it broadcasts along everything but the channels of a tensor of this shape; else None."""
    sizes = [1] * (len(shape) - constant.dim()) + list(constant.shape)
    if len(sizes) != len(shape) or any(size != 1 for axis, size in enumerate(sizes) if axis != 1):
        return None
    if not constant.dtype.is_floating_point:
        return None
    values = constant.to(torch.float64).reshape(-1).numpy()
    return np.broadcast_to(values, (shape[1],)) if len(values) in (1, shape[1]) else None


@register("aten::batch_norm", "aten::_native_batch_norm_legit_no_training")
class BatchNorm(Operator):
    computes = True
    bounds = True

    def makes_float(self, node: Node) -> bool:
        return len(shape_of(node)) == 4

    def refusal(self, node: Node) -> str:
        given = arguments(node)
        if given.get("training"):
            return "is in training mode"
        for name in ("weight", "bias", "running_mean", "running_var"):
            if isinstance(given.get(name), Node) and not is_constant(given[name]):
                return f"has a {name} that is computed while it runs"
        return "" if given.get("running_mean") is not None else "has no running statistics"

    def emit(self, builder: Builder, node: Node) -> int:
        given = arguments(node)
        channels = shape_of(node)[1]

        def vector(name: str, otherwise: float) -> NDArray[np.float64]:
            if given.get(name) is None:
                return np.full(channels, otherwise)
            return np.asarray(constant_of(given[name]).to(torch.float64).numpy())

        gain = vector("weight", 1.0) / np.sqrt(vector("running_var", 1.0) + given["eps"])
        return emit_affine(builder, node, gain, vector("bias", 0.0) - gain * vector("running_mean", 0.0))
