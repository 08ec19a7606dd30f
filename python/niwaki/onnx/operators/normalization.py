"""Norms, as torch's layers where their weights are in the file."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from niwaki.onnx.call import Call
from niwaki.onnx.errors import Refusal
from niwaki.onnx.functions import normalization
from niwaki.onnx.registry import operator

_BATCH: dict[int, Any] = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}


@operator("BatchNormalization", since=7)
def _batch_norm(call: Call) -> Any:
    call.unused("momentum")  # of training
    if call.flag("training_mode"):
        raise Refusal("it is in training mode; export the network in eval mode")
    if not call.flag("spatial", True):
        raise Refusal("its attribute spatial = 0 is not supported")
    if call.outputs > 1:
        raise Refusal("its statistics are used, which only training makes")
    eps = call.number("epsilon", 1e-5)
    known = [call.value(index).data for index in range(1, 5)]
    kind = _BATCH.get(call.rank())
    if kind is None or not all(isinstance(each, torch.Tensor) for each in known):
        scale, bias, mean, var = (call.x(index) for index in range(1, 5))
        return call.call(F.batch_norm, call.x(0), mean, var, scale, bias, eps=eps)
    scale, bias, mean, var = known

    def make() -> nn.Module:
        layer: nn.Module = kind(len(scale), eps=eps)
        layer.weight, layer.bias = nn.Parameter(scale.detach()), nn.Parameter(bias.detach())
        layer.register_buffer("running_mean", mean.clone())
        layer.register_buffer("running_var", var.clone())
        return layer

    return call.layer(("batch_norm", scale, bias, mean, var, eps), make, call.x(0))


@operator("LayerNormalization", since=17)
def _layer_norm(call: Call) -> Any:
    call.unused("stash_type")  # in which type sums of half floats are kept
    rank = call.rank()
    axis = call.axis(call.integer("axis", -1), rank)
    eps = call.number("epsilon", 1e-5)
    return layer_norm(call, call.x(0), axis, eps)


def layer_norm(call: Call, x: Any, axis: int, eps: float, scale: int = 1, bias: int = 2) -> Any:
    """A layer norm over the axes from one on, with the inputs of these indices as weights."""
    weight = call.value(scale).data
    shift = call.value(bias).data if call.given(bias) else None
    dims = call.value(scale).dims
    rank = call.rank()
    whole = isinstance(weight, torch.Tensor) and (shift is None or isinstance(shift, torch.Tensor))
    if call.outputs > 1 or not whole or dims is None or len(dims) != rank - axis or None in dims:
        made = call.call(normalization.layer_norm, x, call.x(scale), call.optional(bias), axis, eps)
        return [call.call(normalization.item, made, index) for index in range(call.outputs)]
    shape = tuple(weight.shape)
    if shift is not None and tuple(shift.shape) != shape:
        raise Refusal("its scale and bias are of different shapes")
    own = call.value(0).dims
    if own is not None and any(a is not None and a != b for a, b in zip(own[axis:], shape, strict=True)):
        raise Refusal("its scale has not the shape of what it normalizes")

    def make() -> nn.Module:
        layer = nn.LayerNorm(shape, eps=eps, bias=shift is not None)
        layer.weight = nn.Parameter(weight.detach())
        if shift is not None:
            layer.bias = nn.Parameter(shift.detach())
        return layer

    return call.layer(("layer_norm", weight, shift, eps), make, x)


@operator("RMSNormalization", since=23)
def _rms_norm(call: Call) -> Any:
    call.unused("stash_type")
    axis = call.axis(call.integer("axis", -1), call.rank())
    return call.call(normalization.rms_norm, call.x(0), call.x(1), axis, call.number("epsilon", 1e-5))


@operator("InstanceNormalization", since=6)
def _instance_norm(call: Call) -> Any:
    return call.call(
        F.instance_norm, call.x(0), None, None, call.x(1), call.x(2), True, 0.1, call.number("epsilon", 1e-5)
    )


@operator("GroupNormalization", since=21)
def _group_norm(call: Call) -> Any:
    call.unused("stash_type")
    groups = call.integer("num_groups", 1)
    return call.call(F.group_norm, call.x(0), groups, call.x(1), call.x(2), call.number("epsilon", 1e-5))


@operator("GroupNormalization", since=18, until=18)
def _old_group_norm(call: Call) -> Any:
    groups = call.integer("num_groups", 1)
    eps = call.number("epsilon", 1e-5)
    return call.call(normalization.group_norm_of_groups, call.x(0), groups, call.x(1), call.x(2), eps)


@operator("LRN", since=1)
def _lrn(call: Call) -> Any:
    size = call.integer("size", 1)
    alpha, beta, bias = call.number("alpha", 1e-4), call.number("beta", 0.75), call.number("bias", 1.0)
    if size % 2:
        return call.call(F.local_response_norm, call.x(), size, alpha, beta, bias)
    return call.call(normalization.local_response_norm, call.x(), size, alpha, beta, bias)


@operator("LpNormalization", since=1)
def _lp_norm(call: Call) -> Any:
    axis = call.axis(call.integer("axis", -1), call.rank())
    power = call.only("p", 2, 1)
    return call.call(normalization.lp_norm, call.x(), axis, power)


@operator("MeanVarianceNormalization", since=9)
def _mean_variance(call: Call) -> Any:
    rank = call.rank()
    axes = [call.axis(axis, rank) for axis in call.integers("axes", (0, 2, 3)) or []]
    return call.call(normalization.mean_variance, call.x(), axes)
