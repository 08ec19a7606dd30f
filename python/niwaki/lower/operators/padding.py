"""Padding in every mode."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.fx import Node

from niwaki.lower.builder import Builder
from niwaki.lower.nodes import arguments, dtype_of, is_constant, operator_name, rank_of, size_of
from niwaki.lower.operators.registry import Operator, register
from niwaki.lower.operators.unary import source_of
from niwaki.lower.possible import possible

_MODES = {
    **{f"reflection_pad{axes}d": "reflect" for axes in (1, 2, 3)},
    **{f"replication_pad{axes}d": "replicate" for axes in (1, 2, 3)},
    "constant_pad_nd": "constant",
    "_pad_circular": "circular",
}


@register("aten::pad", *(f"aten::{name}" for name in _MODES))
class Pad(Operator):
    """A uint8 form has the pad of images with a constant: zero is exact, and what lies far below becomes the lowest."""

    keeps = True
    only_float = tuple(f"aten::{name}" for name in _MODES if _MODES[name] != "constant")

    @staticmethod
    def mode(node: Node) -> str:
        name = operator_name(node).removeprefix("aten::")
        return str(arguments(node)["mode"]) if name == "pad" else _MODES[name]

    @staticmethod
    def _ends(node: Node) -> list[Any]:
        """[before, after] of each axis, in the order of the axes: torch begins with the last."""
        given = arguments(node)
        pads = list(given["pad"] if "pad" in given else given["padding"])
        pairs = [pads[at : at + 2] for at in range(0, len(pads), 2)]
        pairs += [[0, 0]] * (rank_of(node) - len(pairs))
        return [end for pair in pairs[::-1] for end in pair]

    @staticmethod
    def _value(node: Node) -> Any:
        return arguments(node).get("value") or 0.0

    def any_type(self, node: Node) -> bool:
        return True

    def added(self, node: Node) -> float | None:
        return float(self._value(node))

    def refusal(self, node: Node) -> str:
        if not isinstance(self._value(node), (int, float)):
            return "pads with a number that it computes"
        return "" if dtype_of(node) == torch.float32 or self.mode(node) == "constant" else f"works on {dtype_of(node)}"

    def quantizable(self, node: Node) -> bool:
        ends = [size_of(end) for end in self._ends(node)]
        if self.mode(node) != "constant" or rank_of(node) not in (4, 5) or dtype_of(node) != torch.float32:
            return False
        if is_constant(source_of(node)) or math.isnan(self._value(node)):
            return False
        # A negative end would cut, which uint8 values do not allow: the core refuses it.
        sizes = [possible(end) for end in ends]
        return all(each is not None and each.min() >= 0 for each in sizes) and ends[:2] == [0, 0]

    def emit(self, builder: Builder, node: Node) -> int:
        attributes = {
            "padding": builder.dims(self._ends(node)),
            "mode": self.mode(node),
            "value": float(self._value(node)),
        }
        return builder.add("pad", node, [builder.plain(source_of(node))], attributes)

    def emit_u8(self, builder: Builder, node: Node) -> int:
        qparams = builder.types.qparams(node)
        source = builder.quantized(source_of(node), qparams)
        attributes = {
            "padding": builder.dims(self._ends(node)),
            "mode": "constant",
            "q": qparams.quantize(float(self._value(node))),
        }
        return builder.add("pad", node, [source], attributes, qparams=qparams)
