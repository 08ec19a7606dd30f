"""What needs no value of its own inside a native part: what a ReLU bounds, tables in a row, float32 results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch.fx import Node

from niwaki.lower.nodes import data_inputs
from niwaki.lower.operators.registry import handler


@dataclass(frozen=True)
class Folding:
    """
    Attributes:
        bounded: the producer of a value that only a ReLU, or a bound like it, reads -> that bound. Both have one scale.
        chains: the last of several functions of one element in a row -> all of them, in order.
        inner: the others of those functions; they need no value.
        floats: nodes whose results all leave the part, and that make float32 themselves.
    """

    bounded: dict[Node, Node]
    chains: dict[Node, tuple[Node, ...]]
    inner: frozenset[Node]
    floats: frozenset[Node]

    @property
    def bounds(self) -> frozenset[Node]:
        """The nodes that bound the one before them."""
        return frozenset(self.bounded.values())


def fold(nodes: Sequence[Node]) -> Folding:
    """Decides for the nodes of one native part, given in the order of the graph."""
    inside = set(nodes)
    floats = frozenset(
        node for node in nodes if handler(node).makes_float(node) and not any(user in inside for user in node.users)
    )
    bounded: dict[Node, Node] = {}
    for node in nodes:
        if handler(node).limits(node) is not None:
            source = data_inputs(node)[0]
            if source in inside and _takes_bounds(source) and len(source.users) == 1:
                bounded[source] = node
    bounds = set(bounded.values())
    chains: dict[Node, tuple[Node, ...]] = {}
    inner: set[Node] = set()
    for node in nodes:
        if node in bounds or not handler(node).unary(node):
            continue
        source = data_inputs(node)[0]
        before = chains.get(source, ())
        if before and len(source.users) == 1:
            inner.add(source)
        else:
            before = ()
        chains[node] = (*before, node)
    return Folding(
        bounded, {node: chain for node, chain in chains.items() if node not in inner}, frozenset(inner), floats
    )


def _takes_bounds(node: Node) -> bool:
    return handler(node).bounds and not handler(node).unary(node)
