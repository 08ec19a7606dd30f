"""Values that a file holds as uint8, with numbers of its own."""

from __future__ import annotations

from torch.fx import Node

from niwaki.lower.builder import Builder
from niwaki.lower.nodes import data_inputs
from niwaki.lower.operators.registry import Operator, register


@register("niwaki::grid")
class Grid(Operator):
    """What it reads may be uint8 with the same numbers already; then nothing is left to do."""

    computes = True
    rounds = True

    def quantizable(self, node: Node) -> bool:
        return True

    def emit_u8(self, builder: Builder, node: Node) -> int:
        source, own = data_inputs(node)[0], builder.types.qparams(node)
        if source in builder.types.quantized:
            return builder.quantized(source, own)
        return builder.add("quantize", node, [builder.plain(source)], qparams=own)
