"""Conditions on sizes in sentences for people."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sympy

if TYPE_CHECKING:
    from niwaki.capture.sizes import FreeSize

_WORDS = {
    sympy.Eq: "equal to",
    sympy.Ne: "other than",
    sympy.StrictLessThan: "below",
    sympy.LessThan: "at most",
    sympy.StrictGreaterThan: "above",
    sympy.GreaterThan: "at least",
}
# What torch's own functions in expressions of sizes are, for numbers that are not negative.
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("FloorDiv", "CleanDiv"), operator.floordiv),
    **dict.fromkeys(("Mod", "PythonMod"), operator.mod),
    "ToFloat": float,
    "IntTrueDiv": operator.truediv,
    "CeilToInt": lambda number: -int(-number // 1),
    "FloorToInt": lambda number: int(number // 1),
    "Max": max,
    "Min": min,
}
_SEARCHED = 1024  # sizes up to here, or four times the example's, are tried
_NAMED = 2  # runs of sizes that a sentence names


def words(expression: Any, sizes: Mapping[str, FreeSize]) -> str:
    """An expression with the sizes' names for people."""
    if isinstance(expression, int):
        return str(expression)
    known = [symbol for symbol in expression.free_symbols if str(symbol) in sizes]
    return str(expression.xreplace({symbol: sympy.Symbol(sizes[str(symbol)].name, integer=True) for symbol in known}))


def message(expression: Any, sizes: Mapping[str, FreeSize]) -> str:
    """The sentence for those who call with sizes for which a condition does not hold."""
    used = sorted({str(symbol) for symbol in expression.free_symbols})
    where = "; ".join(f"{sizes[symbol].name} is {sizes[symbol].where}" for symbol in used if symbol in sizes)
    condition = _which(expression, sizes) or _condition(expression, sizes)
    return (
        f"{condition}, as in the example that the network was compiled with ({where}); compile it with an example of "
        "the sizes that are wanted."
    )


def _condition(expression: Any, sizes: Mapping[str, FreeSize]) -> str:
    word = next((word for kind, word in _WORDS.items() if isinstance(expression, kind)), "")
    if not word:
        return f"{words(expression, sizes)} must hold"
    left, right = expression.lhs, expression.rhs
    number, rest = left.as_coeff_Add()
    if right.is_number and not rest.is_number:
        left, right = rest, right - number
    return f"{words(left, sizes)} must be {word} {words(right, sizes)}"


def _which(expression: Any, sizes: Mapping[str, FreeSize]) -> str:
    """The sizes for which a condition with divisions of one size holds; '' where it is another one or they are none."""
    symbols = list(expression.free_symbols)
    if len(symbols) != 1 or str(symbols[0]) not in sizes or not expression.atoms(sympy.Function):
        return ""
    size = sizes[str(symbols[0])]
    last = min(size.high, max(4 * size.hint, _SEARCHED))
    try:
        holds = sympy.lambdify(symbols, expression, modules=[_FUNCTIONS])
        runs = _runs([bool(holds(number)) for number in range(1, last + 1)])
    except Exception:  # a form that it does not know
        return ""
    if not runs:
        return ""
    named = [
        f"{low}" if low == high
        else f"at least {low}" if high == last
        else f"at most {high}" if low == 1
        else f"from {low} to {high}"
        for low, high in runs[:_NAMED]
    ]  # fmt: skip
    more = " and so on" if len(runs) > _NAMED else ""
    return f"{size.name} must be {', or '.join(named)}{more}"


def _runs(holds: Sequence[bool]) -> list[tuple[int, int]]:
    """First and last numbers of those in a row for which it holds, counted from 1 on."""
    found: list[tuple[int, int]] = []
    for number, each in enumerate(holds, 1):
        if each and found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        elif each:
            found.append((number, number))
    return found
