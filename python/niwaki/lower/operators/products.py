"""Products of matrices, and attention."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.fx import Node

from niwaki.lower.builder import Builder
from niwaki.lower.nodes import NAN_ROWS, arguments, dtype_of, operator_name, parts_read, rank_of, shape_of
from niwaki.lower.operators.registry import Operator, register


def matmul(builder: Builder, node: Node, a: int, b: int, part: str = "", *, transposed: bool = False) -> int:
    """a b, or a b' where b is [.., N, K]."""
    return builder.add("matmul", node, [a, b], {"transpose_b": int(transposed)}, part=part)


def _floats(node: Node) -> str:
    return "" if dtype_of(node) == torch.float32 else f"multiplies {dtype_of(node)}"


@register("aten::matmul", "aten::mm", "aten::bmm", "aten::mv", "aten::dot", "aten::linalg_matmul")
class MatMul(Operator):
    computes = True

    def refusal(self, node: Node) -> str:
        return _floats(node)

    @staticmethod
    def _sides(node: Node) -> list[Node]:
        return [side for side in list(arguments(node).values())[:2] if isinstance(side, Node)]

    def emit(self, builder: Builder, node: Node) -> int:
        a, b = (builder.plain(side) for side in self._sides(node))
        return matmul(builder, node, a, b)


@register("aten::addmm", "aten::baddbmm", "aten::addmv")
class AddMatMul(Operator):
    """beta * added + alpha * a b."""

    computes = True

    def refusal(self, node: Node) -> str:
        return _floats(node)

    def emit(self, builder: Builder, node: Node) -> int:
        given = arguments(node)
        added, a, b = (builder.plain(side) for side in node.args[:3] if isinstance(side, Node))
        value = matmul(builder, node, a, b, part="product")
        if given["alpha"] != 1:
            value = builder.binary(node, "mul", value, builder.scalar(given["alpha"], torch.float32), part="alpha")
        if given["beta"] == 0:
            return value
        if given["beta"] != 1:
            added = builder.binary(node, "mul", added, builder.scalar(given["beta"], torch.float32), part="beta")
        return builder.binary(node, "add", value, added)


@register("aten::linear")
class Linear(Operator):
    """A linear layer of float32."""

    computes = True

    def emit(self, builder: Builder, node: Node) -> int:
        given = arguments(node)
        x, weight = builder.plain(given["input"]), builder.plain(given["weight"])
        bias = given.get("bias")
        part = "" if bias is None else "product"
        value = matmul(builder, node, x, weight, part, transposed=rank_of(given["weight"]) == 2)
        return value if bias is None else builder.binary(node, "add", value, builder.plain(bias))


_ATTENTIONS = {
    "scaled_dot_product_attention": "attn_mask",
    "_scaled_dot_product_flash_attention_for_cpu": "attn_mask",
    "_scaled_dot_product_efficient_attention": "attn_bias",
    "_scaled_dot_product_flash_attention": "",
    "_scaled_dot_product_attention_math": "attn_mask",
    "_scaled_dot_product_fused_attention_overrideable": "attn_bias",
}


def is_attention(node: Node) -> bool:
    """Whether a node is a call of scaled_dot_product_attention in one of its forms."""
    return node.op == "call_function" and operator_name(node).removeprefix("aten::") in _ATTENTIONS


@register(*(f"aten::{name}" for name in _ATTENTIONS))
class Attention(Operator):
    computes = True

    def refusal(self, node: Node) -> str:
        given = arguments(node)
        if given.get("dropout_p"):
            return "drops out"
        if operator_name(node) != "aten::scaled_dot_product_attention" and set(parts_read(node)) - {0}:
            return "is asked for what only training needs"
        if not isinstance(given.get("scale"), (int, float, type(None))):
            return "takes a scale that it computes"
        return "" if rank_of(given["query"]) >= 2 else "takes vectors"

    def emit(self, builder: Builder, node: Node) -> int | list[int]:
        attributes: dict[str, Any]
        given = arguments(node)
        query, key, value = (given[name] for name in ("query", "key", "value"))
        name = operator_name(node).removeprefix("aten::")
        features, scale = shape_of(query)[-1], given.get("scale")
        inputs = [builder.plain(query)]
        if scale is None and isinstance(features, int):
            scale = 1 / math.sqrt(features)
        elif scale is None:
            root = builder.unary(node, "rsqrt", builder.operand(node, features, torch.float32), part="scale")
            inputs, scale = [builder.binary(node, "mul", inputs[0], root, part="scaled")], 1.0
        inputs += [self._heads(builder, node, source, query, bool(given.get("enable_gqa"))) for source in (key, value)]
        mask = given.get(_ATTENTIONS[name])
        if mask is not None:
            inputs.append(builder.plain(mask))
        attributes = {"causal": int(bool(given.get("is_causal"))), "scale": float(scale)}
        if node in builder.types.attentions:
            attributes["precision"] = "int8"
        if node.meta.get(NAN_ROWS):
            attributes["nan_rows"] = 1
        result = builder.add("attention", node, inputs, attributes)
        return result if name == "scaled_dot_product_attention" else [result]

    @staticmethod
    def _heads(builder: Builder, node: Node, source: Node, query: Node, grouped: bool) -> int:
        """Keys or values, each head as often as several heads of queries share it."""
        value = builder.plain(source)
        shape: list[Any] = shape_of(source)
        if not grouped or rank_of(source) < 3:
            return value
        heads, wanted = shape[-3], shape_of(query)[-3]
        if isinstance(heads, int) and isinstance(wanted, int) and heads == wanted:
            return value
        times = wanted // heads
        value = builder.reshape(node, value, [*shape[:-2], 1, *shape[-2:]], part="heads")
        wide = builder.dims([*shape[:-2], times, *shape[-2:]])
        value = builder.add("expand", node, [value], {"shape": wide}, part="shared")
        return builder.reshape(node, value, [*shape[:-3], wanted, *shape[-2:]], part="repeated")
