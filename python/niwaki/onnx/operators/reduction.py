"""Sums, means and extremes over axes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from niwaki.onnx.call import Call
from niwaki.onnx.dtypes import is_float
from niwaki.onnx.errors import Refusal
from niwaki.onnx.functions import reduction
from niwaki.onnx.functions import sizes as size_functions
from niwaki.onnx.registry import operator

_KINDS = (
    "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum",
    "ReduceLogSumExp", "ReduceSumSquare",
)  # fmt: skip


@operator(*_KINDS, since=1)
def _reduce(call: Call) -> Any:
    as_input = call.version >= (13 if call.operator == "ReduceSum" else 18)
    keep = call.flag("keepdims", True)
    nothing = call.flag("noop_with_empty_axes")
    axes = call.integers("axes")
    if as_input and call.given(1):
        if not call.value(1).constant:
            raise Refusal(f"its axes '{call.value(1).name}' have to be a constant")
        axes = [int(axis) for axis in call.whole(1).reshape(-1).tolist()]
    rank = call.rank()
    if not axes:
        # Each element by itself: a sum of one, say, and not the element itself where more than a sum is made.
        axes = [] if nothing else list(range(rank))
    axes = sorted(call.axis(axis, rank) for axis in axes)
    value = call.value(0)
    if value.sizes and call.operator in ("ReduceProd", "ReduceSum") and axes == [0] and rank == 1:
        function = size_functions.product if call.operator == "ReduceProd" else size_functions.total
        made = call.call(function, value.data.tolist())
        return call.result(np.array([made] if keep else made, dtype=object), value.elem)
    x = call.x(0)
    if rank == 0:
        axes = []
    if not axes:
        return call.call(reduction.of_each, x, call.operator)
    if is_float(value.elem):
        if call.operator == "ReduceMean":
            return call.call(torch.mean, x, axes, keep)
        if call.operator == "ReduceSum":
            return call.call(torch.sum, x, axes, keep)
        if call.operator in ("ReduceMax", "ReduceMin"):
            known = value.dims is not None and all(value.dims[axis] not in (None, 0) for axis in axes)
            if known or call.version < 18:
                return call.call(torch.amax if call.operator == "ReduceMax" else torch.amin, x, axes, keep)
    return call.call(reduction.reduced, x, call.operator, axes, keep)
