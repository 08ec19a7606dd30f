"""In-place operators become ordinary ones, as long as nothing else looks at the tensor that they change."""

from __future__ import annotations

import torch
from torch.fx import GraphModule, Node

from niwaki.errors import NiwakiError
from niwaki.lower.nodes import is_getitem, label, operator_name


def make_functional(module: GraphModule) -> None:
    """Replaces `relu_` by `relu` and so on; later readers of the changed tensor read the result.

    Raises:
        NiwakiError: a view of the changed tensor is read afterwards, or there is no ordinary form of the operator.
    """
    order = {node: position for position, node in enumerate(module.graph.nodes)}
    root: dict[Node, Node] = {}  # of a view: the node that made the memory
    for node in list(module.graph.nodes):
        source = _viewed(node)
        root[node] = node if source is None else root[source]
        if _mutates(node):
            _check_views(node, order, root)
            _rewrite(node, order)
            root[node] = node


def _mutates(node: Node) -> bool:
    if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
        return False
    return bool(node.target._schema.is_mutable)


def _viewed(node: Node) -> Node | None:
    """The node whose memory this one shows, if it is a view."""
    if is_getitem(node) and isinstance(node.args[0], Node):
        return _viewed(node.args[0]) and node.args[0]
    if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
        return None
    results = node.target._schema.returns
    viewed = bool(results) and results[0].alias_info is not None and not results[0].alias_info.is_write
    return node.args[0] if viewed and isinstance(node.args[0], Node) else None


def _check_views(node: Node, order: dict[Node, int], root: dict[Node, Node]) -> None:
    changed = node.args[0]
    assert isinstance(changed, Node)
    views = (other for other, owner in root.items() if owner is root[changed] and other not in (changed, node))
    if any(order[user] > order[node] for view in views for user in view.users):
        raise NiwakiError(
            f"{label(node)}: {operator_name(node)} changes a tensor in place while another view of it is still "
            "used. Write it without the in-place form."
        )


def _rewrite(node: Node, order: dict[Node, int]) -> None:
    target = node.target
    assert isinstance(target, torch._ops.OpOverload)
    namespace, name = target._schema.name.split("::")
    packet = getattr(getattr(torch.ops, namespace), name.rstrip("_"), None)
    overload = getattr(packet, target._overloadname, None) if name.endswith("_") else None
    if overload is None:
        raise NiwakiError(
            f"{label(node)}: {operator_name(node)} changes its input and has no ordinary form to replace it by."
        )
    node.target = overload
    changed = node.args[0]
    assert isinstance(changed, Node)
    changed.replace_all_uses_with(node, delete_user_cb=lambda user: order[user] > order[node])
