"""From a compressed module to the stages that run it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from niwaki import _core
from niwaki.capture import Captured
from niwaki.errors import NiwakiError
from niwaki.lower.canonical import canonicalize
from niwaki.lower.dims import SizeMap
from niwaki.lower.grids import GridRanges, is_grid
from niwaki.lower.native import build_graph
from niwaki.lower.nodes import (
    DTYPES,
    dtype_of,
    inherit,
    is_constant,
    is_getitem,
    is_tensor,
    label,
    makes_sizes,
    module_path,
    name_nodes,
    operator_name,
    short_name,
    values_of,
)
from niwaki.lower.numbers import check_number
from niwaki.lower.operators.registry import refusal
from niwaki.lower.partition import Part, partition
from niwaki.lower.torch_part import build_module
from niwaki.lower.types import Ranges
from niwaki.runtime.structure import Slot, Structure, UndescribableError, describe


@dataclass(frozen=True)
class NativeStage:
    """A part that niwaki runs: reads and writes the values with these numbers."""

    graph: _core.Graph
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class TorchStage:
    """A part that stays in torch.

    Attributes:
        module: takes the inputs and returns a tuple of the outputs, at any size.
        inputs, outputs: numbers of values.
        name: the modules it lies in.
        op: its operators.
        reasons: why they stay, one for each kind.
        bytes: of its parameters and buffers.
    """

    module: GraphModule
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    name: str
    op: str
    reasons: tuple[str, ...]
    bytes: int


@dataclass(frozen=True)
class Program:
    """Stages in the order in which they run. Values have numbers: the inputs come first.

    Attributes:
        stages: of the two kinds.
        results: the values that become the results.
        result_names: of these.
        result: how the results are nested; None where a type is involved that has no description.
        result_spec: the same for torch's pytree.
        result_leaves: its leaves: Slots, or constants.
        result_type: the type that has no description, if any.
        values: how many there are.
        input_dtypes: of the inputs, as the stages take them.
    """

    stages: tuple[NativeStage | TorchStage, ...]
    results: tuple[int, ...]
    result_names: tuple[str, ...]
    result: Structure | None
    result_spec: pytree.TreeSpec
    result_leaves: tuple[Any, ...]
    result_type: str
    values: int
    input_dtypes: tuple[torch.dtype, ...]


def build_program(captured: Captured, ranges: Ranges, source: str) -> Program:
    """Lowers a captured module.

    Args:
        captured: what `niwaki.capture` made of a module.
        ranges: what calibration saw of each value; `floats` of it stay float32, `attentions` multiply codes of 8 bits.
        source: the name of the module's class, for messages.

    Raises:
        NiwakiError: a range is not known, or the network returns what no network can.
    """
    module = captured.program()
    name_nodes(module)
    canonicalize(module)
    inputs = [node for node in module.graph.nodes if node.op == "placeholder" and is_tensor(node)]
    for node, info in zip(inputs, captured.inputs, strict=True):
        node.target = info.name  # an argument that is called as a builtin of Python, "input", has become "input_1"
    leaves, returned = _results(module, inputs, source)
    parts = partition(module, _refusals(captured))
    names = _result_names(returned)
    numbers = {node: number for number, node in enumerate(inputs)}
    floats, attentions = (frozenset(getattr(ranges, name, ())) for name in ("floats", "attentions"))
    calls = [node for node in module.graph.nodes if node.op == "call_function"]
    if any(map(is_grid, calls)):
        ranges = GridRanges(calls, ranges)
    stages: list[NativeStage | TorchStage] = []
    if len(parts) == 1:  # in a file, the graph's outputs are the network's, in the same order
        parts = [dataclasses.replace(part, outputs=tuple(sorted(part.outputs, key=returned.index))) for part in parts]
    for part in parts:
        for node in part.outputs:
            numbers[node] = len(numbers)
        given = _with_inputs(part, inputs, whole=len(parts) == 1)
        ins, outs = tuple(numbers[node] for node in given.inputs), tuple(numbers[node] for node in part.outputs)
        if part.native:
            graph = build_graph(given, captured, ranges, names, floats=floats, attentions=attentions)
            stages.append(NativeStage(graph, ins, outs))
        else:
            stages.append(_torch_stage(given, module, ins, outs))

    spec = captured.result_spec
    result: Structure | None = None
    result_type = ""
    try:
        result = describe(pytree.tree_unflatten(leaves, spec))
    except UndescribableError as error:
        result_type = str(error)
    return Program(
        stages=tuple(stages),
        results=tuple(numbers[node] for node in returned),
        result_names=tuple(names[node] for node in returned),
        result=result,
        result_spec=spec,
        result_leaves=tuple(leaves),
        result_type=result_type,
        values=len(numbers),
        input_dtypes=tuple(dtype_of(node) for node in inputs),
    )


def _refusals(captured: Captured) -> Callable[[Node], str]:
    """Why a node has to stay in torch, its sizes included."""
    sizes = SizeMap(_core.Graph(), captured)

    def why(node: Node) -> str:
        reason = refusal(node)
        if reason or is_getitem(node):
            return reason or (why(node.args[0]) if isinstance(node.args[0], Node) else "")
        made = [size for value in values_of(node) if isinstance(value, torch.Tensor) for size in value.shape]
        read = [source.meta["val"] for source in node.all_input_nodes if makes_sizes(source)]
        try:
            for size in (*made, *read):
                if isinstance(size, torch.SymInt):
                    sizes(size)
                elif isinstance(size, torch.SymFloat):
                    check_number(size.node.expr, sizes)
        except NiwakiError as error:
            return f"{operator_name(node)} has a size that is not native: {error}"
        return ""

    return why


def _with_inputs(part: Part, inputs: Sequence[Node], *, whole: bool) -> Part:
    """The part with the network's inputs in their own order, and with more of them than it reads.

    It may compute with any free size, so it gets inputs that have those which its own do not have. A part that is the
    whole network gets all: in a file, the graph's inputs are the network's.
    """
    known: set[str] = set()
    for node in part.inputs:
        known |= {str(size) for size in node.meta["val"].shape}
    given = []
    for node in inputs:
        free = {str(size) for size in node.meta["val"].shape if isinstance(size, torch.SymInt)}
        unread = node not in part.inputs
        if not unread or not free <= known or (whole and part.native):
            if part.native and dtype_of(node) not in DTYPES:
                raise NiwakiError(
                    f"Input '{node.target}' is {str(dtype_of(node)).removeprefix('torch.')}, which niwaki does not "
                    "have, and nothing native reads it. Leave it out of the arguments, or pass it as float32 or int64."
                )
            given.append(node)
            known |= free
    made = [node for node in part.inputs if node not in inputs]
    return Part(part.native, part.nodes, (*given, *made), part.outputs, part.reasons)


def _results(module: GraphModule, inputs: Sequence[Node], source: str) -> tuple[list[Any], list[Node]]:
    """The leaves of what the module returns, as Slots where they are tensors, and the nodes behind the output Slots."""
    (output,) = (node for node in module.graph.nodes if node.op == "output")
    returned: list[Node] = []
    leaves: list[Any] = []
    for leaf in pytree.tree_leaves(output.args[0], is_leaf=lambda leaf: leaf is None):
        if not isinstance(leaf, Node):
            leaves.append(leaf)
        elif leaf in inputs:
            leaves.append(Slot("input", list(inputs).index(leaf)))
        elif not is_tensor(leaf):
            raise NiwakiError(
                f"{source} returns a size of its inputs, which is no tensor; leave it out of the results."
            )
        else:
            if is_constant(leaf):
                leaf = _copied(module, leaf, output)
            if leaf not in returned:
                returned.append(leaf)
            leaves.append(Slot("output", returned.index(leaf)))
    return leaves, returned


def _copied(module: GraphModule, constant: Node, output: Node) -> Node:
    """A copy of a parameter that the network returns: results are values that something makes."""
    with module.graph.inserting_before(output):
        copy = module.graph.call_function(torch.ops.aten.clone.default, (constant,))
    inherit(copy, constant)
    output.replace_input_with(constant, copy)
    return copy


def _result_names(returned: Sequence[Node]) -> dict[Node, str]:
    if len(returned) == 1:
        return {returned[0]: "output"}
    return {node: f"output_{index}" for index, node in enumerate(returned)}


def _torch_stage(part: Part, module: GraphModule, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> TorchStage:
    kinds = list(dict.fromkeys(short_name(node) for node in part.nodes))
    built = build_module(part, list(part.inputs), module)
    held = {id(tensor): tensor for tensor in [*built.parameters(), *built.buffers()]}
    return TorchStage(
        module=built,
        inputs=inputs,
        outputs=outputs,
        name=_place(part),
        op=", ".join(kinds),
        reasons=part.reasons,
        bytes=sum(math.prod(tensor.shape) * tensor.element_size() for tensor in held.values()),
    )


def _place(part: Part) -> str:
    """The modules that the part lies in, or its operators where it lies in none."""
    places = list(dict.fromkeys(path for path in map(module_path, part.nodes) if path))
    places = places or list(dict.fromkeys(label(node) for node in part.nodes))
    return places[0] if len(places) == 1 else f"{places[0]} ... {places[-1]}"
