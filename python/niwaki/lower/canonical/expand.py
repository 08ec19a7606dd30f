"""Operators that niwaki does not know become those that torch composes them of."""

from __future__ import annotations

from typing import Any

import torch
from torch._decomp import core_aten_decompositions
from torch._guards import detect_fake_mode
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from niwaki.capture.settings import quiet
from niwaki.lower.canonical.antialias import DECOMPOSITIONS
from niwaki.lower.canonical.functional import is_mutable, make_functional
from niwaki.lower.canonical.identities import drop_identities
from niwaki.lower.nodes import constant_of, inherit, is_getitem, makes_sizes, place_within, values_of
from niwaki.lower.operators.registry import known_operators, refusal


def expand(module: GraphModule) -> None:
    """Replaces nodes that would stay in torch by what they are composed of, where all of that is native."""
    known = known_operators()
    table = {target: rule for target, rule in core_aten_decompositions().items() if _name(target) not in known}
    for node in list(module.graph.nodes):
        if node.op == "call_function" and not makes_sizes(node) and not is_getitem(node) and refusal(node):
            pieces = _pieces(node, table)
            if pieces is not None and not any(refusal(piece) for piece in pieces.graph.nodes if _computes(piece)):
                _insert(module, node, pieces)
    module.graph.eliminate_dead_code()


def _sizes_of_one_are_like_others() -> Any:
    config: Any = torch.fx.experimental._config
    return config.patch(backed_size_oblivious=True)


def _name(target: Any) -> str:
    return str(target._schema.name) if isinstance(target, torch._ops.OpOverload) else ""


def _computes(node: Node) -> bool:
    return node.op == "call_function" and not makes_sizes(node)


def _pieces(node: Node, table: dict[Any, Any]) -> GraphModule | None:
    """What the node is composed of, as a graph of the nodes that it reads; None where torch does not say."""
    target = node.target
    if not isinstance(target, torch._ops.OpOverload) or is_mutable(node):
        return None
    if (
        target not in table
        and target not in DECOMPOSITIONS
        and not torch._C._dispatch_has_kernel_for_dispatch_key(target.name(), "CompositeImplicitAutograd")
    ):
        return None
    sources = node.all_input_nodes
    values = [source.meta["val"] for source in sources]
    mode = detect_fake_mode(list(pytree.tree_leaves([*values, list(values_of(node))])))
    if mode is None:
        return None

    def call(*given: Any) -> Any:
        stand_in = dict(zip(sources, given, strict=True))
        args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), lambda source: stand_in[source])
        return rule(*args, **kwargs)

    rule = DECOMPOSITIONS.get(target, target)
    try:
        with quiet(), mode, torch.no_grad(), _sizes_of_one_are_like_others():
            pieces = make_fx(call, decomposition_table=table, _allow_non_fake_inputs=True)(*values)
    except Exception:  # it asks for a free size, or for something else that it does not get: the node stays as it is
        return None
    make_functional(pieces)
    drop_identities(pieces)
    return pieces


def _insert(module: GraphModule, node: Node, pieces: GraphModule) -> None:
    copies: dict[Node, Any] = {}
    given = iter(node.all_input_nodes)
    results: Any = None
    with module.graph.inserting_before(node):
        for piece in pieces.graph.nodes:
            if piece.op == "placeholder":
                copies[piece] = next(given)
            elif piece.op == "output":
                results = torch.fx.node.map_arg(piece.args[0], lambda source: copies[source])
            elif piece.op == "get_attr":
                name = f"_constant_{node.name}_{piece.target}".replace(".", "_")
                module.register_buffer(name, constant_of(piece), persistent=False)
                copies[piece] = module.graph.get_attr(name)
                copies[piece].meta["val"] = piece.meta.get("val", constant_of(piece))
            else:
                copy = module.graph.node_copy(piece, lambda source: copies[source])
                copy.meta = {"val": piece.meta["val"]}
                place_within(copy, node)
                copies[piece] = copy
    if isinstance(results, Node):
        if results not in node.all_input_nodes and results.op == "call_function":
            inherit(results, node)
        node.replace_all_uses_with(results)
    else:
        for user in list(node.users):
            result = results[user.args[1]]
            if result not in node.all_input_nodes and result.op == "call_function":
                inherit(result, user)
            user.replace_all_uses_with(result)
            module.graph.erase_node(user)
    module.graph.erase_node(node)
