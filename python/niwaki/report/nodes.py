"""The graph of a compressed network, as a list that a report keeps and a page draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from niwaki import _core
    from niwaki.runtime.network import Network


@dataclass(frozen=True)
class GraphNode:
    """A step of a network's graph.

    Attributes:
        name: of the layer that it is, or is a part of; of an input or output its name.
        op: what it computes; "input" and "output" at the ends.
        sources: the nodes that it reads, by their place in the list, each smaller than its own.
        detail: dtype and shape, in words.
    """

    name: str
    op: str
    sources: tuple[int, ...] = ()
    detail: str = ""


def nodes_of(network: Network | None) -> tuple[GraphNode, ...]:
    """The graph of a network that is native as a whole; nothing of others, or of several entry points."""
    graphs: tuple[Any, ...] = getattr(network, "_graphs", ())
    if len(graphs) != 1 or graphs[0] is None or (network is not None and network.entries):
        return ()
    return _nodes(graphs[0])


def _nodes(graph: _core.Graph) -> tuple[GraphNode, ...]:
    made: dict[int, int] = {}
    nodes: list[GraphNode] = []

    def add(node: GraphNode, values: list[int]) -> None:
        made.update(dict.fromkeys(values, len(nodes)))
        nodes.append(node)

    for port in graph.input_ports:
        dims = ", ".join(map(str, port["dims"]))
        add(GraphNode(port["name"], "input", (), f"{port['dtype']} [{dims}]"), [port["value"]])
    for node in graph.nodes():
        sources = tuple(dict.fromkeys(made[value] for value in node["inputs"] if value in made))
        weight = node["tensors"].get("weight")
        shape = "" if weight is None else f", {weight['dtype']} {' x '.join(map(str, weight['shape']))}"
        add(GraphNode(node["name"], node["op"], sources, f"{node['dtypes'][0]}{shape}"), list(node["outputs"]))
    for port in graph.output_ports:
        sources = (made[port["value"]],) if port["value"] in made else ()
        add(GraphNode(port["name"], "output", sources, ""), [])
    return tuple(nodes)
