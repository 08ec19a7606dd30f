"""A native part becomes a core graph."""

from __future__ import annotations

from collections.abc import Mapping

from torch.fx import Node

from niwaki import _core
from niwaki.lower.builder import Builder
from niwaki.lower.folding import fold
from niwaki.lower.nodes import label, origin, shape_of
from niwaki.lower.operators.registry import handler
from niwaki.lower.partition import Part
from niwaki.lower.scales import Ranges, assign_scales


def build_graph(part: Part, ranges: Ranges, output_names: Mapping[Node, str]) -> _core.Graph:
    """The core graph of a native part; its inputs and outputs are float32, in the order of the part's.

    Args:
        part: a native part.
        ranges: what calibration saw of each value.
        output_names: names of values that the caller gets; others are named after their nodes.

    Raises:
        NiwakiError: the range of a value is not known.
        ValueError: the core refuses an operator; the message names the layer.
    """
    folding = fold(part.nodes)
    builder = Builder(assign_scales(part.nodes, part.inputs, folding, ranges), folding)
    for node in part.inputs:
        shape = shape_of(node)
        value = builder.graph.add_input(origin(node), shape[1], len(shape), *shape[2:4])
        builder.values[node] = builder.add("quantize", node, [value], suffix=".quantize")
    for node in part.nodes:
        if node not in folding.inner:
            builder.values[node] = handler(node).emit(builder, node)
    for node in part.outputs:
        value = builder.values[node]
        if node not in folding.floats:
            value = builder.add("dequantize", node, [value], suffix=".dequantize")
        builder.graph.add_output(value, output_names.get(node) or label(node))
    return builder.graph
