"""Ranges of values that a file has given grids of their own: niwaki.nn.grid says which."""

from __future__ import annotations

from collections.abc import Sequence

from torch.fx import Node

from niwaki.lower.nodes import arguments, data_inputs, is_tensor, operator_name, origin
from niwaki.lower.operators.registry import find, handler
from niwaki.lower.types import Ranges


class GridRanges:
    """What is known of values from the grids around them, before what calibration saw.

    What only a grid reads is computed on that grid, and so is what a bound such as ReLU lets through to it, and what is
    moved before it is rounded. What keeps the numbers of a grid, as a pool does, is on it, too. Of everything else
    nothing is known: it stays float32.
    """

    def __init__(self, nodes: Sequence[Node], others: Ranges) -> None:
        self._others = others
        self._known: dict[str, tuple[float, float]] = {}
        for node in nodes:
            if is_grid(node):
                self._known[origin(node)] = range_of(node)
            elif find(node) is not None and data_inputs(node):
                read, *more = {self._known.get(origin(each)) for each in data_inputs(node)}
                if read is not None and not more and keeps_grid(node, read):
                    self._known[origin(node)] = read
        for node in nodes:
            if is_grid(node):
                self._before(data_inputs(node)[0], range_of(node))

    def get(self, name: str) -> tuple[float, float] | None:
        """(low, high) of a value."""
        found = self._known.get(name)
        return self._others.get(name) if found is None else found

    @property
    def floats(self) -> frozenset[str]:
        """Names of values that stay float32."""
        return frozenset(getattr(self._others, "floats", ()))

    def _before(self, node: Node, found: tuple[float, float]) -> None:
        """What is rounded to a grid alone, and what a bound or a move before that reads alone."""
        while find(node) is not None and len(node.users) == 1 and origin(node) not in self._known:
            self._known[origin(node)] = found
            if handler(node).limits(node) is None and not _moves(node):
                return
            node = data_inputs(node)[0]


def is_grid(node: Node) -> bool:
    """Whether a node rounds to a grid that a file names."""
    return node.op == "call_function" and operator_name(node) == "niwaki::grid"


def range_of(node: Node) -> tuple[float, float]:
    """What a grid spans; scale and zero point follow from it to the last bit."""
    given = arguments(node)
    scale, zero_point = float(given["scale"]), int(given["zero_point"])
    return -zero_point * scale, (255 - zero_point) * scale


def keeps_grid(node: Node, read: tuple[float, float]) -> bool:
    """Whether the elements of a node are some of those that it reads, of one grid, or a padding within its range."""
    operator = find(node)
    if operator is None or not is_tensor(node) or not operator.quantizable(node):
        return False
    added = operator.added(node)
    return operator.keeps and (added is None or read[0] <= added <= read[1])


def _moves(node: Node) -> bool:
    """Whether a node gives elements of the one value that it reads, and nothing else."""
    operator = find(node)
    if operator is None or not operator.quantizable(node) or operator.added(node) is not None:
        return False
    return operator.keeps and len(data_inputs(node)) == 1
