"""Brings a captured graph into the form that lowering reads: no mutation, no identities, few ways to say the same."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.fx import GraphModule, Node

from niwaki.lower.functional import make_functional
from niwaki.lower.nodes import (
    arguments,
    constant_of,
    data_inputs,
    inherit,
    is_getitem,
    operator_name,
    shape_of,
    tensor_of,
)

_CHECKS = ("aten::_assert", "aten::sym_constrain", "_guards_fn", "_assert")
_IDENTITIES = {
    "aten::alias", "aten::contiguous", "aten::clone", "aten::detach", "aten::lift_fresh_copy", "aten::dropout",
    "aten::feature_dropout", "aten::alpha_dropout", "aten::feature_alpha_dropout", "aten::to", "aten::_to_copy",
}  # fmt: skip
_RESHAPES = {"aten::view", "aten::reshape", "aten::_unsafe_view"}
_SHAPERS = _RESHAPES | {"aten::flatten", "aten::squeeze", "aten::unsqueeze"}
_RANDOM = {"aten::rand", "aten::randn", "aten::randint", "aten::rand_like", "aten::randn_like", "aten::bernoulli"}


def canonicalize(module: GraphModule) -> None:
    """Rewrites the graph in place; every node keeps its name at capture in its meta data.

    Raises:
        NiwakiError: a tensor is changed in place while another view of it is still used.
    """
    _drop_checks(module)
    make_functional(module)
    for rewrite in (_drop_identity, _fold, _shuffle, _split, _select, _join_reshapes, _pad_within):
        _each(module, rewrite)
    module.graph.eliminate_dead_code()
    module.graph.lint()


def _each(module: GraphModule, rewrite: Callable[[GraphModule, Node], None]) -> None:
    for node in list(module.graph.nodes):
        if node.op == "call_function":
            rewrite(module, node)
    module.graph.eliminate_dead_code()


def _drop_checks(module: GraphModule) -> None:
    """Checks of shapes and types hold for the captured inputs only; the compiled network has its own."""
    for node in reversed(list(module.graph.nodes)):
        if not node.users and node.op in ("call_module", "call_function"):
            name = operator_name(node) if node.op == "call_function" else str(node.target)
            if name.startswith(_CHECKS):
                module.graph.erase_node(node)


def _replace(node: Node, new: Node, keep_meta: bool = True) -> None:
    if keep_meta:
        inherit(new, node)
    node.replace_all_uses_with(new)
    node.graph.erase_node(node)


def _drop_identity(module: GraphModule, node: Node) -> None:
    if operator_name(node) not in _IDENTITIES:
        return
    source = node.args[0]
    if not isinstance(source, Node) or arguments(node).get("train"):
        return
    before, after = tensor_of(source), tensor_of(node)
    if before is None or after is None or before.dtype != after.dtype or before.device != after.device:
        return
    _replace(node, source, keep_meta=False)


def _fold(module: GraphModule, node: Node) -> None:
    """What is computed of parameters alone (a frozen batch norm, say) is computed here, once."""
    if not node.all_input_nodes or data_inputs(node) or tensor_of(node) is None:
        return
    if (
        not isinstance(node.target, torch._ops.OpOverload)
        or operator_name(node) in _RANDOM
        or node.target._schema.is_mutable
    ):
        return
    values = {source: constant_of(source) for source in node.all_input_nodes}
    args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), lambda source: values[source])
    with torch.no_grad():
        result = node.target(*args, **kwargs)
    name = f"_folded_{node.name}"
    module.register_buffer(name, result.detach().clone(), persistent=False)
    with module.graph.inserting_before(node):
        constant = module.graph.get_attr(name)
    _replace(node, constant)


def _shuffle(module: GraphModule, node: Node) -> None:
    """[N, C, H, W] -> [N, g, C/g, H, W] -> transposed -> [N, C, H, W] is a channel shuffle."""
    if operator_name(node) not in _RESHAPES:
        return
    swap = node.args[0]
    if not isinstance(swap, Node) or operator_name(swap) not in ("aten::transpose", "aten::permute"):
        return
    split = swap.args[0]
    if not isinstance(split, Node) or operator_name(split) not in _RESHAPES or not isinstance(split.args[0], Node):
        return
    source = split.args[0]
    if any(tensor_of(part) is None for part in (node, swap, split, source)):
        return
    outer, inner = shape_of(source), shape_of(split)
    if len(outer) != 4 or shape_of(node) != outer or len(inner) != 5:
        return
    if inner[0] != outer[0] or inner[1] * inner[2] != outer[1] or inner[3:] != outer[2:]:
        return
    given = arguments(swap)
    if "dims" in given:
        swaps = [int(axis) % 5 for axis in given["dims"]] == [0, 2, 1, 3, 4]
    else:
        swaps = {int(given["dim0"]) % 5, int(given["dim1"]) % 5} == {1, 2}
    if swaps:
        with module.graph.inserting_before(node):
            new = module.graph.call_function(torch.ops.aten.channel_shuffle.default, (source, inner[1]))
        _replace(node, new)


def _split(module: GraphModule, node: Node) -> None:
    """Parts of a split along the channels become slices."""
    if not is_getitem(node):
        return
    source, index = node.args
    if not isinstance(source, Node) or not isinstance(index, int):
        return
    if operator_name(source) not in ("aten::chunk", "aten::split", "aten::split_with_sizes", "aten::tensor_split"):
        return
    whole = source.args[0]
    if not isinstance(whole, Node) or tensor_of(whole) is None:
        return
    given = arguments(source)
    if given.get("dim") is None or int(given["dim"]) % len(shape_of(whole)) != 1:
        return
    parts = source.meta.get("val")
    if not isinstance(parts, (tuple, list)):
        return
    sizes = [int(part.shape[1]) for part in parts]
    index %= len(sizes)
    start = sum(sizes[:index])
    with module.graph.inserting_before(node):
        new = module.graph.call_function(torch.ops.aten.slice.Tensor, (whole, 1, start, start + sizes[index]))
    _replace(node, new)


def _select(module: GraphModule, node: Node) -> None:
    """x[:, i].unsqueeze(1) is the slice x[:, i:i+1]."""
    if operator_name(node) != "aten::unsqueeze":
        return
    picked = node.args[0]
    if not isinstance(picked, Node) or operator_name(picked) != "aten::select" or not isinstance(picked.args[0], Node):
        return
    whole, given = picked.args[0], arguments(picked)
    rank = len(shape_of(whole))
    if int(given["dim"]) % rank != 1 or int(arguments(node)["dim"]) % rank != 1:
        return
    start = int(given["index"]) % shape_of(whole)[1]
    with module.graph.inserting_before(node):
        new = module.graph.call_function(torch.ops.aten.slice.Tensor, (whole, 1, start, start + 1))
    _replace(node, new)


def _join_reshapes(module: GraphModule, node: Node) -> None:
    """x.squeeze(-1).squeeze(-1) is one reshape: in between lies a rank that no native operator knows."""
    between = node.args[0] if operator_name(node) in _SHAPERS else None
    if not isinstance(between, Node) or operator_name(between) not in _SHAPERS or not isinstance(between.args[0], Node):
        return
    if tensor_of(between) is None or tensor_of(node) is None or len(shape_of(between)) in (2, 4):
        return
    with module.graph.inserting_before(node):
        new = module.graph.call_function(torch.ops.aten.reshape.default, (between.args[0], shape_of(node)))
    _replace(node, new)


def _pad_within(module: GraphModule, node: Node) -> None:
    """Zeros around the images that one convolution reads are those that it pads with itself."""
    if operator_name(node) != "niwaki::conv2d":
        return
    pad = data_inputs(node)[0]
    if pad.op != "call_function" or operator_name(pad) not in ("aten::pad", "aten::constant_pad_nd"):
        return
    given = arguments(pad)
    ends = [int(end) for end in given["pad"]]
    if len(pad.users) != 1 or given.get("mode", "constant") != "constant" or given.get("value"):
        return
    if len(ends) > 4 or min(ends, default=0) < 0:
        return
    left, right, top, bottom = [*ends, 0, 0, 0, 0][:4]
    known = arguments(node)
    own = known["padding"]
    known["padding"] = [side + more for side, more in zip(own, (top, left, bottom, right), strict=True)]
    known["x"] = data_inputs(pad)[0]
    node.args, node.kwargs = (), known
