"""From a compressed module to the stages that run it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from niwaki import _core
from niwaki.errors import NiwakiError
from niwaki.lower.canonical import canonicalize
from niwaki.lower.native import build_graph
from niwaki.lower.nodes import label, module_path, name_nodes, operator_name, short_name, tensor_of
from niwaki.lower.partition import Part, partition
from niwaki.lower.scales import Ranges
from niwaki.lower.structure import Slot, Structure, UndescribableError, describe
from niwaki.lower.torch_part import build_module, sized_operator


@dataclass(frozen=True)
class InputInfo:
    """What a network's input must be.

    Attributes:
        name: of the argument.
        dtype: of its elements.
        shape: at capture; empty if it is not known.
        rank: number of its dimensions.
        channels: size of dimension 1; None where the rank is below 2.
    """

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    rank: int
    channels: int | None


@dataclass(frozen=True)
class NativeStage:
    """A part in int8: reads and writes the values with these numbers."""

    graph: _core.Graph
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class TorchStage:
    """A part in torch.

    Attributes:
        name: where it begins, in words of the original module.
        op: its operators, without namespaces.
        reasons: why it is not native.
        sized: an operator that ties it to the sizes of the captured inputs; empty where there is none.
        bytes: of its parameters and buffers.
    """

    module: GraphModule
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    name: str
    op: str
    reasons: tuple[str, ...]
    sized: str
    bytes: int


@dataclass(frozen=True)
class Program:
    """Stages in the order in which they run, on numbered values: 0, 1, ... are the inputs.

    Attributes:
        results: the values that become the results.
        arguments: how the arguments are nested around the inputs.
        result: how the results are nested; None where a type is involved that has no description.
        result_spec: the same for torch's pytree.
        result_leaves: its leaves: Slots, or constants.
        result_type: the type that has no description, if any.
    """

    inputs: tuple[InputInfo, ...]
    stages: tuple[NativeStage | TorchStage, ...]
    results: tuple[int, ...]
    result_names: tuple[str, ...]
    arguments: Structure
    result: Structure | None
    result_spec: pytree.TreeSpec
    result_leaves: tuple[Any, ...]
    result_type: str
    values: int


def build_program(exported: torch.export.ExportedProgram, ranges: Ranges, source: str) -> Program:
    """Lowers a captured module.

    Args:
        exported: what `niwaki.capture` made of a compressed module.
        ranges: what calibration saw of each value.
        source: the name of the module's class, for messages and files.

    Raises:
        NiwakiError: no layer is quantized, or a range is not known.
    """
    module = exported.module(check_guards=False)
    assert isinstance(module, GraphModule)
    name_nodes(module)
    _expect_layers(module, source)
    canonicalize(module)

    placeholders = [node for node in module.graph.nodes if node.op == "placeholder"]
    parts = partition(module)
    arguments, inputs = _arguments(exported, placeholders)
    leaves, returned = _results(module, inputs)
    names = _result_names(returned)
    numbers = {node: number for number, node in enumerate(inputs)}
    stages: list[NativeStage | TorchStage] = []
    for part in parts:
        for node in part.outputs:
            numbers[node] = len(numbers)
        ins, outs = tuple(numbers[node] for node in part.inputs), tuple(numbers[node] for node in part.outputs)
        if part.native:
            stages.append(NativeStage(build_graph(part, ranges, names), ins, outs))
        else:
            stages.append(_torch_stage(part, module, ins, outs))

    spec = exported.call_spec.out_spec
    result: Structure | None = None
    result_type = ""
    try:
        result = describe(pytree.tree_unflatten(leaves, spec))
    except UndescribableError as error:
        result_type = str(error)
    return Program(
        inputs=tuple(_input_info(node) for node in inputs),
        stages=tuple(stages),
        results=tuple(numbers[node] for node in returned),
        result_names=tuple(names[node] for node in returned),
        arguments=arguments,
        result=result,
        result_spec=spec,
        result_leaves=tuple(leaves),
        result_type=result_type,
        values=len(numbers),
    )


def _expect_layers(module: GraphModule, source: str) -> None:
    if not any(operator_name(node).startswith("niwaki::") for node in module.graph.nodes if node.op == "call_function"):
        raise NiwakiError(
            f"Nothing in this {source} is quantized, so there is nothing to compile: "
            "call niwaki.compress (or niwaki.quantize) first."
        )


def _arguments(exported: torch.export.ExportedProgram, placeholders: Sequence[Node]) -> tuple[Structure, list[Node]]:
    """How the arguments are nested, and the placeholders that are tensors."""
    inputs: list[Node] = []
    leaves: list[Any] = []
    for node in placeholders:
        if tensor_of(node) is not None:
            leaves.append(Slot("input", len(inputs)))
            inputs.append(node)
        else:
            leaves.append(node.meta.get("val"))
    args, kwargs = pytree.tree_unflatten(leaves, exported.call_spec.in_spec)
    if kwargs:
        raise TypeError("a network is called with positional arguments; pass them all in args.")
    try:
        return describe(args), inputs
    except UndescribableError as error:
        raise TypeError(f"args may hold tensors, tuples, lists, dicts and numbers, but not {error}.") from None


def _results(module: GraphModule, inputs: Sequence[Node]) -> tuple[list[Any], list[Node]]:
    """The leaves of what the module returns, as Slots where they are tensors, and the nodes behind the output Slots."""
    (output,) = (node for node in module.graph.nodes if node.op == "output")
    returned: list[Node] = []
    leaves: list[Any] = []
    for leaf in pytree.tree_leaves(output.args[0], is_leaf=lambda leaf: leaf is None):
        if not isinstance(leaf, Node):
            leaves.append(leaf)
        elif leaf in inputs:
            leaves.append(Slot("input", list(inputs).index(leaf)))
        elif leaf.op == "get_attr":
            raise NiwakiError(
                f"The network returns '{leaf.target}', which depends on no input; leave it out of the results."
            )
        else:
            if leaf not in returned:
                returned.append(leaf)
            leaves.append(Slot("output", returned.index(leaf)))
    return leaves, returned


def _result_names(returned: Sequence[Node]) -> dict[Node, str]:
    if len(returned) == 1:
        return {returned[0]: "output"}
    return {node: f"output_{index}" for index, node in enumerate(returned)}


def _input_info(node: Node) -> InputInfo:
    value = tensor_of(node)
    assert value is not None
    channels = int(value.shape[1]) if value.dim() >= 2 else None
    return InputInfo(str(node.target), value.dtype, tuple(value.shape), value.dim(), channels)


def _torch_stage(part: Part, module: GraphModule, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> TorchStage:
    kinds = list(dict.fromkeys(short_name(node) for node in part.nodes))
    built = build_module(part, module)
    held = {id(tensor): tensor for tensor in [*built.parameters(), *built.buffers()]}
    return TorchStage(
        module=built,
        inputs=inputs,
        outputs=outputs,
        name=_place(part),
        op=", ".join(kinds),
        reasons=part.reasons,
        sized=sized_operator(part),
        bytes=sum(math.prod(tensor.shape) * tensor.element_size() for tensor in held.values()),
    )


def _place(part: Part) -> str:
    """The modules that the part lies in, or its operators where it lies in none."""
    places = list(dict.fromkeys(path for path in map(module_path, part.nodes) if path))
    places = places or list(dict.fromkeys(label(node) for node in part.nodes))
    return places[0] if len(places) == 1 else f"{places[0]} ... {places[-1]}"
