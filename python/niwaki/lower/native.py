"""A native part becomes a core graph."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from torch.fx import Node

from niwaki import _core
from niwaki.capture import Captured
from niwaki.capture.settings import hint
from niwaki.errors import NiwakiError
from niwaki.lower.builder import Builder
from niwaki.lower.dims import SizeMap
from niwaki.lower.nodes import DTYPES, data_inputs, dtype_of, is_getitem, label, origin, shape_of
from niwaki.lower.numbers import emit_number
from niwaki.lower.operators.registry import handler
from niwaki.lower.partition import Part
from niwaki.lower.types import Ranges, assign


def build_graph(
    part: Part,
    captured: Captured,
    ranges: Ranges,
    output_names: Mapping[Node, str],
    *,
    floats: Collection[str] = (),
    attentions: Collection[str] = (),
    graph: _core.Graph | None = None,
) -> _core.Graph:
    """The core graph of a native part; its inputs and outputs are plain, in the order of the part's.

    Args:
        part: a native part.
        captured: whose free sizes and guards the graph has.
        ranges: what calibration saw of each value.
        output_names: names of values that the caller gets; others are named after their nodes.
        floats: names of values that stay float32; see niwaki.lower.types.
        attentions: names of those whose products are in 8 bits.
        graph: an empty one to add to; a new one by default.

    Raises:
        NiwakiError: the range of a value is not known.
        ValueError: the core refuses an operator; the message names the layer.
    """
    graph = _core.Graph() if graph is None else graph
    sizes = SizeMap(graph, captured)
    types = assign(part.nodes, ranges, floats, attentions)
    builder = Builder(graph, sizes, types, _emit, emit_number)
    for node in part.inputs:
        name = str(node.target) if node.op == "placeholder" else origin(node)
        builder.set(node, graph.add_input(name, DTYPES[dtype_of(node)], builder.dims(shape_of(node))))
    inner = types.inner
    for node in part.nodes:
        if node not in inner and data_inputs(node):  # what depends on sizes alone waits until somebody reads it
            builder.made(node)
    for node in part.outputs:
        graph.add_output(builder.plain(node), output_names.get(node) or label(node))
    _check_shapes(part, graph)
    return graph


def _check_shapes(part: Part, graph: _core.Graph) -> None:
    """Whatever is misunderstood on the way shows in the shapes of the example, and is no answer."""
    found = graph.infer([_example(node) for node in part.inputs])
    for node, shape in zip(part.outputs, found, strict=True):
        if _example(node) != tuple(shape):
            raise NiwakiError(
                f"{label(node)} has the shape {list(shape)} in niwaki's graph and {list(_example(node))} in torch's. "
                "This is a fault of niwaki; please report it."
            )


def _example(node: Node) -> tuple[int, ...]:
    return tuple(hint(size) for size in shape_of(node))


def _emit(builder: Builder, node: Node) -> None:
    if is_getitem(node):
        source, index = node.args
        assert isinstance(source, Node) and isinstance(index, int)
        builder.set(node, builder.made(source, index))
        return
    operator = handler(node)
    made = operator.emit_u8(builder, node) if node in builder.types.quantized else operator.emit(builder, node)
    builder.set(node, *(made if isinstance(made, Sequence) else [made]))
