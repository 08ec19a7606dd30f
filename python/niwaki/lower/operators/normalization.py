"""Layer, RMS, group and instance norm; softmax and its kin."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.fx import Node

from niwaki.lower.builder import Builder
from niwaki.lower.nodes import (
    arguments,
    axis_of,
    constant_of,
    is_constant,
    operator_name,
    parts_read,
    rank_of,
    shape_of,
)
from niwaki.lower.operators.affine import emit_channel_affine, has_statistics
from niwaki.lower.operators.reductions import reduce
from niwaki.lower.operators.registry import Operator, register
from niwaki.lower.operators.unary import source_of


def _known(node: Node) -> dict[str, NDArray[np.float32]] | None:
    """Weight and bias, as far as there are any; None where one of them is computed while the network runs."""
    given = arguments(node)
    named: dict[str, Node] = {name: given[name] for name in ("weight", "bias") if isinstance(given.get(name), Node)}
    if not all(is_constant(source) for source in named.values()):
        return None
    return {name: np.ascontiguousarray(constant_of(source).to(torch.float32).numpy()) for name, source in named.items()}


def _applied(builder: Builder, node: Node, value: int, shape: list[Any] | None = None) -> int:
    """Weight and bias as operators of their own, in a shape that broadcasts."""
    given = arguments(node)
    for function, name in (("mul", "weight"), ("add", "bias")):
        if isinstance(given.get(name), Node):
            factor = builder.plain(given[name])
            if shape is not None:
                factor = builder.reshape(node, factor, shape, part=f"{name}.shape")
            value = builder.binary(node, function, value, factor, part=function)
    return value


def _asked_for_more(node: Node) -> str:
    """The fused forms give means and deviations, too, which only training needs."""
    more = operator_name(node).startswith(("aten::native", "aten::_fused")) and set(parts_read(node)) - {0}
    return "is asked for means and deviations" if more else ""


@register("aten::layer_norm", "aten::native_layer_norm", "aten::rms_norm", "aten::_fused_rms_norm")
class RowNorm(Operator):
    """Layer norm and RMS norm."""

    computes = True

    def refusal(self, node: Node) -> str:
        return _asked_for_more(node)

    def emit(self, builder: Builder, node: Node) -> int | list[int]:
        given, name = arguments(node), operator_name(node)
        eps = torch.finfo(torch.float32).eps if given["eps"] is None else float(given["eps"])
        attributes = {"axes": len(given["normalized_shape"]), "eps": eps}
        known, source = _known(node), builder.plain(source_of(node))
        op = "rms_norm" if "rms" in name else "layer_norm"
        value = builder.add(op, node, [source], attributes, known)
        if known is None:
            value = _applied(builder, node, value)
        return value if name in ("aten::layer_norm", "aten::rms_norm") else [value]


@register("aten::group_norm", "aten::native_group_norm")
class GroupNorm(Operator):
    computes = True

    def refusal(self, node: Node) -> str:
        return _asked_for_more(node)

    def emit(self, builder: Builder, node: Node) -> int | list[int]:
        given = arguments(node)
        groups = given["num_groups"] if "num_groups" in given else given["group"]
        value = _grouped(builder, node, int(groups), float(given["eps"]))
        return value if operator_name(node) == "aten::group_norm" else [value]


def _grouped(builder: Builder, node: Node, groups: int, eps: float) -> int:
    source, known = source_of(node), _known(node)
    value = builder.add("group_norm", node, [builder.plain(source)], {"groups": groups, "eps": eps}, known)
    if known is not None:
        return value
    return _applied(builder, node, value, [-1, *[1] * (rank_of(source) - 2)])


@register("aten::instance_norm")
class InstanceNorm(Operator):
    """Each channel of each image by itself; or with running statistics, as a batch norm."""

    computes = True

    def refusal(self, node: Node) -> str:
        return "" if arguments(node)["use_input_stats"] else has_statistics(node)

    def emit(self, builder: Builder, node: Node) -> int:
        given, source = arguments(node), source_of(node)
        if not given["use_input_stats"]:
            return emit_channel_affine(builder, node)
        pixels = rank_of(source) - 2
        attributes = {"axes": pixels, "eps": float(given["eps"])}
        value = builder.add("layer_norm", node, [builder.plain(source)], attributes)
        return _applied(builder, node, value, [-1, *[1] * pixels])


@register("aten::softmax", "aten::_softmax", "aten::log_softmax", "aten::_log_softmax", "aten::special_softmax")
class Softmax(Operator):
    computes = True

    def emit(self, builder: Builder, node: Node) -> int:
        source = source_of(node)
        return _softmax(builder, node, builder.plain(source, torch.float32), log="log" in operator_name(node))


def _softmax(builder: Builder, node: Node, value: int, *, log: bool, part: str = "") -> int:
    source = source_of(node)
    if rank_of(source) == 0:
        value = builder.reshape(node, value, [1], part="one")
        value = builder.add("softmax", node, [value], {"axis": 0, "log": int(log)}, part="of_one")
        return builder.reshape(node, value, [])
    axis = axis_of(source, int(arguments(node)["dim"]))
    return builder.add("softmax", node, [value], {"axis": axis, "log": int(log)}, part=part)


@register("aten::_safe_softmax")
class SafeSoftmax(Operator):
    """Zeros for a row that is -infinity throughout."""

    computes = True

    def refusal(self, node: Node) -> str:
        return "" if rank_of(source_of(node)) else "takes a single number"

    def emit(self, builder: Builder, node: Node) -> int:
        source = source_of(node)
        value = builder.plain(source, torch.float32)
        axis = axis_of(source, int(arguments(node)["dim"]))
        lowest = builder.scalar(float("-inf"), torch.float32)
        masked = builder.binary(node, "eq", value, lowest, part="masked")
        whole = reduce(builder, node, masked, "all", [axis], True, part="whole")
        chosen = _softmax(builder, node, value, log=False, part="softmax")
        return builder.add("where", node, [whole, builder.scalar(0.0, torch.float32), chosen])


@register("aten::glu")
class Glu(Operator):
    """The first half times the sigmoid of the second."""

    def emit(self, builder: Builder, node: Node) -> int:
        source = source_of(node)
        axis = axis_of(source, int(arguments(node)["dim"]))
        half = shape_of(source)[axis] // 2
        value, end = builder.plain(source), builder.dim(half)
        first = {"axis": axis, "start": 0, "end": end, "step": 1}
        second = {"axis": axis, "start": end, "end": builder.dim(shape_of(source)[axis]), "step": 1}
        gate = builder.unary(node, "sigmoid", builder.add("slice", node, [value], second, part="second"), part="gate")
        return builder.binary(node, "mul", builder.add("slice", node, [value], first, part="first"), gate)
