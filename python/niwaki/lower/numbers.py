"""Numbers with fractions that a network computes of its sizes, such as 1 / length, as float32 values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sympy
import torch
from torch.fx import Node
from torch.utils._sympy import functions

from niwaki.errors import NiwakiError
from niwaki.lower.builder import Builder

_BINARY: dict[tuple[type, ...], str] = {
    (sympy.Add,): "add",
    (sympy.Mul,): "mul",
    (functions.IntTrueDiv, functions.FloatTrueDiv): "div",
    (sympy.Pow, functions.FloatPow, functions.PowByNatural): "pow",
    (functions.Max, sympy.Max): "maximum",
    (functions.Min, sympy.Min): "minimum",
}
_UNARY = {"OpaqueUnaryFn_sqrt": "sqrt", "OpaqueUnaryFn_exp": "exp", "OpaqueUnaryFn_log": "log"}


def emit_number(builder: Builder, node: Node, expression: Any) -> int:
    """Adds what a sympy expression of sizes is, as a float32 value of rank 0.

    Raises:
        NiwakiError: the expression has a form that is not native.
    """
    if expression.is_number:
        return builder.scalar(float(expression), torch.float32)
    if expression.is_integer:
        return builder.cast(node, builder.size_value(expression), torch.float32)
    if isinstance(expression, functions.ToFloat):
        return emit_number(builder, node, expression.args[0])
    unary = _UNARY.get(type(expression).__name__)
    if unary is not None:
        return builder.unary(node, unary, emit_number(builder, node, expression.args[0]), part=unary)
    function = next((word for kinds, word in _BINARY.items() if isinstance(expression, kinds)), None)
    if function is None:
        raise NiwakiError(f"A number is computed of sizes in a way that is not native: {expression}.")
    first, *rest = (emit_number(builder, node, part) for part in expression.args)
    for part in rest:
        first = builder.binary(node, function, first, part, part=function)
    return first


def check_number(expression: Any, size: Callable[[Any], Any]) -> None:
    """Raises NiwakiError where `emit_number` would; `size` turns integers into sizes of the core."""
    if expression.is_number:
        return
    if expression.is_integer:
        size(expression)
        return
    known = isinstance(expression, (functions.ToFloat, *(kind for kinds in _BINARY for kind in kinds)))
    if not known and type(expression).__name__ not in _UNARY:
        raise NiwakiError(f"A number is computed of sizes in a way that is not native: {expression}.")
    for part in expression.args:
        check_number(part, size)
