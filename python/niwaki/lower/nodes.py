"""What a torch.fx node says about itself: its operator, its arguments by name, its shape, its name for people."""

from __future__ import annotations

import operator
from collections import Counter
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node

_ORIGIN = "niwaki_origin"
_LABEL = "niwaki_label"


def operator_name(node: Node) -> str:
    """The schema's name, such as "aten::relu"; "getitem" or the like for what is no operator of torch."""
    if isinstance(node.target, torch._ops.OpOverload):
        return str(node.target._schema.name)
    return getattr(node.target, "__name__", str(node.target))


def short_name(node: Node) -> str:
    """The operator without namespace and without the underscore of the in-place form: "relu", "conv2d"."""
    return operator_name(node).split("::")[-1].rstrip("_")


def arguments(node: Node) -> dict[str, Any]:
    """The arguments of a call of a torch operator by their names in its schema, defaults filled in."""
    assert isinstance(node.target, torch._ops.OpOverload)
    schema = node.target._schema.arguments
    values = {argument.name: argument.default_value for argument in schema if argument.has_default_value()}
    values.update(zip((argument.name for argument in schema), node.args, strict=False))
    values.update(node.kwargs)
    return values


def tensor_of(node: Node) -> torch.Tensor | None:
    """The (fake) tensor that the node makes; None where it makes something else."""
    value = node.meta.get("val")
    return value if isinstance(value, torch.Tensor) else None


def shape_of(node: Node) -> list[int]:
    """The shape of the node's tensor at capture."""
    value = tensor_of(node)
    assert value is not None, node.name
    return list(value.shape)


def is_constant(node: Node) -> bool:
    """Whether the node is a parameter or buffer of the module."""
    return node.op == "get_attr"


def constant_of(node: Node) -> Any:
    """The parameter or buffer that a get_attr node stands for."""
    owner: Any = node.graph.owning_module
    for part in str(node.target).split("."):
        owner = getattr(owner, part)
    return owner.detach() if isinstance(owner, torch.Tensor) else owner


def data_inputs(node: Node) -> list[Node]:
    """The nodes it depends on, without parameters and buffers."""
    return [source for source in node.all_input_nodes if not is_constant(source)]


def is_getitem(node: Node) -> bool:
    return node.op == "call_function" and node.target is operator.getitem


def origin(node: Node) -> str:
    """The node's name at capture: what ranges are kept under."""
    return str(node.meta.get(_ORIGIN, node.name))


def label(node: Node) -> str:
    """The node's name for people: the module's path, with the operator where the module calls several."""
    return str(node.meta.get(_LABEL, node.name))


def inherit(node: Node, source: Node) -> None:
    """Makes `node`, new in the graph, stand for `source`."""
    node.meta.update(source.meta)


def module_path(node: Node) -> str:
    """The path of the innermost module that the node was traced in; empty at the top."""
    stack = node.meta.get("nn_module_stack") or {}
    return str(list(stack.values())[-1][0]) if stack else ""


def name_nodes(module: GraphModule) -> None:
    """Remembers for each node its name at capture and gives it a name for people."""
    graph: Graph = module.graph
    calls = [node for node in graph.nodes if node.op == "call_function" and tensor_of(node) is not None]
    kinds: dict[str, set[str]] = {}
    for node in calls:
        kinds.setdefault(module_path(node), set()).add(short_name(node))
    seen: Counter[str] = Counter()
    for node in graph.nodes:
        node.meta[_ORIGIN] = node.name
        path = module_path(node)
        if node.op != "call_function":
            node.meta[_LABEL] = str(node.target)
            continue
        only = bool(path) and len(kinds.get(path, ())) == 1
        name = path if only else ".".join(part for part in (path, short_name(node)) if part)
        seen[name] += 1
        node.meta[_LABEL] = name if seen[name] == 1 else f"{name}_{seen[name]}"
