"""Inputs of narrow integers, such as the bytes of pictures, become int32, which the core has."""

from __future__ import annotations

import torch
from torch.fx import GraphModule, Node

from niwaki.lower.nodes import NARROW, operator_name, overload_name, tensor_of
from niwaki.lower.operators.registry import find


def widen_inputs(module: GraphModule) -> None:
    """Widens inputs whose elements are only moved, converted and compared: what is computed in their own type wraps."""
    for node in list(module.graph.nodes):
        if node.op == "placeholder" and _is_narrow(node):
            found = _reached(node)
            for each in found or ():
                value = each.meta["val"]
                with value.fake_mode:  # a conversion would ask about sizes that are free
                    each.meta["val"] = torch.empty(value.shape, dtype=torch.int32)


def _is_narrow(node: Node) -> bool:
    value = tensor_of(node)
    return value is not None and value.dtype in NARROW


def _reached(node: Node) -> list[Node] | None:
    """The node and those that only move its elements; None where another value has its type, or its bits are read."""
    found = [node]
    for each in found:
        for user in each.users:
            if user.op != "call_function" or (operator_name(user), overload_name(user)) == ("aten::view", "dtype"):
                return None
            if _is_narrow(user):
                operator = find(user)
                if operator is None or not (operator.moves or operator.takes_part(user)):
                    return None
                found.append(user)
    return found
