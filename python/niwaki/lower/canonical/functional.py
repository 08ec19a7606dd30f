"""In-place operators become ordinary ones: who reads the changed tensor, or a view of it, afterwards reads a result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node

from niwaki.capture.memory import is_mutable, viewed
from niwaki.errors import NiwakiError
from niwaki.lower.nodes import dtype_of, is_constant, label, operator_name, place_within, tensor_of

_aten = torch.ops.aten

# Of a view: how a changed part is written back into the tensor that it shows. (view's arguments but the first)
_INVERSES: dict[str, Callable[..., Any]] = {
    "aten::slice": lambda base, part, *rest: (_aten.slice_scatter.default, (base, part, *rest)),
    "aten::select": lambda base, part, *rest: (_aten.select_scatter.default, (base, part, *rest)),
    "aten::narrow": lambda base, part, dim, start, length: (
        (_aten.slice_scatter.default, (base, part, dim, start, start + length)) if _numbers(start, length) else None
    ),
    "aten::diagonal": lambda base, part, *rest: (_aten.diagonal_scatter.default, (base, part, *rest)),
    "aten::transpose": lambda base, part, *rest: (_aten.transpose.int, (part, *rest)),
    "aten::t": lambda base, part: (_aten.t.default, (part,)),
    "aten::permute": lambda base, part, dims: (_aten.permute.default, (part, _inverse(dims))),
    "aten::unsqueeze": lambda base, part, dim: (_aten.squeeze.dim, (part, dim)),
    **dict.fromkeys(
        ("aten::swapaxes", "aten::swapdims"), lambda base, part, *rest: (_aten.transpose.int, (part, *rest))),
    **dict.fromkeys(("aten::mT", "aten::adjoint"), lambda base, part: (_aten.transpose.int, (part, -2, -1))),
    **dict.fromkeys(("aten::movedim", "aten::moveaxis"), lambda base, part, source, target: (
        _aten.movedim.int if isinstance(source, int) else _aten.movedim.intlist, (part, target, source))),
    **dict.fromkeys(
        ("aten::view", "aten::reshape", "aten::flatten", "aten::unflatten", "aten::squeeze", "aten::view_as",
         "aten::reshape_as", "aten::ravel", "aten::atleast_1d", "aten::atleast_2d", "aten::atleast_3d"),
        lambda base, part, *rest: (_aten.view_as.default, (part, base)),
    ),
}  # fmt: skip
# They show all of it as it is.
_SAME = {
    "aten::alias", "aten::detach", "aten::contiguous", "aten::to", "aten::type_as", "aten::positive", "aten::real",
    "aten::conj_physical", "aten::resolve_conj", "aten::resolve_neg",
    "aten::dropout", "aten::feature_dropout", "aten::alpha_dropout", "aten::feature_alpha_dropout",
}  # fmt: skip

# In name alone: nothing changes where there are no gradients.
_UNCHANGED = ("aten::detach_", "aten::requires_grad_")


# Ordinary forms that are called otherwise.
_FORMS: dict[Any, Any] = {
    _aten.bernoulli_.float: _aten.bernoulli.p,
    _aten.normal_.default: _aten.normal_functional.default,
}


def _numbers(*values: Any) -> bool:
    return all(isinstance(value, int) for value in values)


def _inverse(dims: Any) -> list[int]:
    order = [int(dim) % len(dims) for dim in dims]
    return [order.index(axis) for axis in range(len(order))]


def make_functional(module: GraphModule) -> None:
    """Replaces `relu_` by `relu` and so on, and writes into views by new tensors.

    Raises:
        NiwakiError: a parameter or buffer is changed, or there is no ordinary form of an operator.
    """
    for node in list(module.graph.nodes):
        if is_mutable(node):
            _rewrite(module.graph, node)
    module.graph.eliminate_dead_code()


def _root(node: Node) -> Node:
    source = viewed(node)
    return node if source is None else _root(source)


def _rewrite(graph: Graph, node: Node) -> None:
    changed = node.args[0]
    assert isinstance(changed, Node)
    if operator_name(node) in _UNCHANGED:
        node.replace_all_uses_with(changed)
        graph.erase_node(node)
        return
    if torch.Tag.inplace_view in node.target.tags:  # type: ignore[union-attr]
        _reshape(graph, node, changed)
        return
    root = _root(changed)
    if is_constant(root):
        raise NiwakiError(
            f"{label(node)}: {operator_name(node)} changes the parameter or buffer '{root.target}' in place. A "
            "compiled network keeps no such state; pass it in and return it."
        )
    later = _after(node)
    aliases = [other for other in graph.nodes if other not in later and other is not node and _root(other) is root]
    with graph.inserting_before(node):
        result = _ordinary(graph, node, changed)
        fresh = {root: _write_back(graph, node, changed, result)}

        def renewed(view: Node) -> Node:
            """The view as it is after the change."""
            if view not in fresh:
                source = viewed(view)
                assert source is not None
                again = renewed(source)
                fresh[view] = graph.node_copy(view, lambda other: again if other is source else other)
            return fresh[view]

        for alias in aliases:
            for user in [user for user in alias.users if user in later]:
                user.replace_input_with(alias, renewed(alias))
        if node.users:
            node.replace_all_uses_with(renewed(changed))
    graph.erase_node(node)


def _reshape(graph: Graph, node: Node, changed: Node) -> None:
    """What shows a tensor in another shape from here on, as `squeeze_` does: no element changes."""
    name, overload = operator_name(node).removeprefix("aten::"), node.target._overloadname  # type: ignore[union-attr]
    packet = getattr(_aten, name.removesuffix("_"), None)
    target = getattr(packet, "int" if name == "transpose_" else overload, None)
    if target is None or target._schema.is_mutable:
        raise NiwakiError(f"{label(node)}: aten::{name} changes the shape of a tensor in place. Write it without that.")
    later = _after(node)
    with graph.inserting_before(node):
        result = graph.call_function(target, node.args, node.kwargs)
    result.meta.update(node.meta)
    for user in [user for user in changed.users if user in later]:
        user.replace_input_with(changed, result)
    node.replace_all_uses_with(result)
    graph.erase_node(node)


def _after(node: Node) -> set[Node]:
    found: set[Node] = set()
    while node.next.op != "root":
        node = node.next
        found.add(node)
    return found


def _ordinary(graph: Graph, node: Node, changed: Node) -> Node:
    """The result of the operator as a new tensor."""
    namespace, name = str(node.target._schema.name).split("::")  # type: ignore[union-attr]
    value = node.args[1] if len(node.args) > 1 else None
    if name in ("fill_", "zero_") and not isinstance(value, Node):
        result = graph.call_function(_aten.full_like.default, (changed, 0 if name == "zero_" else value))
    elif name == "fill_diagonal_":
        result = _with_diagonal(graph, node, changed)
    elif name in ("copy_", "fill_"):
        assert isinstance(value, Node)
        result = _like(graph, node, value, changed)
    else:
        packet = getattr(getattr(torch.ops, namespace), name.rstrip("_"), None)
        overload = getattr(packet, node.target._overloadname, None) if name.endswith("_") else None  # type: ignore[union-attr]
        overload = _FORMS.get(node.target, overload)
        if overload is None:
            raise NiwakiError(
                f"{label(node)}: {operator_name(node)} changes its input and has no ordinary form to replace it by."
            )
        result = graph.call_function(overload, node.args, node.kwargs)
    result.meta.update(node.meta)
    result.meta["val"] = changed.meta["val"]
    return result


def _with_diagonal(graph: Graph, node: Node, changed: Node) -> Node:
    """A matrix with a number in its diagonal."""
    matrix = changed.meta["val"]
    if matrix.dim() != 2 or len(node.args) > 2 or node.kwargs:
        raise NiwakiError(
            f"{label(node)}: aten::fill_diagonal_ of other than a matrix, or with wrap, is not supported."
        )
    diagonal = graph.call_function(_aten.diagonal.default, (changed,))
    diagonal.meta["val"] = matrix.diagonal()
    full = graph.call_function(_aten.full_like.default, (diagonal, node.args[1]))
    full.meta["val"] = torch.full_like(diagonal.meta["val"], 0)
    for each in (diagonal, full):
        place_within(each, node)
    return graph.call_function(_aten.diagonal_scatter.default, (changed, full))


def _like(graph: Graph, node: Node, value: Node, changed: Node) -> Node:
    """A value in the type and shape of the tensor that it is copied into."""
    wanted, given = tensor_of(changed), tensor_of(value)
    assert wanted is not None and given is not None
    if given.dtype != wanted.dtype:
        value = graph.call_function(_aten.to.dtype, (value, wanted.dtype))
        value.meta["val"] = given.to(wanted.dtype)
        place_within(value, node)
    wide = graph.call_function(_aten.expand_as.default, (value, changed))
    wide.meta["val"] = wanted
    place_within(wide, node)
    return graph.call_function(_aten.clone.default, (wide,))  # a tensor of its own, no view of the value


def _write_back(graph: Graph, node: Node, view: Node, part: Node) -> Node:
    """The tensor that owns the memory, with the changed part in its place."""
    source = viewed(view)
    if source is None:
        return part
    if operator_name(view) in _SAME and dtype_of(view) == dtype_of(source):
        return _write_back(graph, node, source, part)
    inverse = _INVERSES.get(operator_name(view))
    written = None if inverse is None or view.kwargs else inverse(source, part, *view.args[1:])
    if written is None:
        raise NiwakiError(
            f"{label(node)}: {operator_name(node)} changes a part of a tensor that {operator_name(view)} shows. Write "
            "it without the in-place form."
        )
    target, arguments = written
    whole = graph.call_function(target, arguments)
    place_within(whole, node)
    whole.meta["val"] = source.meta["val"]
    return _write_back(graph, node, source, whole)
