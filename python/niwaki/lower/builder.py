"""Collects the operators of one native part of a network in a core graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.fx import Node

from niwaki import _core
from niwaki.lower.nodes import label

if TYPE_CHECKING:
    from niwaki.lower.folding import Folding


@dataclass(frozen=True)
class QParams:
    """real = scale * (q - zero_point), q in 0 to 255. The scale is a float32 number."""

    scale: float
    zero_point: int

    def quantize(self, real: float) -> int:
        """The nearest q, kept in 0 to 255."""
        if not np.isfinite(real):
            return 255 if real > 0 else 0
        return int(min(max(np.rint(real / self.scale) + self.zero_point, 0), 255))

    def reals(self) -> torch.Tensor:
        """What q = 0 to 255 mean, float32 [256]."""
        return (torch.arange(256) - self.zero_point).to(torch.float32) * self.scale


class Builder:
    """Values of the graph under construction, by the nodes of the captured graph that they stand for.

    Args:
        qparams: of every value that is uint8.
        folding: which nodes have become part of others.
    """

    def __init__(
        self,
        qparams: Mapping[Node, QParams],
        folding: Folding,
    ) -> None:
        self.graph = _core.Graph()
        self.values: dict[Node, int] = {}
        self.folding = folding
        self._qparams = qparams

    def qparams(self, node: Node) -> QParams:
        """Scale and zero point of a value that is uint8."""
        return self._qparams[node]

    def is_float(self, node: Node) -> bool:
        """Whether the node's result leaves the graph as float32, without a uint8 form."""
        return node in self.folding.floats

    def add(
        self,
        op: str,
        node: Node,
        inputs: Sequence[int | Node],
        attributes: Mapping[str, int | Sequence[int]] | None = None,
        tensors: Mapping[str, NDArray[Any]] | None = None,
        *,
        qparams: QParams | None = None,
        suffix: str = "",
    ) -> int:
        """Adds an operator named after `node`, with its scale unless another is given; returns the value it makes."""
        if qparams is None and not self.is_float(node) and op != "dequantize":
            qparams = self.qparams(node)
        return self.graph.add_node(
            op,
            label(node) + suffix,
            [self.values[source] if isinstance(source, Node) else source for source in inputs],
            attributes or {},
            tensors or {},
            None if qparams is None else qparams.scale,
            None if qparams is None else qparams.zero_point,
        )
