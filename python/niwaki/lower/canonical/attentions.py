"""softmax(q k' * scale + mask) v, written out, is one attention, which keeps no matrix of scores."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.fx import GraphModule, Node

from niwaki.lower.canonical.forms import RESHAPES, replace
from niwaki.lower.canonical.sizes import SizeNodes
from niwaki.lower.nodes import (
    NAN_ROWS,
    arguments,
    constant_of,
    inherit,
    is_constant,
    is_tensor,
    operator_name,
    place_within,
    rank_of,
    shape_of,
    tensor_of,
)

_aten = torch.ops.aten
_PRODUCTS = {"aten::matmul", "aten::bmm"}
_SOFTMAX = {"aten::softmax", "aten::_softmax"}
# A score of this or less takes in what it is added to: a mask of such scores may as well be added.
_HIDDEN = -1e20


@dataclass
class _Scores:
    """What lies between a softmax and the product of queries and keys, from the softmax on.

    Attributes:
        product: q k'.
        scale: by which it is multiplied.
        scales: the same, as tensors of one number for each matrix.
        masks: what is added to it, with the shape that the scores have there.
        hidden: where True hides a key and the score that it gets there, with the shape that the scores have there.
        shapes: of the scores, where they are reshaped.
    """

    product: Node
    scale: float = 1.0
    scales: list[Node] = field(default_factory=list)
    masks: list[tuple[Node, list[Any]]] = field(default_factory=list)
    hidden: list[tuple[Node, float, list[Any]]] = field(default_factory=list)
    shapes: list[list[Any]] = field(default_factory=list)


def join_attentions(module: GraphModule, sizes: SizeNodes, node: Node) -> None:
    """Puts one attention in the place of products and softmax, where nobody else reads what lies between."""
    if operator_name(node) not in _PRODUCTS or not all(is_tensor(source) for source in node.args[:2]):
        return
    softmax, value = node.args[:2]
    assert isinstance(softmax, Node) and isinstance(value, Node)
    if operator_name(softmax) not in _SOFTMAX or len(softmax.users) != 1 or rank_of(value) < 2:
        return
    given = arguments(softmax)
    rank = rank_of(softmax)
    source = softmax.args[0]
    if rank < 2 or int(given["dim"]) % rank != rank - 1 or not isinstance(source, Node):
        return
    if any(tensor_of(part).dtype != torch.float32 for part in (node, softmax, source)):  # type: ignore[union-attr]
        return
    found = _scores(source)
    if found is not None:
        _Attention(module, sizes, node).put(found, softmax, value)


def _scores(node: Node) -> _Scores | None:
    """Follows scores to the product that they come from; None where something else lies between."""
    found = _Scores(node, shapes=[shape_of(node)])
    scaled = False
    while operator_name(node) not in _PRODUCTS:
        if node.op != "call_function" or len(node.users) != 1:
            return None
        step = _step(node)
        if step is None:
            return None
        before, kind, other = step
        if kind == "scale":
            scaled = True
            found.scale *= other
        elif kind == "scales":
            scaled = True
            found.scales.append(other)
        elif kind == "reshape":
            found.shapes.append(shape_of(before))
        elif scaled:  # what is added would be scaled, too
            return None
        elif kind == "mask":
            found.masks.append((other, shape_of(node)))
        else:
            found.hidden.append((*other, shape_of(node)))
        node = before
    found.product = node
    return found if len(node.users) == 1 else None


def _step(node: Node) -> tuple[Node, str, Any] | None:
    """(what a step is made of, what it does, with what); None where it is no step of attention."""
    name, given = operator_name(node), node.args
    before = given[0] if given else None
    if name in RESHAPES:
        return (before, "reshape", None) if isinstance(before, Node) and _keeps_matrices(before, node) else None
    if name == "aten::masked_fill" and isinstance(before, Node) and _is_whole(before, node):
        score = _number(given[2])
        hides = score is not None and score <= _HIDDEN and is_tensor(given[1])
        return (before, "hidden", (given[1], score)) if hides else None
    if name not in ("aten::add", "aten::mul", "aten::div") or arguments(node).get("alpha", 1) != 1:
        return None
    for one, other in ((given[0], given[1]), (given[1], given[0])):
        if not isinstance(one, Node) or not _is_whole(one, node) or (name == "aten::div" and one is not given[0]):
            continue
        factor = _factor(node, other)
        if name == "aten::add" and isinstance(other, Node) and _is_float(other) and _leads_to_product(one):
            return one, "mask", other
        if name != "aten::add" and factor is not None:
            return one, "scale", factor
        if name == "aten::mul" and isinstance(other, Node) and _is_float(other) and _one_for_each_matrix(other):
            return one, "scales", other
    return None


def _factor(node: Node, other: Any) -> float | None:
    """By what a product or quotient with `other` multiplies, where that is one number."""
    number = _number(other)
    if number is None or not math.isfinite(number) or number == 0:
        return None
    return 1 / number if operator_name(node) == "aten::div" else number


def _is_whole(source: Any, node: Node) -> bool:
    """Whether a source has the shape of what is made of it."""
    return is_tensor(source) and _written(shape_of(source)) == _written(shape_of(node))


def _is_float(source: Any) -> bool:
    value = tensor_of(source)
    return value is not None and value.dtype == torch.float32


def _one_for_each_matrix(source: Node) -> bool:
    return rank_of(source) >= 2 and _written(shape_of(source))[-2:] == [1, 1]


def _leads_to_product(node: Node) -> bool:
    """Whether a chain of steps that nobody else reads ends at a product."""
    while node.op == "call_function" and len(node.users) == 1:
        if operator_name(node) in _PRODUCTS:
            return True
        step = _step(node)
        if step is None:
            return False
        node = step[0]
    return False


def _number(source: Any) -> float | None:
    if isinstance(source, (int, float)) and not isinstance(source, bool):
        return float(source)
    if isinstance(source, Node) and is_constant(source) and constant_of(source).numel() == 1 and rank_of(source) == 0:
        return float(constant_of(source))
    return None


def _written(shape: list[Any]) -> list[Any]:
    """A shape to compare with others; asks nothing of free sizes."""
    return [size.node.expr if isinstance(size, torch.SymInt) else size for size in shape]


def _keeps_matrices(before: Node, after: Node) -> bool:
    """Whether a reshape splits the first axis in two, or joins the first two, and leaves matrices as they are."""
    one, other = sorted((_written(shape_of(before)), _written(shape_of(after))), key=len)
    return len(one) >= 3 and len(other) == len(one) + 1 and one[1:] == other[2:]


class _Attention:
    """Makes the nodes of one attention before the product that it stands for."""

    def __init__(self, module: GraphModule, sizes: SizeNodes, node: Node) -> None:
        self._graph, self._sizes, self._node = module.graph, sizes, node

    def put(self, scores: _Scores, softmax: Node, value: Node) -> None:
        query, key = scores.product.args[:2]
        wide = max(scores.shapes, key=len)  # the shape in which all masks can be said
        if not isinstance(query, Node) or not isinstance(key, Node) or rank_of(query) < 2 or rank_of(key) < 2:
            return
        if not self._fits(scores, wide, (query, key, value)):
            return
        scale = scores.scale
        with self._graph.inserting_before(self._node):
            before = _scaled(query)
            if before is not None:
                query, factor = before
                scale *= factor
            for factors in scores.scales:
                query = self._make(_aten.mul.Tensor, shape_of(query), query, factors)
            turned = [*shape_of(key)[:-2], shape_of(key)[-1], shape_of(key)[-2]]
            key = _untransposed(key) or self._make(_aten.transpose.int, turned, key, -2, -1)
            if len(scores.shapes) > 1:
                query, key, value = (self._wide(part, wide) for part in (query, key, value))
            mask = self._mask(scores, wide)
            attention = self._graph.call_function(
                _aten.scaled_dot_product_attention.default, (query, key, value, mask), {"scale": scale}
            )
            if mask is not None:
                attention.meta[NAN_ROWS] = True
            if len(scores.shapes) == 1:
                replace(self._node, attention)
                return
            inherit(attention, softmax)
            attention.meta["val"] = self._node.meta["val"].new_empty([*wide[:-1], shape_of(self._node)[-1]])
            shape = [self._sizes.make(size) for size in shape_of(self._node)]
            replace(self._node, self._graph.call_function(_aten.reshape.default, (attention, shape)))

    def _fits(self, scores: _Scores, wide: list[Any], parts: tuple[Node, ...]) -> bool:
        if len(scores.shapes) == 1:
            return True
        if {len(shape) for shape in scores.shapes} != {len(wide), len(wide) - 1}:
            return False
        known = all(self._sizes.knows(size) for size in [*wide, *shape_of(self._node)])
        whole = [_written(shape_of(self._node)[:-2]) == _written(shape_of(part)[:-2]) for part in parts]
        return known and all(whole) and not scores.scales

    def _make(self, target: Any, shape: list[Any], *args: Any, **kwargs: Any) -> Node:
        """A node of float32 values. Its shape is said, for whoever asks torch asks for free sizes."""
        node = self._graph.call_function(target, args, kwargs)
        like = next(arg for arg in args if isinstance(arg, Node))
        node.meta["val"] = like.meta["val"].new_empty(shape, dtype=torch.float32)
        place_within(node, self._node)
        return node

    def _reshaped(self, node: Node, shape: list[Any]) -> Node:
        return self._make(_aten.reshape.default, shape, node, [self._sizes.make(size) for size in shape])

    def _wide(self, node: Node, wide: list[Any]) -> Node:
        """Queries, keys or values in the shape of all masks."""
        return self._reshaped(node, [*wide[:-2], *shape_of(node)[-2:]])

    def _mask(self, scores: _Scores, wide: list[Any]) -> Node | None:
        total: Node | None = None
        hidden = [(self._added(node, score), shape) for node, score, shape in scores.hidden]
        for mask, shape in [*scores.masks, *hidden]:
            if len(shape) < len(wide) and rank_of(mask) == len(shape):
                own = shape_of(mask)
                mask = self._reshaped(mask, [1, *own] if own[0] == 1 else [*wide[:2], *own[1:]])
            total = mask if total is None else self._sum(total, mask)
        return total

    def _added(self, hidden: Node, score: float) -> Node:
        """The score where a key is hidden, else 0."""
        zeros = self._make(_aten.zeros_like.default, shape_of(hidden), hidden, dtype=torch.float32)
        return self._make(_aten.masked_fill.Scalar, shape_of(hidden), zeros, hidden, score)

    def _sum(self, one: Node, other: Node) -> Node:
        longer, shorter = sorted((shape_of(one), shape_of(other)), key=len, reverse=True)
        missing = len(longer) - len(shorter)
        ends = [b if _written([a]) == [1] else a for a, b in zip(longer[missing:], shorter, strict=True)]
        return self._make(_aten.add.Tensor, [*longer[:missing], *ends], one, other)


def _scaled(query: Node) -> tuple[Node, float] | None:
    """(x, factor) where a node is x times a number, for these scores alone."""
    if len(query.users) != 1 or query.op != "call_function" or operator_name(query) not in ("aten::mul", "aten::div"):
        return None
    one, factor = query.args[0], _factor(query, query.args[1])
    return (one, factor) if factor is not None and isinstance(one, Node) and is_tensor(one) else None


def _untransposed(key: Node) -> Node | None:
    """What a node is the transpose of."""
    source = key.args[0] if key.op == "call_function" and key.args else None
    if not isinstance(source, Node) or not is_tensor(source):
        return None
    name, given, rank = operator_name(key), arguments(key), rank_of(key)
    last = {rank - 2, rank - 1}
    if name == "aten::transpose" and {int(given["dim0"]) % rank, int(given["dim1"]) % rank} == last:
        return source
    if name == "aten::permute" and [int(axis) % rank for axis in given["dims"]] == [
        *range(rank - 2), rank - 1, rank - 2,
    ]:  # fmt: skip
        return source
    return source if name == "aten::mT" or (name == "aten::t" and rank == 2) else None
