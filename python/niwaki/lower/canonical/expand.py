"""Operators that niwaki does not know become those that torch composes them of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.fx import GraphModule, Node

from niwaki.capture.memory import is_mutable
from niwaki.lower.canonical import antialias, compositions, gamma, matrices, norms
from niwaki.lower.canonical.tracing import decompositions, inserted, traced
from niwaki.lower.nodes import inherit, is_getitem, makes_sizes
from niwaki.lower.operators.registry import refusal

DECOMPOSITIONS = {
    target: rule
    for family in (antialias, compositions, gamma, matrices, norms)
    for target, rule in family.DECOMPOSITIONS.items()
}


def expand(module: GraphModule) -> None:
    """Replaces nodes that would stay in torch by what they are composed of, where all of that is native."""
    table = decompositions()
    for node in list(module.graph.nodes):
        if node.op == "call_function" and not makes_sizes(node) and not is_getitem(node) and refusal(node):
            pieces = pieces_of(node, table)
            if pieces is not None and not any(refusal(piece) for piece in pieces.graph.nodes if _computes(piece)):
                replace(module, node, pieces)
    module.graph.eliminate_dead_code()


def _computes(node: Node) -> bool:
    return node.op == "call_function" and not makes_sizes(node)


def pieces_of(node: Node, table: dict[Any, Any], rule: Callable[..., Any] | None = None) -> GraphModule | None:
    """What the node is composed of, by a rule or by torch, as a graph of the nodes that it reads.

    None where nobody says, or where it is not known for these sizes.
    """
    target = node.target
    if not isinstance(target, torch._ops.OpOverload) or is_mutable(node):
        return None
    rule = rule or DECOMPOSITIONS.get(target)
    if (
        rule is None
        and target not in table
        and not torch._C._dispatch_has_kernel_for_dispatch_key(target.name(), "CompositeImplicitAutograd")
    ):
        return None
    sources = node.all_input_nodes
    made = rule or target

    def call(*given: Any) -> Any:
        stand_in = dict(zip(sources, given, strict=True))
        args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), lambda source: stand_in[source])
        return made(*args, **kwargs)

    return traced(call, node, sources, table)


def replace(module: GraphModule, node: Node, pieces: GraphModule) -> None:
    """Readers of the node read what the pieces make."""
    results = inserted(module, node, node.all_input_nodes, pieces)
    if isinstance(results, Node):
        if results not in node.all_input_nodes and results.op == "call_function":
            inherit(results, node)
        node.replace_all_uses_with(results)
    else:
        for user in list(node.users):
            result = results[user.args[1]]
            if result not in node.all_input_nodes and result.op == "call_function":
                inherit(result, user)
            user.replace_all_uses_with(result)
            module.graph.erase_node(user)
    module.graph.erase_node(node)
