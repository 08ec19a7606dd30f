"""What a torch.fx node says about itself: its operator, its arguments by name, its shape, its name for people."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node
from torch.utils import _pytree as pytree

from niwaki.capture.memory import expression_of

Size = int | torch.SymInt

DTYPES = {
    torch.float32: "float32",
    torch.int64: "int64",
    torch.int32: "int32",
    torch.bool: "bool",
    torch.uint8: "byte",
    torch.int8: "int8",
}
"""What a plain value may hold, and the core's word for it."""
BYTES = (torch.uint8, torch.int8)
"""Of these, what is moved and converted, but not computed with."""

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


def overload_name(node: Node) -> str:
    """Which of the operator's signatures is called: "Scalar", "dim"; empty for the default."""
    return node.target._overloadname if isinstance(node.target, torch._ops.OpOverload) else ""


def arguments(node: Node) -> dict[str, Any]:
    """The arguments of a call of a torch operator by their names in its schema, defaults filled in."""
    assert isinstance(node.target, torch._ops.OpOverload)
    schema = node.target._schema.arguments
    values = {argument.name: argument.default_value for argument in schema if argument.has_default_value()}
    values.update(zip((argument.name for argument in schema), node.args, strict=False))
    values.update(node.kwargs)
    return values


def tensor_of(node: Any) -> torch.Tensor | None:
    """The (fake) tensor that the node makes; None where it makes something else."""
    value = node.meta.get("val") if isinstance(node, Node) else None
    return value if isinstance(value, torch.Tensor) else None


def is_tensor(value: Any) -> bool:
    """Whether an argument is a node that makes a tensor."""
    return tensor_of(value) is not None


def makes_sizes(node: Node) -> bool:
    """Whether the node computes with sizes alone: its result is a number, or several."""
    if node.op not in ("call_function", "placeholder") or "val" not in node.meta:
        return False
    leaves = pytree.tree_leaves(node.meta["val"])
    return bool(leaves) and all(isinstance(leaf, (int, float, bool, *_SYMBOLIC)) for leaf in leaves)


_SYMBOLIC = (torch.SymInt, torch.SymFloat, torch.SymBool)


def tensor_operands(node: Node) -> list[Node]:
    """The nodes among its arguments that make tensors, in order, each as often as it occurs."""
    leaves = pytree.tree_leaves((node.args, dict(node.kwargs)))
    return [leaf for leaf in leaves if isinstance(leaf, Node) and is_tensor(leaf)]


def _meta(node: Node) -> torch.Tensor:
    value = tensor_of(node)
    assert value is not None, node.name
    return value


def shape_of(node: Node) -> list[Size]:
    """The shape of the node's tensor; free sizes are symbols."""
    return list(_meta(node).shape)


def rank_of(node: Node) -> int:
    return _meta(node).dim()


def dtype_of(node: Node) -> torch.dtype:
    return _meta(node).dtype


def axis_of(node: Node, axis: int) -> int:
    """An axis of the node's tensor, counted from the front."""
    return axis % max(rank_of(node), 1)


def squeezed_sizes(node: Node) -> list[torch.SymInt]:
    """The free sizes of the axes that a squeeze asks for: it was captured with other sizes than 1, and leaves these."""
    if node.op != "call_function" or operator_name(node) != "aten::squeeze":
        return []
    source, given = node.args[0], arguments(node).get("dim")
    assert isinstance(source, Node)
    dims = range(rank_of(source)) if given is None else [given] if isinstance(given, int) else given
    asked = {axis_of(source, int(axis)) for axis in dims}
    left = [expression_of(size) for size in shape_of(node)]
    found = []
    for axis, size in enumerate(shape_of(source)):
        if left and left[0] == expression_of(size):
            left.pop(0)
            found += [size] if axis in asked and isinstance(size, torch.SymInt) else []
    return found


def size_of(value: Any) -> Any:
    """A size among a call's arguments: a number, or the symbol that a node computes."""
    return value.meta["val"] if isinstance(value, Node) else value


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
    """The nodes whose values it depends on: without parameters and buffers, and without sizes."""
    return [source for source in node.all_input_nodes if not is_constant(source) and not makes_sizes(source)]


def is_getitem(node: Node) -> bool:
    return node.op == "call_function" and node.target is operator.getitem


def parts_read(node: Node) -> dict[int, Node]:
    """The results of an operator with several that somebody reads, by their number."""
    return {int(user.args[1]): user for user in node.users if is_getitem(user)}  # type: ignore[arg-type]


def values_of(node: Node) -> Iterator[Any]:
    """The tensors, sizes and numbers that the node makes."""
    yield from pytree.tree_leaves(node.meta.get("val"))


def origin(node: Node) -> str:
    """The node's name at capture: what ranges are kept under."""
    return str(node.meta.get(_ORIGIN, node.name))


def label(node: Node) -> str:
    """The node's name for people: the module's path, with the operator where the module calls several."""
    return str(node.meta.get(_LABEL, node.name))


# Of an attention that was written out: a query that sees no key is NaN, as softmax makes it; torch's attention gives
# zeros.
NAN_ROWS = "niwaki_nan_rows"


def inherit(node: Node, source: Node) -> None:
    """Makes `node`, new in the graph, stand for `source`."""
    node.meta.update(source.meta)


def place_within(node: Node, source: Node) -> None:
    """Makes `node`, new in the graph, a step on the way to `source`, with a value of its own."""
    for key in ("nn_module_stack", _LABEL):
        if key in source.meta:
            node.meta[key] = source.meta[key]


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
