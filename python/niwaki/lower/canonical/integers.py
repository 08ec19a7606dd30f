"""Integers of eight bits are moved and converted as they are, and computed with as int32; 16 bits are int32."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import GraphModule, Node

from niwaki.lower.nodes import (
    BYTES,
    arguments,
    is_getitem,
    operator_name,
    overload_name,
    place_within,
    rank_of,
    short_name,
    tensor_of,
    tensor_operands,
)
from niwaki.lower.operators.registry import find

# What is the same modulo 256 whatever lies beyond the eight bits.
_MODULAR = {
    "add",
    "sub",
    "subtract",
    "rsub",
    "mul",
    "multiply",
    "neg",
    "negative",
    "square",
    "cumsum",
    "cumprod",
    "pow",
}
# What int32 gives the same of numbers that eight bits hold; the result is then cut to eight bits, as torch has it.
_WIDENED = _MODULAR | {
    "abs", "absolute", "sign", "sgn", "relu", "clamp", "clamp_min", "clamp_max", "clip", "maximum", "minimum", "max",
    "min", "amax", "amin", "argmax", "argmin", "eq", "ne", "lt", "le", "gt", "ge", "div", "divide", "true_divide",
    "floor_divide", "remainder", "fmod", "sum", "prod", "any", "all", "count_nonzero", "logical_and", "logical_or",
    "logical_xor", "logical_not", "sort", "argsort", "topk", "scatter", "full", "full_like", "new_full", "zeros",
    "zeros_like", "new_zeros", "ones", "ones_like", "new_ones", "arange", "fill", "zero", "tril", "triu", "diagonal",
    "unfold", "index_put", "slice_scatter", "select_scatter",
}  # fmt: skip
_NUMBERS = ("self", "other", "min", "max", "value", "fill_value")
"""Arguments that torch takes as one of the eight-bit integers where they are integers."""


def widen_inputs(module: GraphModule) -> None:
    """Makes int32 of inputs of int16 whose elements are only moved, converted and compared: others would wrap."""
    for node in list(module.graph.nodes):
        if node.op == "placeholder" and _dtype(node) == torch.int16:
            for each in _reached(node) or ():
                _set_type(each, torch.int32)


def widen_bytes(module: GraphModule) -> None:
    """Lets what computes with integers of eight bits compute in int32, and cuts its results to eight bits."""
    for node in list(module.graph.nodes):
        if node.op == "call_function" and not is_getitem(node) and _is_widened(node):
            _widen(node)


def _dtype(node: Node) -> torch.dtype | None:
    value = tensor_of(node)
    return None if value is None else value.dtype


def _set_type(node: Node, dtype: torch.dtype) -> None:
    value = node.meta["val"]
    with value.fake_mode:  # a conversion would ask about sizes that are free
        node.meta["val"] = torch.empty(value.shape, dtype=dtype)


def _reached(node: Node) -> list[Node] | None:
    """The node and those that only move its elements; None where another value has its type, or its bits are read."""
    found = [node]
    for each in found:
        for user in each.users:
            if user.op != "call_function" or (operator_name(user), overload_name(user)) == ("aten::view", "dtype"):
                return None
            if _dtype(user) == torch.int16:
                operator = find(user)
                if operator is None or not (operator.moves or operator.takes_part(user)):
                    return None
                found.append(user)
    return found


def _is_widened(node: Node) -> bool:
    operator, name = find(node), short_name(node)
    if operator is None or operator.any_type(node) or name not in _WIDENED:
        return False
    operands = tensor_operands(node)
    narrow = {_dtype(each) for each in operands if _dtype(each) in BYTES} | ({node.kwargs.get("dtype")} & {*BYTES})
    if not narrow or name in _MODULAR:
        return bool(narrow)
    # torch cuts other numbers to eight bits before it compares with them, or divides by them.
    limits = [torch.iinfo(dtype) for dtype in narrow if isinstance(dtype, torch.dtype)]
    numbers = [value for key, value in arguments(node).items() if key in _NUMBERS and _is_integer(value)]
    fits = all(limit.min <= number <= limit.max for limit in limits for number in numbers)
    return fits and len(narrow) == 1 and all(_dtype(each) in BYTES or rank_of(each) for each in operands)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _widen(node: Node) -> None:
    for source in dict.fromkeys(tensor_operands(node)):
        if _dtype(source) in BYTES:
            with node.graph.inserting_before(node):
                node.replace_input_with(source, _converted(source, torch.int32, node))
    if node.kwargs.get("dtype") in BYTES:
        node.update_kwarg("dtype", torch.int32)
    made = [node]
    if tensor_of(node) is None:  # it makes several
        made = [user for user in node.users if is_getitem(user)]
        values = node.meta["val"]
        with values[0].fake_mode:
            node.meta["val"] = [
                torch.empty(each.shape, dtype=torch.int32) if each.dtype in BYTES else each for each in values
            ]
    for each in made:
        dtype = _dtype(each)
        if dtype in BYTES:
            _set_type(each, torch.int32)
            with node.graph.inserting_after(each):
                cut = _converted(each, dtype, node)
            each.replace_all_uses_with(cut)
            cut.replace_input_with(cut, each)  # which was replaced, too


def _converted(node: Node, dtype: torch.dtype | None, place: Node) -> Node:
    made = node.graph.call_function(torch.ops.aten._to_copy.default, (node,), {"dtype": dtype})
    made.meta["val"] = node.meta["val"]
    _set_type(made, dtype)  # type: ignore[arg-type]
    place_within(made, place)
    return made
