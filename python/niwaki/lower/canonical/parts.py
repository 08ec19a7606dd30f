"""Parts of one value that follow each other, as the steps of a loop take and make them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import GraphModule, Node

from niwaki.lower.canonical.forms import RESHAPES, replace
from niwaki.lower.canonical.sizes import SizeNodes
from niwaki.lower.nodes import arguments, inherit, operator_name, rank_of, shape_of, tensor_of

_aten = torch.ops.aten


def texts(node: Node) -> list[str]:
    """A shape that can be compared without asking anything of free sizes."""
    return [str(size) for size in shape_of(node)]


def same_numbers(value: Any) -> Any:
    """The node that has a node's numbers, in their order: behind reshapes, and parts that are the whole."""
    while isinstance(value, Node) and value.op == "call_function" and value.args:
        source = value.args[0]
        if not isinstance(source, Node) or tensor_of(source) is None:
            break
        if operator_name(value) not in RESHAPES and not (
            operator_name(value) in ("aten::select", "aten::slice") and _elements(value) == _elements(source)
        ):
            break
        value = source
    return value


def _elements(node: Node) -> tuple[int, list[str]]:
    number, free = 1, []
    for size in shape_of(node):
        if isinstance(size, int):
            number *= size
        else:
            free.append(str(size))
    return number, sorted(free)


class Places:
    """Parts of one value that follow each other along an axis.

    Attributes:
        whole: the value.
        axis: see there.
        start, end: of all parts together.
        single: each is one element long.
        backwards: the last one comes first.
    """

    def __init__(self, whole: Node, axis: int, bounds: Sequence[tuple[int, int]]) -> None:
        self.whole, self.axis = whole, axis
        self.start, self.end = min(start for start, _ in bounds), max(end for _, end in bounds)
        self.single = all(end - start == 1 for start, end in bounds)
        self.backwards = bounds[-1] < bounds[0]

    def part(self, module: GraphModule) -> Node:
        """All of them, at the place where nodes are inserted; the value itself where they are all of it."""
        shape = shape_of(self.whole)
        node = self.whole
        size = shape[self.axis]
        if self.start > 0 or not isinstance(size, int) or self.end != size:
            node = module.graph.call_function(_aten.slice.Tensor, (self.whole, self.axis, self.start, self.end))
            shape[self.axis] = self.end - self.start
            node.meta["val"] = self.whole.meta["val"].new_empty(shape)
        if self.backwards:
            value = node.meta["val"]
            node = module.graph.call_function(_aten.flip.default, (node, [self.axis]))
            node.meta["val"] = value.new_empty(shape)
        return node


def consecutive(values: Sequence[Node]) -> Places | None:
    """Where the numbers of several values lie beside each other in one."""
    parts = [_part(same_numbers(value)) for value in values]
    known = [part for part in parts if part is not None]
    if len(known) < len(values) or any(part[:2] != known[0][:2] for part in known):
        return None
    bounds = [part[2:] for part in known]
    if all(a[1] == b[0] for a, b in itertools.pairwise(bounds)):
        return Places(*known[0][:2], bounds)
    if all(a[0] == b[1] and a[1] - a[0] == b[1] - b[0] == 1 for a, b in itertools.pairwise(bounds)):
        return Places(*known[0][:2], bounds)
    return None


def _part(node: Any) -> tuple[Node, int, int, int] | None:
    """(whole, axis, start, end) of a part whose places are numbers."""
    if not isinstance(node, Node) or node.op != "call_function":
        return None
    if operator_name(node) not in ("aten::select", "aten::slice"):
        return None
    given, selects = arguments(node), operator_name(node) == "aten::select"
    whole = given["self"]
    axis = int(given["dim"]) % rank_of(whole)
    size, start = shape_of(whole)[axis], given["index"] if selects else given["start"] or 0
    length = 1 if selects else shape_of(node)[axis]
    if not isinstance(start, int) or not isinstance(length, int) or given.get("step", 1) != 1:
        return None
    if start < 0:
        if not isinstance(size, int):
            return None
        start += size
    return whole, axis, start, start + length


def whole_stacks(module: GraphModule, sizes: SizeNodes, node: Node) -> None:
    """All of y[:, 0], y[:, 1], ... beside each other, in their order, is a part of y."""
    name = operator_name(node)
    if name not in ("aten::stack", "aten::cat"):
        return
    parts = list(arguments(node)["tensors"])
    if len(parts) < 2:
        return
    found = consecutive(parts)
    axis = int(arguments(node)["dim"]) % rank_of(node)
    if found is None or not found.single:
        return
    rest = texts(found.whole)
    del rest[found.axis]
    each = texts(parts[0])
    if name == "aten::cat" and each.pop(axis) != "1":
        return
    if each != rest:
        return
    with module.graph.inserting_before(node):
        part = found.part(module)
        order = [*range(len(each) + 1)]
        order.insert(axis, order.pop(found.axis))
        if order == sorted(order):
            if part is not found.whole:
                inherit(part, node)
            node.replace_all_uses_with(part)
            module.graph.erase_node(node)
        else:
            replace(node, module.graph.call_function(_aten.permute.default, (part, order)))
