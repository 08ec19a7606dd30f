"""What sizes can be that follow from free ones."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import sympy
import torch
from torch.utils._sympy import functions

# Free sizes from 0 up to here are tried. What layers make of sizes grows evenly but for a remainder, whose divisor is
# the product of their strides.
_MOST = 4096

_DIVISIONS = (functions.FloorDiv, functions.CleanDiv, functions.Mod, functions.PythonMod)
_OPERATIONS: Mapping[tuple[type, ...], Callable[..., Any]] = {
    (sympy.Add,): np.add,
    (sympy.Mul,): np.multiply,
    (functions.FloorDiv, functions.CleanDiv): np.floor_divide,
    (functions.Mod, functions.PythonMod): np.mod,
    (functions.Max, sympy.Max): np.maximum,
    (functions.Min, sympy.Min): np.minimum,
}


def possible(size: Any) -> np.ndarray | None:
    """What a size is for all values of the one free size that it follows from; None where that is not known.

    Args:
        size: a number, or a symbol that a node computes.

    Returns:
        int64 [1] of a number, or [sizes].
    """
    if isinstance(size, int):
        return np.array([size])
    if not isinstance(size, torch.SymInt) or len(size.node.expr.free_symbols) > 1:
        return None
    return np.atleast_1d(found) if (found := _of(size.node.expr)) is not None else None


def _of(expression: Any) -> Any:
    if expression.is_Integer:
        return np.int64(int(expression))
    if expression.is_Symbol:
        return np.arange(_MOST + 1)
    combine = next((function for kinds, function in _OPERATIONS.items() if isinstance(expression, kinds)), None)
    if isinstance(expression, _DIVISIONS) and not expression.args[1].is_Integer:
        return None
    parts = [_of(part) for part in expression.args]
    if combine is None or any(part is None for part in parts):
        return None
    return functools.reduce(combine, parts)
