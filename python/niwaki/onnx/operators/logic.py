"""Comparisons and choices."""

from __future__ import annotations

import operator as python
from typing import Any

import torch
from torch.fx import Node

from niwaki.onnx.call import Call
from niwaki.onnx.dtypes import BOOL, is_float
from niwaki.onnx.functions import sizes as size_functions
from niwaki.onnx.operators.arithmetic import both
from niwaki.onnx.operators.sizes import map_sizes
from niwaki.onnx.registry import operator

_COMPARISONS = {
    "Equal": (torch.eq, python.eq), "Greater": (torch.gt, python.gt), "Less": (torch.lt, python.lt),
    "GreaterOrEqual": (torch.ge, python.ge), "LessOrEqual": (torch.le, python.le),
}  # fmt: skip


@operator("Equal", "Greater", "Less", since=7)
@operator("GreaterOrEqual", "LessOrEqual", since=12)
def _compare(call: Call) -> Any:
    of_tensors, of_sizes = _COMPARISONS[call.operator]
    if call.in_sizes(0, 1) and not is_float(call.value(0).elem):

        def compared(a: Any, b: Any) -> Any:
            # A size is never below 0, as the -1 that stands for "as it is" in shapes.
            never = call.operator == "Equal" and any(
                call.builder.never_negative(one) and not isinstance(other, Node) and other < 0
                for one, other in ((a, b), (b, a))
            )
            return False if never else call.call(of_sizes, a, b)

        return call.result(map_sizes(compared, call.array(0), call.array(1)), BOOL)
    return both(call, of_tensors)


@operator("And", "Or", "Xor", since=7)
def _logical(call: Call) -> Any:
    functions = {"And": torch.logical_and, "Or": torch.logical_or, "Xor": torch.logical_xor}
    return call.call(functions[call.operator], call.x(0), call.x(1))


@operator("Where", since=9)
def _where(call: Call) -> Any:
    if not is_float(call.value(1).elem) and _small(call):
        condition = call.array(0)

        def chosen(which: Any, a: Any, b: Any) -> Any:
            if isinstance(which, Node):
                return call.call(size_functions.chosen, which, a, b)
            return a if which else b

        return call.result(map_sizes(chosen, condition, call.array(1), call.array(2)), call.value(1).elem)
    # Of a condition that is known, one side may be all there is.
    return call.call(torch.where, call.x(0), call.x(1), call.x(2))


def _small(call: Call) -> bool:
    return call.in_sizes(0, 1, 2)
