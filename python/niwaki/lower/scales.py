"""From observed ranges to the scale and zero point of every uint8 value of a native part."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Protocol

from torch.fx import Node

from niwaki.errors import NiwakiError
from niwaki.lower.builder import QParams
from niwaki.lower.folding import Folding
from niwaki.lower.nodes import label, origin
from niwaki.lower.operators.registry import handler
from niwaki.quantization.affine import qparams


class Ranges(Protocol):
    """What calibration saw of each value of the captured graph, by name."""

    def get(self, name: str, /) -> tuple[float, float] | None: ...


class _Groups:
    """Values that share one scale (union-find)."""

    def __init__(self) -> None:
        self._parent: dict[Node, Node] = {}

    def find(self, node: Node) -> Node:
        root = node
        while self._parent.setdefault(root, root) is not root:
            root = self._parent[root]
        while self._parent[node] is not root:
            self._parent[node], node = root, self._parent[node]
        return root

    def unite(self, a: Node, b: Node) -> None:
        self._parent[self.find(a)] = self.find(b)


def assign_scales(
    nodes: Sequence[Node],
    inputs: Iterable[Node],
    folding: Folding,
    ranges: Ranges,
) -> dict[Node, QParams]:
    """Scale and zero point of each value that is uint8.

    Values that share a scale get one that covers the ranges of all of them. What feeds a ReLU alone has the scale of
    its result: what it cuts off needs no numbers.

    Args:
        nodes: of the native part, in order.
        inputs: the values that come from outside.
        folding: see `niwaki.lower.folding`.
        ranges: what calibration saw.

    Raises:
        NiwakiError: nothing is known of a value's range.
    """
    made = [node for node in nodes if node not in folding.inner and node not in folding.floats]
    groups = _Groups()
    for source, bound in folding.bounded.items():
        groups.unite(source, bound)
    for node in made:
        for source in handler(node).shared(node):
            groups.unite(source, node)

    covers: dict[Node, list[float]] = {}
    for node in [*inputs, *made]:
        known = covers.setdefault(groups.find(node), [])
        if node not in folding.bounded:
            known += ranges.get(origin(node)) or ()
    for node in made:
        if covers[groups.find(node)]:
            covers[groups.find(node)] += handler(node).reals(node)

    chosen: dict[Node, QParams] = {}
    for node in [*inputs, *made]:
        root = groups.find(node)
        if root not in chosen:
            chosen[root] = _choose(node, covers[root])
        chosen[node] = chosen[root]
    return chosen


def _choose(node: Node, covers: list[float]) -> QParams:
    if not covers:
        raise NiwakiError(
            f"{label(node)}: nothing is known of the range of its values ('{origin(node)}' in the graph): the network "
            "or its inputs have changed since it was calibrated. Pass calibration= to niwaki.compile to observe anew."
        )
    low, high = min(covers), max(covers)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise NiwakiError(
            f"{label(node)}: its values range from {low} to {high}, which no scale holds. Calibrate with other inputs."
        )
    scale, zero_point = qparams(low, high)
    return QParams(float(scale), int(zero_point))
