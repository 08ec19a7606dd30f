"""Regions that only switch gradients or autocasting off become part of the graph around them."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import GraphModule, Node

from niwaki.lower.nodes import constant_of, is_getitem, operator_name, place_within


def inline_regions(module: GraphModule) -> None:
    """Replaces calls of nested graphs, under torch.no_grad or autocast(enabled=False), by their nodes."""
    while True:
        calls = [node for node in module.graph.nodes if _region(node) is not None]
        if not calls:
            return
        for node in calls:
            _inline(module, node)
        module.graph.eliminate_dead_code()


def _region(node: Node) -> tuple[Node, tuple[object, ...]] | None:
    """The nested graph that a node calls and its arguments, where it may become a part of this one."""
    if node.op != "call_function":
        return None
    name = operator_name(node)
    if name == "wrap_with_set_grad_enabled":
        _, graph, *rest = node.args
    elif name == "wrap_with_autocast" and node.args[2] is False:
        _, _, _, _, graph, *rest = node.args
    else:
        return None
    assert isinstance(graph, Node)
    return graph, tuple(rest)


def _inline(module: GraphModule, node: Node) -> None:
    region = _region(node)
    assert region is not None
    nested: GraphModule = constant_of(region[0])
    given = iter(region[1])
    copies: dict[Node, Any] = {}
    results: Any = ()
    with module.graph.inserting_before(node):
        for inner in nested.graph.nodes:
            if inner.op == "placeholder":
                copies[inner] = next(given)
            elif inner.op == "output":
                results = torch.fx.node.map_arg(inner.args[0], lambda source: copies[source])
            else:
                copy = module.graph.node_copy(inner, lambda source: copies[source])
                if inner.op == "get_attr":
                    name = f"_{region[0].target}_{inner.target}".replace(".", "_")
                    setattr(module, name, constant_of(inner))
                    copy.target = name
                place_within(copy, node)
                copy.meta.update(inner.meta)
                copies[inner] = copy
    parts: Any = results if isinstance(results, (tuple, list)) else (results,)
    for user in list(node.users):
        if is_getitem(user):
            user.replace_all_uses_with(parts[user.args[1]])
            module.graph.erase_node(user)
