"""Resize, Upsample and GridSample."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch.fx import Node

from niwaki.onnx.call import Call
from niwaki.onnx.dtypes import is_float
from niwaki.onnx.errors import Refusal
from niwaki.onnx.functions import resizing
from niwaki.onnx.registry import operator


@operator("Upsample", since=7, until=9)
def _upsample(call: Call) -> Any:
    mode = call.only("mode", "nearest", "linear")
    given = call.attribute("scales") if call.version < 9 else call.whole(1).tolist()
    scales = [float(scale) for scale in given]
    return _resize(call, mode, "asymmetric", "floor", scales, None, -0.75, range(len(scales)))


@operator("Resize", since=10, until=10)
def _old_resize(call: Call) -> Any:
    mode = call.only("mode", "nearest", "linear")
    scales = [float(scale) for scale in call.whole(1).tolist()]
    return _resize(call, mode, "asymmetric", "floor", scales, None, -0.75, range(len(scales)))


@operator("Resize", since=11)
def _new_resize(call: Call) -> Any:
    mode = call.only("mode", "nearest", "linear", "cubic")
    where = call.only(
        "coordinate_transformation_mode", "half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric",
        "tf_crop_and_resize", "half_pixel_symmetric", "tf_half_pixel_for_nn",
    )  # fmt: skip
    nearest = call.only("nearest_mode", "round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    coefficient = call.number("cubic_coeff_a", -0.75)
    if call.flag("antialias") and mode != "nearest":
        raise Refusal("its attribute antialias = 1 is not supported")
    exclude = call.flag("exclude_outside")
    outside = call.number("extrapolation_value", 0.0)
    policy = call.only("keep_aspect_ratio_policy", "stretch", "not_larger", "not_smaller")
    rank = call.rank()
    axes = [call.axis(axis, rank) for axis in call.integers("axes") or range(rank)]
    region = None
    if call.given(1):
        region_value = call.value(1)
        if where == "tf_crop_and_resize":
            region = call.whole(1).tolist()
        del region_value
    scales = [float(scale) for scale in call.whole(2).tolist()] if _filled(call, 2) else None
    sizes = call.elements(3) if _filled(call, 3) else None
    if (scales is None) == (sizes is None):
        raise Refusal("it has neither scales nor sizes, or both")
    return _resize(
        call, mode, where, nearest, scales, sizes, coefficient, axes, exclude=exclude, policy=policy, region=region,
        outside=outside,
    )  # fmt: skip


def _filled(call: Call, index: int) -> bool:
    """Whether an input is given and has elements."""
    if not call.given(index):
        return False
    return call.value(index).dims != (0,)


def _resize(
    call: Call,
    mode: str,
    where: str,
    nearest: str,
    scales: list[float] | None,
    sizes: list[Any] | None,
    coefficient: float,
    axes: Any,
    *,
    exclude: bool = False,
    policy: str = "stretch",
    region: list[float] | None = None,
    outside: float = 0.0,
) -> Any:
    axes = list(axes)
    call.rank()
    own = call.dims()
    given = scales if scales is not None else sizes
    assert given is not None
    if len(given) != len(axes):
        raise Refusal("it has not one scale or size for each axis")
    resized = [axis for axis, each in zip(axes, given, strict=True) if not _keeps(each, own[axis], scales is not None)]
    if not resized and region is None:
        return call.x()
    if where == "tf_crop_and_resize" or policy != "stretch" or not is_float(call.value(0).elem):
        resized = axes
    target = {axis: each for axis, each in zip(axes, given, strict=True) if axis in resized}
    found = _interpolate(call, mode, where, nearest, target, scales is not None, coefficient, exclude, policy)
    if found is not None:
        return found
    extent = {axis: (region[i], region[i + len(axes)]) for i, axis in enumerate(axes)} if region is not None else None
    return call.call(
        resizing.resize, call.x(), target, scales is not None, mode, where, nearest, coefficient, exclude, policy,
        extent, outside,
    )  # fmt: skip


def _keeps(wanted: Any, own: Any, is_scale: bool) -> bool:
    return wanted == 1.0 if is_scale else wanted is own or (not isinstance(wanted, Node) and wanted == own)


def _interpolate(
    call: Call,
    mode: str,
    where: str,
    nearest: str,
    target: dict[int, Any],
    are_scales: bool,
    coefficient: float,
    exclude: bool,
    policy: str,
) -> Any:
    """torch's own interpolation, where it computes the same; None where it does not."""
    rank = call.rank()
    spatial = rank - 2
    same = policy == "stretch" and not exclude and is_float(call.value(0).elem) and where != "tf_crop_and_resize"
    if not same or not 1 <= spatial <= 3 or min(target) < 2:
        return None
    names = {"linear": {1: "linear", 2: "bilinear", 3: "trilinear"}, "cubic": {2: "bicubic"}, "nearest": {}}
    own = call.dims()
    listed = [target.get(axis, 1.0 if are_scales else own[axis]) for axis in range(2, rank)]
    corners = None
    if mode == "nearest":
        whole = are_scales and all(scale >= 1 and float(scale).is_integer() for scale in listed)
        if where == "asymmetric" and nearest == "floor" and whole:
            chosen = "nearest"
        elif where in ("half_pixel", "pytorch_half_pixel") and nearest.startswith("round_prefer") and whole:
            chosen = "nearest-exact"  # no pixel lies in the middle of two
        else:
            return None
    else:
        chosen = names[mode].get(spatial, "")
        if not chosen or (mode == "cubic" and coefficient != -0.75):
            return None
        if where == "align_corners":
            corners = True
        elif where == "half_pixel" or (where == "pytorch_half_pixel" and are_scales and min(listed) >= 1):
            corners = False
        elif where == "pytorch_half_pixel" and not are_scales:
            return call.call(resizing.half_pixel, call.x(), listed, mode, chosen)
        else:
            return None
    if not are_scales:
        return call.call(F.interpolate, call.x(), size=listed, mode=chosen, align_corners=corners)
    exact = all(float(scale * 256).is_integer() and scale < 256 for scale in listed)
    if exact and corners is not True:
        return call.call(F.interpolate, call.x(), scale_factor=listed, mode=chosen, align_corners=corners)
    if corners is True:
        listed = [call.call(resizing.scaled, own[2 + index], scale) for index, scale in enumerate(listed)]
        return call.call(F.interpolate, call.x(), size=listed, mode=chosen, align_corners=True)
    return None


@operator("GridSample", since=16)
def _grid_sample(call: Call) -> Any:
    mode = call.only("mode", "linear", "bilinear", "nearest", "cubic", "bicubic")
    if call.version == 16 and not call.has("mode"):
        mode = "bilinear"
    mode = {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode)
    padding = call.only("padding_mode", "zeros", "border", "reflection")
    return call.call(F.grid_sample, call.x(0), call.x(1), mode, padding, call.flag("align_corners"))
