"""A gain and a shift per channel: batch norms that could not be folded, and arithmetic with per-channel constants.

In uint8 both run as a depthwise convolution of one tap, with weights of +-127 and the gain in their scale.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.fx import Node

from niwaki.lower.builder import Builder
from niwaki.lower.nodes import arguments, constant_of, data_inputs, is_constant, operator_name, rank_of, shape_of
from niwaki.lower.operators.registry import Operator, register
from niwaki.lower.weights import quantize_bias


def emit_affine(builder: Builder, node: Node, gain: NDArray[np.float64], shift: NDArray[np.float64]) -> int:
    """Adds gain * x + shift, both [C], of uint8 to the graph."""
    source = data_inputs(node)[0]
    qparams, made = builder.types.qparams(source), builder.types.qparams(node)
    channels = len(gain)
    scale = np.where(gain == 0, 1.0, np.maximum(np.abs(gain) / 127, 1e-30)).astype(np.float32)
    weight = (np.sign(gain) * 127).astype(np.int8).reshape(channels, 1, 1, 1)
    tensors = quantize_bias(weight, scale, shift, qparams.scale)
    value, shape = builder.quantized(source), builder.shape(node)
    if len(shape) == 4:
        return builder.add("conv2d", node, [value], {"groups": channels}, tensors, qparams=made)
    image = {"shape": [shape[0], channels, -1, shape[-1] if len(shape) > 2 else 1]}
    value = builder.add("reshape", node, [value], image, qparams=qparams, part="image")
    value = builder.add("conv2d", node, [value], {"groups": channels}, tensors, qparams=made)
    return builder.add("reshape", node, [value], {"shape": shape}, qparams=made, part="back")


def per_channel(constant: torch.Tensor, node: Node) -> NDArray[np.float64] | None:
    """A constant as [C], where it broadcasts along everything but the channels of the node's tensor; else None."""
    shape = shape_of(node)
    sizes = [1] * (len(shape) - constant.dim()) + list(constant.shape)
    if len(shape) < 2 or len(sizes) != len(shape) or any(size != 1 for axis, size in enumerate(sizes) if axis != 1):
        return None
    if not constant.dtype.is_floating_point or not isinstance(shape[1], int):
        return None
    values = constant.to(torch.float64).reshape(-1).numpy()
    return np.broadcast_to(values, (shape[1],)) if len(values) in (1, shape[1]) else None


def coefficients(node: Node) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gain and shift, [C], of a batch norm with running statistics."""
    given = arguments(node)
    channels = constant_of(given["running_mean"]).numel()

    def vector(name: str, otherwise: float) -> NDArray[np.float64]:
        if given.get(name) is None:
            return np.full(channels, otherwise)
        return np.asarray(constant_of(given[name]).to(torch.float64).numpy())

    gain = vector("weight", 1.0) / np.sqrt(vector("running_var", 1.0) + given["eps"])
    return gain, vector("bias", 0.0) - gain * vector("running_mean", 0.0)


def has_statistics(node: Node) -> str:
    """Why a normalization cannot run with running statistics and parameters that are known now; empty where it can."""
    given = arguments(node)
    for name in ("weight", "bias", "running_mean", "running_var"):
        if isinstance(given.get(name), Node) and not is_constant(given[name]):
            return f"has a {name} that is computed while it runs"
    return "" if given.get("running_mean") is not None else "has no running statistics"


@register(
    "aten::batch_norm",
    "aten::_native_batch_norm_legit_no_training",
    "aten::native_batch_norm",
    "aten::cudnn_batch_norm",
)
class BatchNorm(Operator):
    computes = True
    bounds = True
    only_float = ("aten::_native_batch_norm_legit_no_training", "aten::native_batch_norm", "aten::cudnn_batch_norm")

    def refusal(self, node: Node) -> str:
        if arguments(node).get("training"):
            return "is in training mode"
        return has_statistics(node)

    def quantizable(self, node: Node) -> bool:
        return operator_name(node) not in self.only_float and 2 <= rank_of(node) <= 5

    def emit_u8(self, builder: Builder, node: Node) -> int:
        return emit_affine(builder, node, *coefficients(node))

    def emit(self, builder: Builder, node: Node) -> int | list[int]:
        value = emit_channel_affine(builder, node)
        return value if operator_name(node) == "aten::batch_norm" else [value]


def emit_channel_affine(builder: Builder, node: Node) -> int:
    """Adds the gain and shift of a normalization with running statistics, of float32."""
    gain, shift = (np.ascontiguousarray(vector, np.float32) for vector in coefficients(node))
    source = builder.plain(data_inputs(node)[0])
    return builder.add("channel_affine", node, [source], {"axis": 1}, {"gain": gain, "shift": shift})
