"""The largest, the first, and what is left of boxes."""

from __future__ import annotations

from typing import Any

from niwaki.onnx.call import Call
from niwaki.onnx.dtypes import INT64
from niwaki.onnx.functions import sorting
from niwaki.onnx.registry import operator


@operator("ArgMax", "ArgMin", since=1)
def _arg(call: Call) -> Any:
    last = call.flag("select_last_index")
    keep = call.flag("keepdims", True)
    axis = call.axis(call.integer("axis", 0), call.rank())
    return call.call(sorting.arg, call.x(), axis, keep, call.operator == "ArgMax", last)


@operator("TopK", since=1)
def _top_k(call: Call) -> Any:
    count = call.integer("k", 1) if call.version < 10 else call.elements(1)[0]
    largest, is_sorted = call.flag("largest", True), call.flag("sorted", True)
    axis = call.axis(call.integer("axis", -1), call.rank())
    made = call.call(sorting.top, call.x(), count, axis, largest, is_sorted)
    return [
        call.call(sorting.item, made, 0),
        call.result(call.call(sorting.item, made, 1), INT64, output=1),
    ]


@operator("NonMaxSuppression", since=10)
def _nms(call: Call) -> Any:
    center = call.flag("center_point_box")
    rest = [call.optional(index) for index in (2, 3, 4)]
    made = call.call(sorting.non_max_suppression, call.x(0), call.x(1), *rest, center)
    return call.result(made, INT64, (None, 3))
