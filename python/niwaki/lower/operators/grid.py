"""Values that a file holds as uint8, with numbers of its own."""

from __future__ import annotations

from torch.fx import Node

from niwaki.lower.builder import Builder
from niwaki.lower.nodes import data_inputs
from niwaki.lower.operators.registry import Operator, handler, register


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
            value = builder.quantized(source, own)
            # The layer's result is cut off here, also before a sum that could be fused: csrc/graph/fuse.cc.
            return builder.add("clamp", node, [value], qparams=own) if handler(source).layer else value
        return builder.add("quantize", node, [builder.plain(source)], qparams=own)
