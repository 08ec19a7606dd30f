"""Which values of a network are uint8, and with which scales: what lowering emits and what the numbers simulate.

A layer reads uint8. An operator that has a uint8 form runs in it where all that it reads is uint8 and somebody wants
its result as uint8: a layer, or another such operator. Everything else is float32. What only moves elements may run in
uint8 on a float32 value, which is then rounded before it is moved instead of after.

One scale serves only what is alike: see `_Scales`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch.fx import Node

from niwaki.errors import NiwakiError
from niwaki.lower.nodes import (
    arguments,
    data_inputs,
    dtype_of,
    is_constant,
    is_tensor,
    label,
    operator_name,
    origin,
    size_of,
)
from niwaki.lower.operators.convolution import spread
from niwaki.lower.operators.layers import layer_input
from niwaki.lower.operators.registry import find, handler
from niwaki.lower.possible import possible
from niwaki.lower.quantized import QParams
from niwaki.quantization.affine import qparams

# A part of a value has a scale of its own where it spans less than this share of the whole: two bits.
_SMALL_PART = 0.25
# Values that meet have one scale where the narrowest spans at least this share of all of them: one bit.
_ALIKE = 0.5
# What lies so far below the values that are padded is no value: it loses to all of them in a maximum.
_EXCLUDES = -1e4


class Ranges(Protocol):
    """What calibration saw of each value of the captured graph, by name."""

    def get(self, name: str, /) -> tuple[float, float] | None: ...


@dataclass(frozen=True)
class Types:
    """
    Attributes:
        quantized: the values that are uint8. What one operator makes and only the next one reads, within a table or
            below a bound, has none.
        entering: the float32 values that are read as uint8 as well.
        bounded: the producer of a uint8 value that only a ReLU, or a bound like it, reads -> that bound. Both have one
            scale.
        chains: the last of several functions of one element in a row -> all of them, in order: one table.
        summed: results of layers that a sum takes in before they are rounded. Their numbers are not used.
        attentions: those whose products are in 8 bits; what they read and make is float32.
    """

    quantized: Mapping[Node, QParams] = field(default_factory=dict)
    entering: Mapping[Node, QParams] = field(default_factory=dict)
    bounded: Mapping[Node, Node] = field(default_factory=dict)
    chains: Mapping[Node, tuple[Node, ...]] = field(default_factory=dict)
    summed: frozenset[Node] = frozenset()
    attentions: frozenset[Node] = frozenset()

    def qparams(self, node: Node) -> QParams:
        """Scale and zero point of a value that is read as uint8."""
        return self.quantized[node] if node in self.quantized else self.entering[node]

    @property
    def bounds(self) -> frozenset[Node]:
        """The nodes that bound the one before them."""
        return frozenset(self.bounded.values())

    @property
    def inner(self) -> frozenset[Node]:
        """The functions within a table but the last; they need no value."""
        return frozenset(step for chain in self.chains.values() for step in chain[:-1])


def assign(
    nodes: Sequence[Node], ranges: Ranges, floats: Collection[str] = (), attentions: Collection[str] = ()
) -> Types:
    """Decides for the nodes of one native part, given in the order of the graph.

    Args:
        nodes: of the part; what they read besides are its inputs.
        ranges: what calibration saw of each value.
        floats: names at capture of values that stay float32 but where a layer reads them.
        attentions: names at capture of attentions whose products are in 8 bits.

    Raises:
        NiwakiError: the range of a value that a layer reads is not known, or no scale holds it.
    """
    chosen = _Choice(nodes, ranges, frozenset(floats)).eight_bit()
    bounded = _bounded(nodes, chosen)
    chains = _chains(nodes, chosen, frozenset(bounded.values()))
    inner = {step for chain in chains.values() for step in chain[:-1]}
    made = [node for node in nodes if node in chosen and node not in inner]
    entering = list(
        dict.fromkeys(
            source
            for node in nodes
            if find(node) is not None and (handler(node).layer or node in chosen)
            for source in _read(node)
            if source not in chosen
        )
    )
    scales = _Scales(ranges, bounded)
    for node in (*entering, *made):
        scales.add(node)
    for node in made:
        scales.join(node)
    return Types(
        {node: scales.of(node) for node in made}, {node: scales.of(node) for node in entering}, bounded, chains,
        _summed(made, bounded), frozenset(node for node in nodes if origin(node) in attentions),
    )  # fmt: skip


def _read(node: Node) -> list[Node]:
    """What a layer or a uint8 operator reads as uint8."""
    if handler(node).rounds:
        return []
    return [layer_input(node)] if handler(node).layer else data_inputs(node)


class _Choice:
    """Which values of a part are uint8."""

    def __init__(self, nodes: Sequence[Node], ranges: Ranges, floats: frozenset[str]) -> None:
        self._nodes = nodes
        self._inside = set(nodes)
        self._ranges = ranges
        self._floats = floats
        # Parts that span little of what they are a part of are rounded by themselves, after they were cut off.
        self._small = {node for node in nodes if self._is_small_part(node)}
        self._kept = {data_inputs(node)[0] for node in self._small}

    def eight_bit(self) -> set[Node]:
        """The values made inside that are uint8."""
        natural: set[Node] = set()  # made by layers, and what is computed of them
        able: set[Node] = set()
        for node in self._nodes:
            operator = find(node)
            if operator is None or not self._may(node):
                continue
            if operator.layer or operator.rounds:
                natural.add(node)
            elif node not in self._small and operator.quantizable(node):
                sources = data_inputs(node)
                if sources and all(source in natural for source in sources):
                    natural.add(node)
                elif (operator.moves and len(sources) == 1 and self._movable(sources[0], able)) or (
                    _joins(node) and self._joinable(sources, natural, able)
                ):
                    able.add(node)
        able |= natural
        chosen: set[Node] = set()
        for node in reversed(self._nodes):
            # A float32 value is rounded early only where nobody reads it as it is.
            wanted = any if node in natural else all
            if node not in able or not node.users:
                continue
            if handler(node).rounds or wanted(self._wants(user, node, chosen) for user in node.users):
                chosen.add(node)
        return chosen

    def _movable(self, source: Node, able: set[Node]) -> bool:
        """Whether a value may be rounded before it is moved."""
        return source in able or (self._may(source) and not is_constant(source))

    def _joinable(self, parts: Sequence[Node], natural: set[Node], able: set[Node]) -> bool:
        """Whether parts of a concatenation that are float32 may be rounded before they are joined with uint8 ones."""
        return any(part in natural for part in parts) and all(
            part in natural or self._movable(part, able) for part in parts
        )

    def _may(self, node: Node) -> bool:
        """Whether a value may be uint8 at all."""
        if not is_tensor(node) or dtype_of(node) != torch.float32 or origin(node) in self._floats:
            return False
        return node not in self._kept and _finite(self._ranges.get(origin(node)))

    def _wants(self, user: Node, node: Node, chosen: set[Node]) -> bool:
        if user not in self._inside or find(user) is None:
            return False
        return user in chosen or (handler(user).layer and layer_input(user) is node)

    def _is_small_part(self, node: Node) -> bool:
        operator = find(node)
        if operator is None or not operator.takes_part(node) or not operator.quantizable(node):
            return False
        whole, part = (self._ranges.get(origin(each)) for each in (data_inputs(node)[0], node))
        return whole is not None and part is not None and _span(part) < _SMALL_PART * _span(whole)


def _finite(known: tuple[float, float] | None) -> bool:
    return known is not None and all(map(math.isfinite, known))


def _span(known: tuple[float, float]) -> float:
    """What a scale has to hold: the range, widened to 0."""
    return max(known[1], 0.0) - min(known[0], 0.0)


def _bounded(nodes: Sequence[Node], chosen: set[Node]) -> dict[Node, Node]:
    bounded: dict[Node, Node] = {}
    for node in nodes:
        if node in chosen and handler(node).limits(node) is not None:
            source = data_inputs(node)[0]
            if (
                source in chosen
                and len(source.users) == 1
                and handler(source).bounds
                and not handler(source).unary(source)
            ):
                bounded[source] = node
    return bounded


def _summed(made: Sequence[Node], bounded: Mapping[Node, Node]) -> frozenset[Node]:
    """What csrc/graph/fuse.cc will fuse: a sum goes into the later of the two layers before it, where it can."""
    order = {node: place for place, node in enumerate(made)}
    found: set[Node] = set()
    for node in made:
        sources = [source for source in data_inputs(node) if source in order]
        if not handler(node).sums(node) or len(sources) != 2 or sources[0] is sources[1]:
            continue
        later = max(sources, key=order.__getitem__)
        if handler(later).adds(later) and len(later.users) == 1 and later not in bounded:
            found.add(later)
    return frozenset(found)


def _chains(nodes: Sequence[Node], chosen: set[Node], bounds: frozenset[Node]) -> dict[Node, tuple[Node, ...]]:
    chains: dict[Node, tuple[Node, ...]] = {}
    inner: set[Node] = set()
    for node in nodes:
        if node not in chosen or node in bounds or not handler(node).unary(node):
            continue
        source = data_inputs(node)[0]
        before = chains.get(source, ())
        if before and len(source.users) == 1:
            inner.add(source)
        else:
            before = ()
        chains[node] = (*before, node)
    return {node: chain for node, chain in chains.items() if node not in inner}


class _Scales:
    """Groups of values that share a scale (union-find), and the range of each group.

    What is moved, pooled or bounded keeps the scale of what it reads. Parts of a concatenation have the result's scale
    where nobody else reads them, or where they are about as wide; else they keep their own, and are rounded once more
    when they are joined.
    """

    def __init__(self, ranges: Ranges, bounded: Mapping[Node, Node]) -> None:
        self._ranges = ranges
        self._bounded = bounded
        self._parent: dict[Node, Node] = {}
        self._range: dict[Node, tuple[float, float]] = {}
        self._fixed: set[Node] = set()  # groups whose numbers a file says
        self._narrowest: dict[Node, float] = {}  # of those in a group that others than concatenations read

    def add(self, node: Node) -> None:
        """A value with the range that was observed."""
        bound = self._bounded.get(node, node)  # what a bound cuts off needs no numbers
        known = self._ranges.get(origin(bound))
        if known is None:
            raise NiwakiError(
                f"{label(node)}: nothing is known of the range of its values ('{origin(node)}' in the graph): the "
                "network or its inputs have changed since it was calibrated. Pass calibration= to niwaki.compile to "
                "observe anew."
            )
        if not _finite(known):
            raise NiwakiError(
                f"{label(node)}: its values range from {known[0]} to {known[1]}, which no scale holds. Calibrate with "
                "other inputs."
            )
        self._parent[node] = node
        self._range[node] = known
        operator = find(bound) if bound.op == "call_function" else None  # a part of a result has none
        if operator is not None and operator.rounds:
            self._fixed.add(node)
        joined_only = bool(node.users) and all(_joins(user) for user in node.users)
        self._narrowest[node] = math.inf if joined_only else _span(known)

    def join(self, node: Node) -> None:
        """Gives the node the scale of what it reads, where it keeps scales and the two are alike."""
        operator, sources = handler(node), data_inputs(node)
        if node in self._bounded.values() and self._bounded.get(sources[0]) is node:
            self._unite(sources[0], node)
        elif not operator.keeps:
            return
        elif _joins(node):
            for source in dict.fromkeys(sources):
                self._unite_alike(source, node)
        elif operator.added(node) is None:
            self._unite(sources[0], node)
        else:
            self._pad(sources[0], node, float(operator.added(node) or 0.0))

    def of(self, node: Node) -> QParams:
        """The scale and zero point of the node's group."""
        scale, zero_point = qparams(*self._range[self._find(node)])
        return QParams(float(scale), int(zero_point))

    def _pad(self, source: Node, node: Node, value: float) -> None:
        low, high = self._range[self._find(source)]
        if value <= _EXCLUDES and value < low and node.users and all(_ignores_pad(user, node) for user in node.users):
            self._range[node] = (low, high)  # it only excludes: the lowest will do
        elif not low <= value <= high and value != 0:
            own = (min(self._range[node][0], value), max(self._range[node][1], value))
            self._range[node] = own
            if _span((low, high)) < _SMALL_PART * _span(own):
                return
        self._unite(source, node)

    def _find(self, node: Node) -> Node:
        root = node
        while self._parent[root] is not root:
            root = self._parent[root]
        while self._parent[node] is not root:
            self._parent[node], node = root, self._parent[node]
        return root

    def _unite(self, a: Node, b: Node) -> None:
        a, b = self._find(a), self._find(b)
        if a is not b:
            self._parent[a] = b
            self._range[b] = self._together(a, b)
            self._fixed |= {b} if a in self._fixed else set()
            self._narrowest[b] = min(self._narrowest[a], self._narrowest[b])

    def _unite_alike(self, a: Node, b: Node) -> None:
        a, b = self._find(a), self._find(b)
        if self._fixed & {a, b} and self._range[a] != self._range[b]:
            return
        if _ALIKE * _span(self._together(a, b)) <= min(self._narrowest[a], self._narrowest[b]):
            self._unite(a, b)

    def _together(self, a: Node, b: Node) -> tuple[float, float]:
        ranges = (self._range[a], self._range[b])
        return min(low for low, _ in ranges), max(high for _, high in ranges)


def _joins(node: Node) -> bool:
    return operator_name(node) in ("aten::cat", "aten::concat", "aten::concatenate")


def _ignores_pad(node: Node, pad: Node) -> bool:
    """Whether a max pool sees a value besides what was padded under each of its windows."""
    if operator_name(node) != "aten::max_pool2d":
        return False
    given = arguments(node)
    kernel, own, dilation = (spread(given[name], 2) for name in ("kernel_size", "padding", "dilation"))
    ends = [possible(size_of(end)) for end in reversed(arguments(pad)["pad"])]
    if any(end is None for end in ends):
        return False
    most = [int(end.max()) for end in ends if end is not None] + [0] * (4 - len(ends))
    return not any(most[4:]) and all(
        step == 1 and max(most[2 * axis : 2 * axis + 2]) < size - more
        for axis, (size, more, step) in enumerate(zip(kernel, own, dilation, strict=True))
    )
