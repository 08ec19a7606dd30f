"""Nodes as others: what a function makes of nodes' values, written out as nodes."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch._decomp import core_aten_decompositions
from torch._dispatch.python import enable_python_dispatcher
from torch._guards import detect_fake_mode
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from niwaki.capture.settings import quiet
from niwaki.lower.canonical.functional import make_functional
from niwaki.lower.canonical.identities import drop_identities
from niwaki.lower.nodes import constant_of, place_within, values_of
from niwaki.lower.operators.registry import known_operators


def decompositions() -> dict[Any, Any]:
    """What torch composes of others, but for what niwaki has. It is not to be changed."""
    return _decompositions(len(torch._C._dispatch_get_registrations_for_dispatch_key("CompositeImplicitAutograd")))


@functools.lru_cache(maxsize=1)
def _decompositions(_composed: int) -> dict[Any, Any]:
    """Found anew where libraries have registered more operators: it takes a quarter of what a small network does."""
    known = known_operators()
    return {target: rule for target, rule in core_aten_decompositions().items() if name_of(target) not in known}


def name_of(target: Any) -> str:
    return str(target._schema.name) if isinstance(target, torch._ops.OpOverload) else ""


def _sizes_of_one_are_like_others() -> Any:
    config: Any = torch.fx.experimental._config
    return config.patch(backed_size_oblivious=True)


def traced(call: Callable[..., Any], node: Node, sources: Sequence[Node], table: dict[Any, Any]) -> GraphModule | None:
    """What `call` makes of the sources' values, as a graph of these; None where it asks for what it does not get.

    Args:
        call: of as many tensors and sizes as there are sources.
        node: for which it stands.
        sources: nodes of its graph.
        table: of operators that become others.
    """
    values = [source.meta["val"] for source in sources]
    mode = detect_fake_mode(list(pytree.tree_leaves([*values, list(values_of(node))])))
    if mode is None:
        return None
    pieces = None
    # Some operators take sizes that are free in torch's Python alone, as pads do.
    for dispatcher in (contextlib.nullcontext, enable_python_dispatcher):
        # It may ask for a free size, or for something else that it does not get: then the node stays as it is.
        with contextlib.suppress(Exception), quiet(), mode, torch.no_grad(), _sizes_of_one_are_like_others():
            with dispatcher():
                pieces = make_fx(call, decomposition_table=table, _allow_non_fake_inputs=True)(*values)
            break
    if pieces is None:
        return None
    make_functional(pieces)
    drop_identities(pieces)
    return pieces


def inserted(module: GraphModule, node: Node, sources: Sequence[Node], pieces: GraphModule) -> Any:
    """Copies the pieces into the module before the node; returns the nodes of their results, nested as these."""
    copies: dict[Node, Any] = {}
    given = iter(sources)
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
    return results
