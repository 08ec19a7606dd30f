"""A part that stays in torch becomes a module of its own."""

from __future__ import annotations

import torch
from torch.fx import Graph, GraphModule, Node

from niwaki.lower.nodes import arguments, operator_name
from niwaki.lower.partition import Part

# Arguments that hold sizes, which capture has written down as numbers.
_SIZES = {
    "aten::view": "size", "aten::reshape": "shape", "aten::_unsafe_view": "size", "aten::expand": "size",
    "aten::zeros": "size", "aten::ones": "size", "aten::full": "size", "aten::empty": "size", "aten::rand": "size",
    "aten::randn": "size", "aten::new_zeros": "size", "aten::new_ones": "size", "aten::new_full": "size",
    "aten::new_empty": "size", "aten::as_strided": "size", "aten::unflatten": "sizes", "aten::arange": "end",
    "aten::split_with_sizes": "split_sizes", "aten::narrow": "length",
}  # fmt: skip


def build_module(part: Part, source: GraphModule) -> GraphModule:
    """A module that takes the part's inputs and returns a tuple of its outputs. Parameters are shared with `source`."""
    graph = Graph()
    copies: dict[Node, Node] = {node: graph.placeholder(node.name) for node in part.inputs}
    for node in part.nodes:
        for constant in node.all_input_nodes:
            if constant.op == "get_attr" and constant not in copies:
                copies[constant] = graph.node_copy(constant)
        copies[node] = graph.node_copy(node, lambda other: copies[other])
        if node.target is torch.ops.aten.view.default:
            # Copies that only made a tensor contiguous are gone from the graph.
            copies[node].target = torch.ops.aten.reshape.default
    graph.output(tuple(copies[node] for node in part.outputs))
    return GraphModule(source, graph)


def sized_operator(part: Part) -> str:
    """The first operator with sizes in its arguments that may be those of the captured inputs, or nothing."""
    for node in part.nodes:
        name = operator_name(node)
        if name in _SIZES:
            sizes = arguments(node).get(_SIZES[name])
            for size in sizes if isinstance(sizes, (list, tuple)) else [sizes]:
                if size not in (-1, 0, 1):
                    return name
    return ""
