"""Sizes of a captured graph as expressions of the core."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import sympy
import torch
from torch.utils._sympy import functions

from niwaki import _core
from niwaki.capture import Captured
from niwaki.capture.sizes import Expression
from niwaki.errors import NiwakiError

CoreDim = int | _core.Dim

_MOST = 1 << 63
_FINEST = 4096  # the largest denominator of a number that is computed with exactly
# Sizes up to here are tried when a factor with a fraction becomes one of whole numbers.
_MOST_SCALED = 65536
_MOST_STEPS = 40


class SizeMap:
    """The free sizes of a captured graph as those of a core graph.

    Args:
        graph: to which the sizes and the guards are added.
        captured: whose sizes they are.
    """

    def __init__(self, graph: _core.Graph, captured: Captured) -> None:
        self._graph = graph
        self._known: dict[str, CoreDim] = {}
        bare = {str(dim) for info in captured.inputs for dim in info.dims if not isinstance(dim, int) and dim.is_Symbol}
        for symbol, size in captured.sizes.items():
            if symbol in bare:
                self._known[symbol] = graph.add_size(size.name, size.low, size.high, size.hint)
        for info in captured.inputs:
            for axis, dim in enumerate(info.dims):
                self._solve(graph, captured, f"{info.name}_dim{axis}", dim)
        for guard in captured.guards:
            cases = [[(self(each.left), each.relation, self(each.right)) for each in case] for case in guard.cases]
            graph.add_guard(cases, guard.message)

    def _solve(self, graph: _core.Graph, captured: Captured, name: str, dim: Expression) -> None:
        """A symbol that is no dim by itself, such as s of a dim 2 s, follows from the dim."""
        if isinstance(dim, int):
            return
        unknown = [symbol for symbol in dim.free_symbols if str(symbol) not in self._known]
        if not unknown:
            return
        factor, rest = dim.as_independent(unknown[0], as_Add=False)
        if len(unknown) > 1 or rest != unknown[0] or not factor.is_Integer or factor <= 0:
            raise NiwakiError(f"The sizes of the inputs hang together in a way that is not supported: {dim}.")
        size = captured.sizes[str(unknown[0])]
        times = int(factor)
        whole = graph.add_size(name, size.low * times, min(size.high, (2**63 - 1) // times) * times, size.hint * times)
        self._known[str(unknown[0])] = whole // times
        graph.add_guard([[(whole % times, "==", 0)]], f"{size.where} must be a multiple of {times}.")

    def __call__(self, size: Any) -> CoreDim:
        """A size as the core has it: of an int, a SymInt, or a sympy expression.

        Raises:
            NiwakiError: the expression has a form that the core does not know.
        """
        if isinstance(size, torch.SymInt):
            size = size.node.expr
        if isinstance(size, int):
            return size
        return self._of(sympy.sympify(size))

    def _of(self, expression: Any) -> CoreDim:
        if expression.is_Integer:
            if not -_MOST <= int(expression) < _MOST:
                raise NiwakiError(f"A size is computed with {expression}, a number of more than 64 bits.")
            return int(expression)
        if expression.is_Symbol:
            known = self._known.get(str(expression))
            if known is None:
                raise NiwakiError(f"The size {expression} depends on values, and not on the sizes of the inputs alone.")
            return known
        if isinstance(expression, (functions.TruncToInt, functions.FloorToInt, functions.CeilToInt)):
            return self._rounded(expression.args[0], up=isinstance(expression, functions.CeilToInt))
        combine = next((function for kinds, function in _OPERATIONS.items() if isinstance(expression, kinds)), None)
        if combine is None:
            raise NiwakiError(f"A size is computed in a way that is not supported: {expression}.")
        return combine([self._of(part) for part in expression.args])

    def _rounded(self, number: Any, *, up: bool) -> CoreDim:
        """A quotient of sizes, or a size times a number with a fraction, as a whole number."""
        if isinstance(number, functions.IntTrueDiv):
            a, b = (self._of(part) for part in number.args)
        else:
            a, b = self._exact(number) or self._scaled(number, up=up)
        return 0 - (0 - a) // b if up else a // b

    def _exact(self, number: Any) -> tuple[CoreDim, int] | None:
        """A quotient of what float64 computes without rounding, as (height - 0.5) / 2; None for another form.

        A quotient itself may be rounded: it is a whole number where the exact one is, and on the same side of it.
        """
        if number.is_number:
            fraction = Fraction(float(number))
            return (fraction.numerator, fraction.denominator) if fraction.denominator <= _FINEST else None
        if isinstance(number, functions.ToFloat):
            return self._of(number.args[0]), 1
        if isinstance(number, functions.IntTrueDiv) and number.args[1].is_Integer and 0 < number.args[1] <= _FINEST:
            return self._of(number.args[0]), int(number.args[1])
        if not isinstance(number, (sympy.Add, sympy.Mul, functions.FloatTrueDiv)):
            return None
        parts = [self._exact(part) for part in number.args]
        if any(part is None for part in parts):
            return None
        (a, b), *others = [part for part in parts if part is not None]
        for c, d in others:
            if isinstance(number, sympy.Add):
                a, b = a * d + c * b, b * d
            elif isinstance(number, sympy.Mul):
                a, b = a * c, b * d
            elif isinstance(c, int) and c != 0:
                a, b = (a * d, b * c) if c > 0 else (0 - a * d, b * -c)
            else:
                return None
        return a, b

    def _scaled(self, product: Any, *, up: bool) -> tuple[CoreDim, int]:
        """A size times a number with a fraction, as interpolation by a factor has it: as a quotient."""
        factor, rest = product.as_independent(*product.free_symbols, as_Add=False)
        if not isinstance(rest, functions.ToFloat) or not factor.is_number or factor <= 0:
            raise NiwakiError(f"A size is computed in a way that is not supported: {product}.")
        fraction = Fraction(float(factor)).limit_denominator(_FINEST)
        steps = _rounded_down(float(factor), fraction, up=up)
        size = self._of(rest.args[0])
        if not isinstance(size, int):
            message = f"{rest.args[0]} must be at most {_MOST_SCALED} to be scaled by {float(factor)}."
            self._graph.add_guard([[(size, "<=", _MOST_SCALED)]], message)
        whole = size * fraction.numerator
        for place, step in steps:
            whole = whole - step * smallest(largest(size - (place - 1), 0), 1)
        return whole, fraction.denominator


def _rounded_down(factor: float, fraction: Fraction, *, up: bool) -> list[tuple[int, int]]:
    """From which sizes on a size times a factor is rounded to below, or no more below, the whole number it should be.

    The factor 0.7 is a little less than 7/10: in float64, 80 of it are 56, but 90 of it less than 63. From each of
    these sizes on, 1 is taken from, or given back to, what is divided.

    Raises:
        NiwakiError: it is another number.
    """
    sizes = np.arange(_MOST_SCALED + 1)
    sign = -1 if up else 1
    wanted = np.floor(sizes * sign * factor)
    whole = sizes[sizes * fraction.numerator % fraction.denominator == 0]
    less = (sign * whole * fraction.numerator // fraction.denominator - wanted[whole]).astype(np.int64)
    changes = np.flatnonzero(np.diff(less, prepend=0))
    steps = [(int(whole[at]), int(less[at] - (less[at - 1] if at else 0))) for at in changes]
    taken = sum((step * (sizes >= place) for place, step in steps), np.zeros_like(sizes))
    found = (sign * sizes * fraction.numerator - taken) // fraction.denominator
    if len(steps) > _MOST_STEPS or (up and steps) or not np.array_equal(found, wanted):
        raise NiwakiError(f"A size is computed with a factor that is not supported: {factor}.")
    return steps


def _fold(function: Callable[[CoreDim, CoreDim], CoreDim]) -> Callable[[list[CoreDim]], CoreDim]:
    def fold(parts: list[CoreDim]) -> CoreDim:
        result = parts[0]
        for part in parts[1:]:
            result = function(result, part)
        return result

    return fold


def _power(parts: list[CoreDim]) -> CoreDim:
    base, exponent = parts
    if not isinstance(exponent, int) or not 0 < exponent <= 8:
        raise NiwakiError("A size is computed by a power that is not supported.")
    result = base
    for _ in range(exponent - 1):
        result = result * base
    return result


def largest(a: CoreDim, b: CoreDim) -> CoreDim:
    """The larger of two sizes."""
    return max(a, b) if isinstance(a, int) and isinstance(b, int) else _kind(a, b).max(a, b)


def smallest(a: CoreDim, b: CoreDim) -> CoreDim:
    """The smaller of two sizes."""
    return min(a, b) if isinstance(a, int) and isinstance(b, int) else _kind(a, b).min(a, b)


def _kind(a: CoreDim, b: CoreDim) -> Any:
    """The class of expressions; tests lower into graphs that have one of their own."""
    return type(b) if isinstance(a, int) else type(a)


_OPERATIONS: Mapping[tuple[type, ...], Callable[[list[CoreDim]], CoreDim]] = {
    (sympy.Add,): _fold(lambda a, b: a + b),
    (sympy.Mul,): _fold(lambda a, b: a * b),
    (sympy.Pow,): _power,
    (functions.FloorDiv, functions.CleanDiv): _fold(lambda a, b: a // b),
    (functions.Mod, functions.PythonMod): _fold(lambda a, b: a % b),
    (functions.Max, sympy.Max): _fold(largest),
    (functions.Min, sympy.Min): _fold(smallest),
}
