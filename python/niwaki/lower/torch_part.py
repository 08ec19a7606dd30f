"""A part that stays in torch becomes a module of its own."""

from __future__ import annotations

from typing import Any

from torch.fx import Graph, GraphModule, Node

from niwaki.lower.canonical import SizeNodes
from niwaki.lower.nodes import makes_sizes
from niwaki.lower.partition import Part


def build_module(part: Part, inputs: list[Node], source: GraphModule) -> GraphModule:
    """A module that takes `inputs` and returns a tuple of the part's outputs. Parameters are shared with `source`.

    Sizes are computed from the shapes of the inputs, so that the module runs at any.
    """
    graph = Graph()
    copies: dict[Node, Any] = {}
    for node in inputs:
        copies[node] = graph.placeholder(node.name)
        copies[node].meta["val"] = node.meta["val"]
    sizes = SizeNodes(graph, [copies[node] for node in inputs])

    def copy(node: Node) -> Any:
        if node not in copies:
            if makes_sizes(node) and sizes.knows(node.meta["val"]):
                copies[node] = sizes.make(node.meta["val"])
            else:
                copies[node] = graph.node_copy(node, copy)
        return copies[node]

    for node in part.nodes:
        for each in node.all_input_nodes:
            copy(each)
        copy(node)
    graph.output(tuple(copies[node] for node in part.outputs))
    return GraphModule(source, graph)
