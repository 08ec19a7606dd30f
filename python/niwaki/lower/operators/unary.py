"""Functions of each element alone. Of a uint8 value they are a table of 256 entries, computed by torch itself."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.fx import Node

from niwaki.lower.builder import Builder
from niwaki.lower.nodes import arguments, constant_of, data_inputs, is_constant, tensor_of
from niwaki.lower.operators.registry import Operator, register


def emit_table(builder: Builder, node: Node) -> int:
    """Adds the functions that end at `node` as one table."""
    chain = builder.folding.chains[node]
    source = data_inputs(chain[0])[0]
    reals = builder.qparams(source).reals().to(torch.float64)
    for step in chain:
        reals = apply(step, reals)
    out = builder.qparams(node)
    # What is not a number (log of a negative one, say) has no place in uint8; it becomes the lowest, as quantize does.
    steps = np.nan_to_num(np.rint(reals.numpy() / out.scale), nan=-math.inf) + out.zero_point
    return builder.add("table", node, [source], {}, {"table": np.clip(steps, 0, 255).astype(np.uint8)})


def apply(node: Node, values: torch.Tensor) -> torch.Tensor:
    """What the node makes of other values; parameters and numbers among its arguments stay as they are."""

    def argument(source: Node) -> torch.Tensor:
        return constant_of(source).reshape(1).to(values.dtype) if is_constant(source) else values

    args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), argument)
    with torch.no_grad():
        result: torch.Tensor = node.target(*args, **kwargs)  # type: ignore[operator]
    return result.to(torch.float64)


def is_unary(node: Node) -> bool:
    """Whether everything but one tensor is a number, or a constant of one element."""
    sources = data_inputs(node)
    if len(sources) != 1:
        return False
    fixed = [source for source in node.all_input_nodes if is_constant(source)]
    return all(constant_of(source).numel() == 1 for source in fixed) and _occurrences(node, sources[0]) == 1


def _occurrences(node: Node, source: Node) -> int:
    count = 0

    def visit(found: Node) -> Node:
        nonlocal count
        count += found is source
        return found

    torch.fx.node.map_arg((node.args, node.kwargs), visit)
    return count


@register(
    "aten::abs", "aten::atan", "aten::celu", "aten::ceil", "aten::cos", "aten::elu", "aten::erf", "aten::exp",
    "aten::expm1", "aten::floor", "aten::gelu", "aten::hardshrink", "aten::hardsigmoid", "aten::hardswish",
    "aten::leaky_relu", "aten::log", "aten::log1p", "aten::log_sigmoid", "aten::mish", "aten::neg", "aten::pow",
    "aten::prelu", "aten::reciprocal", "aten::round", "aten::rsqrt", "aten::selu", "aten::sigmoid", "aten::sign",
    "aten::silu", "aten::sin", "aten::softplus", "aten::softshrink", "aten::sqrt", "aten::square", "aten::tan",
    "aten::tanh", "aten::threshold",
)  # fmt: skip
class Unary(Operator):
    def unary(self, node: Node) -> bool:
        return True

    def refusal(self, node: Node) -> str:
        return "" if is_unary(node) else "takes more than one tensor, or parameters of several elements"

    def emit(self, builder: Builder, node: Node) -> int:
        return emit_table(builder, node)


@register(
    "aten::relu", "aten::relu6", "aten::hardtanh", "aten::clamp", "aten::clamp_min", "aten::clamp_max", "aten::clip"
)
class Bound(Unary):
    """ReLU and what is like it: bounds on the operator before, where it reads that alone; else a table."""

    def limits(self, node: Node) -> tuple[float, float] | None:
        name = node.target._schema.name.split("::")[1]  # type: ignore[union-attr]
        if name in ("relu", "relu6"):
            return 0.0, 6.0 if name == "relu6" else math.inf
        given = arguments(node)
        low, high = (
            (given.get("min_val"), given.get("max_val")) if name == "hardtanh" else (given.get("min"), given.get("max"))
        )
        if isinstance(low, Node) or isinstance(high, Node):
            return None
        return -math.inf if low is None else float(low), math.inf if high is None else float(high)

    def refusal(self, node: Node) -> str:
        limits = self.limits(node)
        if limits is None:
            return super().refusal(node)
        return "" if limits[0] <= limits[1] else "has a lower bound above the upper one"

    def emit(self, builder: Builder, node: Node) -> int:
        if node not in builder.folding.bounds:
            return emit_table(builder, node)
        limits = self.limits(node)
        assert limits is not None and tensor_of(node) is not None
        qparams = builder.qparams(node)
        low, high = (qparams.quantize(limit) for limit in limits)
        return builder.add("clamp", node, [data_inputs(node)[0]], {"low": low, "high": high})
