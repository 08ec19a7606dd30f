"""From a core graph to an ONNX model."""

from __future__ import annotations

from collections import Counter
from typing import Any

from onnx import helper

from niwaki import _core
from niwaki._version import __version__
from niwaki.errors import NiwakiError
from niwaki.onnx_file import operators  # noqa: F401 (fills the table)
from niwaki.onnx_file.checks import checked_inputs
from niwaki.onnx_file.registry import Attributes, Inputs, Node, Refusal, find
from niwaki.onnx_file.writer import Writer, port

OPSET = 20
_IR_VERSION = 9


def to_model(graph: _core.Graph, source: str = "network", *, runtime: str = "onnxruntime") -> Any:
    """The onnx.ModelProto of a core graph, for "onnxruntime" or "openvino"; see niwaki.to_onnx.

    Raises:
        NiwakiError: a layer cannot be written; names all that cannot.
    """
    if graph.states:
        raise NiwakiError(
            f"{source} keeps states from call to call, which an ONNX file has no place for; write the network itself, "
            "not its stream."
        )
    writer = Writer(graph, with_integers=runtime == "onnxruntime")
    inputs = [port(writer, each["name"], writer.values[each["value"]]) for each in graph.input_ports]
    for each in (*graph.input_ports, *graph.output_ports):
        writer.reserve(each["name"])
    for each in graph.input_ports:
        writer.set(each["value"], each["name"])
    writer.begin("inputs")
    if runtime == "onnxruntime":
        checked_inputs(writer)
    _write_nodes(writer, graph, source)
    outputs = [port(writer, each["name"], writer.values[each["value"]]) for each in graph.output_ports]
    nodes = _named_outputs(writer, graph)
    made = helper.make_graph(nodes, source or "network", inputs, outputs, writer.initializers)
    _drop_unused(made)
    model = helper.make_model(
        made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=_IR_VERSION, producer_name="niwaki",
        producer_version=__version__,
    )  # fmt: skip
    images = {name: text for name, text in graph.metadata.items() if name.startswith("image.")}
    helper.set_model_props(model, images)
    return model


def _write_nodes(writer: Writer, graph: _core.Graph, source: str) -> None:
    problems: dict[str, list[str]] = {}
    for number, entry in enumerate(graph.nodes(trees=True)):
        node = Node(
            number, entry["op"], entry["name"], Inputs(entry["inputs"]), tuple(entry["outputs"]),
            Attributes(entry["attributes"]), frozenset(entry["tensors"]),
        )  # fmt: skip
        function = find(node.op)
        writer.begin(node.name)
        try:
            if function is None:
                raise Refusal(f"ONNX has no operator like {node.op}")
            function(writer, node)
            if node.leftover():
                raise Refusal(node.leftover())
        except Refusal as refusal:
            problems.setdefault(str(refusal), []).append(node.name)
            for output in node.outputs:  # so that what comes after is looked at, too
                writer.replace(output, "refused")
    if problems:
        told = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in problems.items())
        raise NiwakiError(f"{source} cannot be written as an ONNX file: {told}.")


def _named_outputs(writer: Writer, graph: _core.Graph) -> list[Any]:
    """The nodes, in which what is an output has its name; an Identity makes those that are inputs, or several."""
    made_by_nodes = {name for node in writer.nodes for name in node.output}
    renamed: dict[str, str] = {}
    more = []
    for each in graph.output_ports:
        name = writer.plain(each["value"])
        if name in made_by_nodes and name not in renamed:
            renamed[name] = each["name"]
        else:
            more.append((name, each["name"]))
    for node in writer.nodes:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                names[index] = renamed.get(name, name)
    extra = [helper.make_node("Identity", [renamed.get(name, name)], [to], name=f"{to}/Identity") for name, to in more]
    return [*writer.nodes, *extra]


def _drop_unused(graph: Any) -> None:
    """Takes nodes and tensors away that nothing reads."""
    uses = Counter(name for node in graph.node for name in node.input)
    uses.update(output.name for output in graph.output)
    kept = []
    for node in reversed(graph.node):
        if any(uses[name] for name in node.output):
            kept.append(node)
        else:
            uses.subtract(node.input)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    tensors = [tensor for tensor in graph.initializer if uses[tensor.name]]
    del graph.initializer[:]
    graph.initializer.extend(tensors)
