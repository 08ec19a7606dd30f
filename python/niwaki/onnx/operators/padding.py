"""Pad and CenterCropPad."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch.fx import Node

from niwaki.onnx.call import Call
from niwaki.onnx.errors import Refusal
from niwaki.onnx.functions import padding
from niwaki.onnx.registry import operator


@operator("Pad", since=2, until=10)
def _old_pad(call: Call) -> Any:
    return _pad(call, list(call.integers("pads") or []), list(range(call.rank())), call.number("value", 0.0))


@operator("Pad", since=11)
def _new_pad(call: Call) -> Any:
    rank = call.rank()
    axes = [int(axis) for axis in call.whole(3).tolist()] if call.given(3) else list(range(rank))
    value: Any = 0
    if call.given(2):
        constant = call.value(2).constant and call.value(2).data.numel() == 1
        value = call.whole(2).item() if constant else call.x(2)
    return _pad(call, call.elements(1), [call.axis(axis, rank) for axis in axes], value)


def _pad(call: Call, pads: list[Any], axes: list[int], value: Any) -> Any:
    mode = call.only("mode", "constant", "reflect", "edge", "wrap")
    if len(pads) != 2 * len(axes):
        raise Refusal("it has not two numbers for each axis")
    rank = call.rank()
    around = [(0, 0)] * rank
    for index, axis in enumerate(axes):
        around[axis] = (pads[index], pads[index + len(axes)])
    if mode == "constant":
        if isinstance(value, Node):
            return call.call(padding.constant, call.x(), around, value)
        used = next((axis for axis in range(rank) if around[axis] != (0, 0)), rank)
        if used == rank:
            return call.x()
        listed = [each for axis in reversed(range(used, rank)) for each in around[axis]]
        return call.call(F.pad, call.x(), listed, "constant", value)
    padded = [axis for axis in range(rank) if around[axis] != (0, 0)]
    plain = all(not isinstance(each, Node) and each >= 0 for pair in around for each in pair)
    if (
        plain
        and mode != "wrap"
        and padded
        and 3 <= rank <= 5
        and min(padded) >= 2
        and call.value(0).dtype.is_floating_point
    ):
        listed = [each for axis in reversed(range(2, rank)) for each in around[axis]]
        return call.call(F.pad, call.x(), listed, "reflect" if mode == "reflect" else "replicate")
    return call.call(padding.around, call.x(), around, mode)
