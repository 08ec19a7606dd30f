"""Which nodes run natively, which in torch, and in which order the parts run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch.fx import GraphModule, Node

from niwaki.lower.nodes import data_inputs, is_constant, is_getitem, makes_sizes, operator_name
from niwaki.lower.operators.registry import handler, refusal

BETWEEN = "lies between parts in torch and computes too little to leave it"


@dataclass(frozen=True)
class Part:
    """Nodes that run together.

    Attributes:
        native: by niwaki, or by torch.
        nodes: in the order of the graph.
        inputs: values from outside, without parameters and buffers.
        outputs: values that other parts or the caller need.
        reasons: why nodes stay in torch, one for each kind, in order; empty for a native part.
    """

    native: bool
    nodes: tuple[Node, ...]
    inputs: tuple[Node, ...]
    outputs: tuple[Node, ...]
    reasons: tuple[str, ...] = field(default=())


def partition(module: GraphModule, why: Callable[[Node], str] = refusal) -> list[Part]:
    """The parts in an order in which they can run.

    Beside parts that stay in torch, a native one without anything that computes stays there, too: converting costs
    more.
    """
    nodes = [node for node in module.graph.nodes if node.op == "call_function" and not makes_sizes(node)]
    reasons = {node: why(node) for node in nodes}
    while any(reasons.values()):
        levels = _levels(nodes, reasons)
        idle = _idle(nodes, reasons, levels)
        if not idle:
            break
        for node in idle:
            reasons[node] = f"{operator_name(node)} {BETWEEN}"
    levels = _levels(nodes, reasons)
    return [_part([node for node in nodes if levels[node] == level], reasons) for level in sorted(set(levels.values()))]


def _levels(nodes: list[Node], reasons: Mapping[Node, str]) -> dict[Node, int]:
    """Even for native nodes, odd for torch. A level needs itself and lower ones only: so there are no cycles."""
    levels: dict[Node, int] = {}
    for node in nodes:
        parity = 1 if reasons[node] else 0
        level = parity
        for source in data_inputs(node):
            if source in levels:
                level = max(level, levels[source] + (levels[source] % 2 != parity))
        levels[node] = level
    return levels


def _idle(nodes: list[Node], reasons: Mapping[Node, str], levels: Mapping[Node, int]) -> list[Node]:
    """Native nodes that are connected, within their level, to nothing that computes."""
    parent: dict[Node, Node] = {}

    def find(node: Node) -> Node:
        while parent.setdefault(node, node) is not node:
            node = parent[node]
        return node

    native = [node for node in nodes if not reasons[node]]
    for node in native:
        for source in data_inputs(node):
            if levels.get(source) == levels[node]:
                parent[find(source)] = find(node)
    computing = {find(node) for node in native if not is_getitem(node) and handler(node).computes}
    return [node for node in native if find(node) not in computing]


def _part(nodes: list[Node], reasons: Mapping[Node, str]) -> Part:
    inside = set(nodes)
    inputs = dict.fromkeys(source for node in nodes for source in data_inputs(node) if source not in inside)
    outputs = [node for node in nodes if any(not _reads_inside(user, inside) for user in node.users)]
    why = dict.fromkeys(reasons[node] for node in nodes if reasons[node])
    return Part(not why, tuple(nodes), tuple(inputs), tuple(outputs), tuple(why))


def _reads_inside(user: Node, inside: set[Node]) -> bool:
    """Whether a reader belongs to the part, or asks for the size of a value alone."""
    return user in inside or makes_sizes(user) or is_constant(user)
