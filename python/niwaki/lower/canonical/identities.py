"""What computes nothing goes: checks, copies, dropout. What is computed of parameters alone is computed here, once."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from niwaki.capture.memory import is_mutable
from niwaki.lower.nodes import arguments, constant_of, inherit, is_getitem, operator_name, squeezed_sizes, tensor_of

CHECKS = ("aten::_assert", "aten::sym_constrain", "_guards_fn", "_assert", "_check")
IDENTITIES = {
    "aten::alias", "aten::contiguous", "aten::clone", "aten::detach", "aten::lift_fresh_copy", "aten::lift_fresh",
    "aten::dropout", "aten::feature_dropout", "aten::alpha_dropout", "aten::feature_alpha_dropout", "aten::to",
    "aten::_to_copy", "aten::type_as", "aten::positive", "aten::_conj", "aten::resolve_conj", "aten::resolve_neg",
    "aten::expand", "aten::expand_as", "aten::view", "aten::reshape", "aten::view_as", "aten::repeat", "aten::tile",
    "aten::squeeze", "aten::flatten", "aten::slice",
}  # fmt: skip
_RESHAPES = {"aten::expand", "aten::expand_as", "aten::view", "aten::reshape", "aten::view_as", "aten::repeat",
             "aten::tile", "aten::squeeze", "aten::flatten"}  # fmt: skip
_END = 2**63 - 1  # what torch writes where a slice has no end
_LARGEST = 1 << 20  # elements of a constant that is larger than what it is computed from


def drop_checks(module: GraphModule) -> None:
    """Checks of shapes and types hold for the captured inputs only; the compiled network has its own."""
    for node in reversed(list(module.graph.nodes)):
        if not node.users and node.op in ("call_module", "call_function"):
            name = operator_name(node) if node.op == "call_function" else str(node.target)
            if name.startswith(CHECKS):
                module.graph.erase_node(node)


def drop_identities(module: GraphModule) -> None:
    """Readers of what an identity makes read what it takes."""
    for node in list(module.graph.nodes):
        source = _identity(node)
        if source is not None:
            node.replace_all_uses_with(source)
            module.graph.erase_node(node)
    module.graph.eliminate_dead_code()


def _identity(node: Node) -> Node | None:
    if node.op != "call_function" or operator_name(node) not in IDENTITIES or is_mutable(node):
        return None
    source = node.args[0] if node.args else None
    if not isinstance(source, Node) or arguments(node).get("train") or arguments(node).get("training"):
        return None
    before, after = tensor_of(source), tensor_of(node)
    if operator_name(node) == "aten::_conj" and before is not None and before.is_complex():
        return None
    if before is None or after is None or before.dtype != after.dtype or before.device != after.device:
        return None
    if operator_name(node) in _RESHAPES and (squeezed_sizes(node) or not _same_shape(before, after)):
        return None
    if operator_name(node) == "aten::slice" and not _takes_all(node):
        return None
    return source


def _takes_all(node: Node) -> bool:
    """Whether a slice is x[:]."""
    given = arguments(node)
    to_the_end = given["end"] is None or (isinstance(given["end"], int) and given["end"] == _END)
    return given["start"] in (None, 0) and given["step"] == 1 and to_the_end


def _same_shape(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two shapes are written alike; asks nothing of free sizes."""
    return a.dim() == b.dim() and all(map(_same_size, a.shape, b.shape))


def _same_size(a: Any, b: Any) -> bool:
    left, right = (size.node.expr if isinstance(size, torch.SymInt) else size for size in (a, b))
    return bool(left == right)


def fold_constants(module: GraphModule) -> None:
    """Values that depend on no input and no free size become buffers."""
    known: dict[Node, Any] = {}
    for node in module.graph.nodes:
        if node.op == "get_attr":
            value = constant_of(node)
            if isinstance(value, torch.Tensor):
                known[node] = value
        elif _foldable(node) and all(source in known for source in node.all_input_nodes):
            value = _compute(node, known)
            if value is not None:
                known[node] = value
    for node, value in known.items():
        if node.op != "get_attr" and any(user not in known for user in node.users) and isinstance(value, torch.Tensor):
            name = f"_folded_{node.name}"
            module.register_buffer(name, value.detach().clone(), persistent=False)
            with module.graph.inserting_before(node):
                constant = module.graph.get_attr(name)
            inherit(constant, node)
            node.replace_all_uses_with(constant)
    module.graph.eliminate_dead_code()


def _foldable(node: Node) -> bool:
    if is_getitem(node):
        return True
    if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload) or is_mutable(node):
        return False
    if torch.Tag.nondeterministic_seeded in node.target.tags or node.target.namespace == "niwaki":
        return False
    made = [value for value in pytree.tree_leaves(node.meta.get("val")) if isinstance(value, torch.Tensor)]
    return bool(made) and not any(isinstance(size, torch.SymInt) for value in made for size in value.shape)


def _compute(node: Node, known: dict[Node, Any]) -> Any:
    given = [known[source] for source in node.all_input_nodes if isinstance(known[source], torch.Tensor)]
    if node.target is not operator.getitem:
        made = [value for value in pytree.tree_leaves(node.meta["val"]) if isinstance(value, torch.Tensor)]
        if sum(value.numel() for value in made) > max(_LARGEST, 2 * sum(value.numel() for value in given)):
            return None
    args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), lambda source: known[source])
    with torch.no_grad():
        return node.target(*args, **kwargs)  # type: ignore[operator]
