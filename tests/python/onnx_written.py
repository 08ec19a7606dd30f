"""What the tests of niwaki.to_onnx share: graphs of the core beside ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from niwaki import _core

_OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b, "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
}  # fmt: skip


def evaluated(tree: Any, sizes: Sequence[Any], *, extremes: Any = None) -> Any:
    """A size of `_core.Graph.nodes(trees=True)` for free sizes, which are numbers or, with `extremes`, Dims."""
    if not isinstance(tree, tuple):
        return tree
    if tree[0] == "size":
        return sizes[tree[1]]
    left, right = (evaluated(each, sizes, extremes=extremes) for each in tree[1:])
    if tree[0] in ("min", "max"):
        return getattr(extremes, tree[0])(left, right) if extremes else {"min": min, "max": max}[tree[0]](left, right)
    return _OPERATIONS[tree[0]](left, right)


def rebuilt(graph: _core.Graph, left_out: Collection[str] = ()) -> _core.Graph:
    """The graph without nodes of some operators or names and what follows; states are inputs, ends are outputs."""
    made = _core.Graph()
    sizes = [made.add_size(each["name"], each["low"], each["high"], each["hint"]) for each in graph.sizes]
    values = graph.values()
    numbers: dict[int, int] = {}

    def dims(trees: Sequence[Any]) -> list[Any]:
        return [evaluated(tree, sizes, extremes=_core.Dim) for tree in trees]

    for port in graph.input_ports:
        numbers[port["value"]] = made.add_input(port["name"], port["dtype"], dims(values[port["value"]]["dims"]))
    first = len(numbers)
    for number, state in enumerate(graph.states, first):
        numbers[number] = made.add_input(state["name"], state["dtype"], list(state["shape"]))
    unread: dict[int, tuple[str, bool]] = {}  # name, and whether it is uint8
    for place, node in enumerate(graph.nodes(trees=True)):
        if {node["op"], node["name"]} & set(left_out) or not all(
            value in numbers or value < 0 for value in node["inputs"]
        ):
            continue
        attributes = {
            name: value if isinstance(value, str) else [evaluated(each, sizes, extremes=_core.Dim) for each in value]
            for name, value in node["attributes"].items()
        }
        tensors = {name: graph.tensor(place, name) for name in node["tensors"]}
        inputs = [value if value < 0 else numbers[value] for value in node["inputs"]]
        outputs = made.add_node(node["op"], node["name"], inputs, attributes, tensors, node["quantizations"])
        for value in inputs:
            unread.pop(value, None)
        for index, (old, new) in enumerate(zip(node["outputs"], outputs, strict=True)):
            numbers[old] = new
            unread[new] = (f"{node['name']}.{index}", node["quantizations"][index] is not None)
    for value, (name, quantized) in unread.items():
        if quantized:
            (value,) = made.add_node("dequantize", f"{name} as float32", [value])
        made.add_output(value, name)
    return made


def inputs_of(graph: _core.Graph, sizes: Mapping[str, int], seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """Random inputs for these free sizes: normal floats, integers of 1 and 2, bools."""
    random, values = np.random.default_rng(seed), graph.values()
    numbers = [sizes[each["name"]] for each in graph.sizes]
    made = {}
    for port in graph.input_ports:
        shape = [evaluated(tree, numbers) for tree in values[port["value"]]["dims"]]
        if port["dtype"] == "float32":
            made[port["name"]] = random.standard_normal(shape).astype(np.float32)
        elif port["dtype"] == "bool":
            made[port["name"]] = random.random(shape) < 0.6
        else:
            made[port["name"]] = random.integers(1, 3, shape).astype(port["dtype"])
    return made


def core(graph: _core.Graph, given: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """The core's answers."""
    session = _core.Session(_core.Model(graph))
    arrays = [np.ascontiguousarray(given[name]) for name in graph.inputs]
    shapes = [array.shape for array in arrays]
    results = [
        np.empty(shape, port["dtype"])
        for shape, port in zip(session.output_shapes(shapes), graph.output_ports, strict=True)
    ]
    session.run([(each.ctypes.data, each.shape) for each in arrays], [each.ctypes.data for each in results])
    return dict(zip(graph.outputs, results, strict=True))


def runtime(
    model: Any, given: Mapping[str, np.ndarray[Any, Any]], optimized: str | None = None
) -> dict[str, np.ndarray[Any, Any]]:
    """ONNX Runtime's answers to a ModelProto or the path of a file; what it made of it is written as `optimized`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    if optimized is not None:
        options.optimized_model_filepath = optimized
    source = model if isinstance(model, str) else model.SerializeToString()
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    named = {each.name: given[each.name] for each in session.get_inputs()}
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(names, named), strict=True))
