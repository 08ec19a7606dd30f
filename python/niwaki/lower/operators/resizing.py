"""Interpolation in all modes, and sampling at the places that a grid says."""

from __future__ import annotations

import torch
from torch.fx import Node

from niwaki.lower.builder import Builder
from niwaki.lower.nodes import arguments, dtype_of, operator_name, overload_name, rank_of, shape_of
from niwaki.lower.operators.registry import Operator, register
from niwaki.lower.operators.shapes import Shape
from niwaki.lower.operators.unary import source_of
from niwaki.lower.quantized import QParams

_MODES = {
    "upsample_nearest1d": "nearest", "upsample_nearest2d": "nearest", "upsample_nearest3d": "nearest",
    "_upsample_nearest_exact1d": "nearest-exact", "_upsample_nearest_exact2d": "nearest-exact",
    "_upsample_nearest_exact3d": "nearest-exact", "upsample_linear1d": "linear", "upsample_bilinear2d": "linear",
    "upsample_trilinear3d": "linear", "upsample_bicubic2d": "cubic",
}  # fmt: skip


class _Interpolate(Shape):
    """The uint8 form is one of images and of rows."""

    only_float = tuple(f"aten::{name}" for name in _MODES if name.endswith("3d"))

    def refusal(self, node: Node) -> str:
        if dtype_of(node) != torch.float32:
            return f"works on {dtype_of(node)}"
        known = all(isinstance(scale, (int, float)) for scale in self._scales(node))
        return "" if known else "takes a factor that it computes"

    def quantizable(self, node: Node) -> bool:
        return super().quantizable(node) and rank_of(node) <= 4

    def _mode(self, node: Node) -> str:
        return _MODES[operator_name(node).removeprefix("aten::")]

    @staticmethod
    def _scales(node: Node) -> list[float]:
        """The factors that were given; 0 where a size was."""
        given, axes = arguments(node), rank_of(node) - 2
        if overload_name(node) == "vec":
            return list(given["scale_factors"] or []) or [0.0] * axes
        names = ("scales",) if axes == 1 else ("scales_d", "scales_h", "scales_w")[-axes:]
        return [given.get(name) or 0.0 for name in names]

    def _times(self, node: Node) -> list[int] | None:
        """How often each row and column is repeated; None where that is no whole number, or another mode."""
        if rank_of(node) != 4 or not self._mode(node).startswith("nearest"):
            return None
        times = []
        for before, after, scale in zip(
            shape_of(source_of(node))[2:], shape_of(node)[2:], self._scales(node), strict=True
        ):
            whole = isinstance(before, int) and isinstance(after, int) and before > 0 and after % before == 0
            if scale and float(scale).is_integer():
                times.append(int(scale))
            elif whole and not scale:
                times.append(int(after) // int(before))
            else:
                return None
        return times

    def steps(self, builder: Builder, node: Node, value: int, qparams: QParams | None) -> int:
        if qparams is not None and (times := self._times(node)) is not None:
            return builder.add("upsample_nearest2d", node, [value], {"scale": times}, qparams=qparams)
        attributes = {
            "mode": self._mode(node),
            "size": builder.dims(shape_of(node)[2:]),
            "align_corners": int(bool(arguments(node).get("align_corners"))),
            "scales": [float(scale) for scale in self._scales(node)],
        }
        return builder.add("interpolate" if qparams is None else "resize", node, [value], attributes, qparams=qparams)


@register(*(f"aten::{name}" for name, mode in _MODES.items() if mode.startswith("nearest")))
class Nearest(_Interpolate):
    """Moves pixels."""


@register(*(f"aten::{name}" for name, mode in _MODES.items() if not mode.startswith("nearest")))
class Blend(_Interpolate):
    """Mixes pixels, and rounds the result once, to a scale of its own."""

    keeps = False

    def emit_u8(self, builder: Builder, node: Node) -> int:
        return self.steps(builder, node, builder.quantized(source_of(node)), builder.types.qparams(node))


_GRID_MODES = ("bilinear", "nearest", "bicubic")
_GRID_PADS = ("zeros", "border", "reflection")


@register("aten::grid_sampler", "aten::grid_sampler_2d")
class GridSample(Operator):
    def refusal(self, node: Node) -> str:
        return "" if rank_of(node) == 4 else "samples volumes"

    def emit(self, builder: Builder, node: Node) -> int:
        given = arguments(node)
        attributes = {
            "mode": _GRID_MODES[int(given["interpolation_mode"])],
            "padding_mode": _GRID_PADS[int(given["padding_mode"])],
            "align_corners": int(bool(given["align_corners"])),
        }
        return builder.add(
            "grid_sample", node, [builder.plain(given["input"]), builder.plain(given["grid"])], attributes
        )
