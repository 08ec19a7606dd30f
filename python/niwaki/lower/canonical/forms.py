"""Several ways to say the same become one: parts of a split are slices, reshapes in a row are one, and so on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.fx import GraphModule, Node

from niwaki.lower.canonical.sizes import SizeNodes
from niwaki.lower.nodes import (
    arguments,
    axis_of,
    data_inputs,
    inherit,
    is_getitem,
    is_tensor,
    operator_name,
    rank_of,
    shape_of,
    size_of,
    squeezed_sizes,
    tensor_of,
)

_aten = torch.ops.aten
SPLITS = {"aten::chunk", "aten::split", "aten::split_with_sizes", "aten::tensor_split", "aten::unsafe_chunk",
           "aten::unsafe_split", "aten::unsafe_split_with_sizes", "aten::hsplit", "aten::vsplit"}  # fmt: skip
RESHAPES = {"aten::view", "aten::reshape", "aten::_unsafe_view", "aten::flatten", "aten::unflatten", "aten::squeeze",
            "aten::unsqueeze", "aten::view_as", "aten::reshape_as", "aten::ravel"}  # fmt: skip
Rewrite = Callable[[GraphModule, SizeNodes, Node], None]


def replace(node: Node, new: Node) -> None:
    """Puts a new node in the place of another, whose value it makes."""
    inherit(new, node)
    node.replace_all_uses_with(new)
    node.graph.erase_node(node)


def split_parts(module: GraphModule, sizes: SizeNodes, node: Node) -> None:
    """Parts of a split become slices, those of an unbind what `select` takes."""
    if not is_getitem(node):
        return
    source, index = node.args
    if not isinstance(source, Node) or not isinstance(index, int) or not source.args:
        return
    whole = source.args[0]
    if not isinstance(whole, Node) or tensor_of(whole) is None:
        return
    name = operator_name(source)
    if name == "aten::unbind":
        axis = axis_of(whole, int(arguments(source)["dim"]))
        with module.graph.inserting_before(node):
            replace(node, module.graph.call_function(_aten.select.int, (whole, axis, index)))
    elif name in SPLITS:
        parts = list(source.meta["val"])
        index %= len(parts)
        axis = (
            0
            if name == "aten::vsplit"
            else axis_of(whole, int(arguments(source).get("dim", 1 if rank_of(whole) > 1 else 0)))
        )
        start = sum((part.shape[axis] for part in parts[:index]), 0)
        end = start + parts[index].shape[axis]
        if sizes.knows(start) and sizes.knows(end):
            bounds = (sizes.make(start), sizes.make(end))
            with module.graph.inserting_before(node):
                replace(node, module.graph.call_function(_aten.slice.Tensor, (whole, axis, *bounds)))


_WITHOUT_PLACES = {
    f"aten::max_pool{axes}d_with_indices": getattr(_aten, f"max_pool{axes}d").default for axes in (1, 2, 3)
}


def pools_alone(module: GraphModule, sizes: SizeNodes, node: Node) -> None:
    """The largest values of a pool, whose places nobody reads, are what the pool without places gives."""
    source = node.args[0] if is_getitem(node) else None
    if isinstance(source, Node) and len(source.users) == 1 and node.args[1] == 0:
        pool = _WITHOUT_PLACES.get(operator_name(source))
        if pool is not None:
            with module.graph.inserting_before(node):
                replace(node, module.graph.call_function(pool, source.args, source.kwargs))


def channel_shuffles(module: GraphModule, sizes: SizeNodes, node: Node) -> None:
    """[N, C, H, W] -> [N, g, C/g, H, W] -> transposed -> [N, C, H, W] is a channel shuffle."""
    if operator_name(node) not in RESHAPES:
        return
    swap = node.args[0]
    if not isinstance(swap, Node) or operator_name(swap) not in ("aten::transpose", "aten::permute"):
        return
    split = swap.args[0]
    if not isinstance(split, Node) or operator_name(split) not in RESHAPES or not isinstance(split.args[0], Node):
        return
    source = split.args[0]
    if any(tensor_of(part) is None for part in (node, swap, split, source)):
        return
    outer, inner = shape_of(source), shape_of(split)
    if len(outer) != 4 or len(inner) != 5 or not isinstance(inner[1], int) or not _alike(shape_of(node), outer):
        return
    if not _alike([inner[0], inner[1] * inner[2], *inner[3:]], outer):
        return
    given = arguments(swap)
    if "dims" in given:
        swaps = [int(axis) % 5 for axis in given["dims"]] == [0, 2, 1, 3, 4]
    else:
        swaps = {int(given["dim0"]) % 5, int(given["dim1"]) % 5} == {1, 2}
    if swaps:
        with module.graph.inserting_before(node):
            replace(node, module.graph.call_function(_aten.channel_shuffle.default, (source, inner[1])))


def _alike(a: list[int | torch.SymInt], b: list[int | torch.SymInt]) -> bool:
    """Whether two shapes are written alike; asks nothing of free sizes."""

    def plain(size: int | torch.SymInt) -> object:
        return size.node.expr if isinstance(size, torch.SymInt) else size

    return [plain(size) for size in a] == [plain(size) for size in b]


def join_reshapes(module: GraphModule, sizes: SizeNodes, node: Node) -> None:
    """x.flatten(2).unsqueeze(-1) is one reshape."""
    between = node.args[0] if operator_name(node) in RESHAPES else None
    if not isinstance(between, Node) or operator_name(between) not in RESHAPES or not is_tensor(between.args[0]):
        return
    if squeezed_sizes(between) or squeezed_sizes(node):
        return
    if not is_tensor(node) or not all(sizes.knows(size) for size in shape_of(node)):
        return
    shape = [sizes.make(size) for size in shape_of(node)]
    with module.graph.inserting_before(node):
        replace(node, module.graph.call_function(_aten.reshape.default, (between.args[0], shape)))


def pads_within(module: GraphModule, sizes: SizeNodes, node: Node) -> None:
    """Zeros around the images that one convolution reads are those that it pads with itself."""
    if operator_name(node) != "niwaki::conv2d":
        return
    pad = data_inputs(node)[0]
    if pad.op != "call_function" or operator_name(pad) not in ("aten::pad", "aten::constant_pad_nd"):
        return
    given = arguments(pad)
    ends = [size_of(end) for end in given["pad"]]
    if len(pad.users) != 1 or given.get("mode", "constant") != "constant" or given.get("value"):
        return
    if len(ends) > 4 or any(not isinstance(end, int) or end < 0 for end in ends):
        return
    left, right, top, bottom = [*ends, 0, 0, 0, 0][:4]
    known = arguments(node)
    known["padding"] = [side + more for side, more in zip(known["padding"], (top, left, bottom, right), strict=True)]
    known["x"] = data_inputs(pad)[0]
    assert isinstance(node.target, torch._ops.OpOverload)
    node.args = tuple(known[argument.name] for argument in node.target._schema.arguments)
    node.kwargs = {}


def views_reshape(module: GraphModule, sizes: SizeNodes, node: Node) -> None:
    """A view asks for the strides that its source had at capture; copies that made these are gone."""
    if node.target in (_aten.view.default, _aten._unsafe_view.default):
        node.target = _aten.reshape.default
