"""Bounds such as ReLU go before what only moves elements, to the layer that made them, which then bounds its results.

A convolution over films is one over images between a permutation and a reshape; ReLU behind these would be a pass of
its own, and 8 bits would be spent on what it cuts off.
"""

from __future__ import annotations

from torch.fx import GraphModule, Node

from niwaki.lower.canonical.sizes import SizeNodes
from niwaki.lower.nodes import data_inputs, inherit, tensor_of
from niwaki.lower.operators import find
from niwaki.lower.operators.unary import Bound


def bounds_before_moves(module: GraphModule, sizes: SizeNodes, node: Node) -> None:
    """Where nobody else reads what lies between a bound and its maker, the bound goes to the maker."""
    operator = find(node)
    if not isinstance(operator, Bound) or operator.limits(node) is None:
        return
    before = last = data_inputs(node)[0]
    first = None
    while _moves(before):
        before, first = data_inputs(before)[0], before
    value = tensor_of(before)
    if first is None or before.op != "call_function" or len(before.users) != 1 or value is None:
        return
    if value.dtype != node.meta["val"].dtype:
        return
    with module.graph.inserting_after(before):
        bound = module.graph.node_copy(node, lambda source: before if source is last else source)
    inherit(bound, node)
    bound.meta["val"] = value
    first.replace_input_with(before, bound)
    node.replace_all_uses_with(last)
    module.graph.erase_node(node)


def _moves(node: Node) -> bool:
    operator = find(node) if node.op == "call_function" and len(node.users) == 1 else None
    return operator is not None and operator.moves and len(data_inputs(node)) == 1
