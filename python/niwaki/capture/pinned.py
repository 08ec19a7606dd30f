"""Sizes that can be one number alone, such as the channels of a signal: they are no free sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sympy
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from niwaki.capture.sizes import Comparison, FreeSize, Guard

_FEW = 4096  # sizes that are tried, one by one


def pinned(sizes: Mapping[str, FreeSize], guards: Sequence[Guard]) -> dict[str, int]:
    """The number of each size, by symbol, of which ranges and guards leave one alone."""
    found: dict[str, int] = {}
    while more := {
        symbol: number
        for symbol, size in sizes.items()
        if symbol not in found and (number := _only(symbol, size, guards, found)) is not None
    }:
        found |= more
    return found


def make_numbers(numbers: Mapping[str, int], env: ShapeEnv) -> bool:
    """Puts numbers in the place of symbols, in all expressions of the graphs of `env`. Returns whether it is so."""
    symbols = {str(symbol): symbol for symbol in env.var_to_range}
    for name, number in numbers.items():
        if name in symbols:
            # Symbols there are taken for more than 1, and what is equal to the size would not become 1.
            env.size_like -= {each for each in env.size_like if symbols[name] in env.replace(each).free_symbols}
            env._set_replacement(symbols[name], sympy.Integer(number), "no other size fits")
    return all(name in symbols and env.replace(symbols[name]) == number for name, number in numbers.items())


def _only(symbol: str, size: FreeSize, guards: Sequence[Guard], known: Mapping[str, int]) -> int | None:
    """The single number that a size may be, where those of others are known; None where there are several."""
    own = [guard for guard in guards if symbol in guard.symbols and {symbol, *known} >= set(guard.symbols)]
    low, high = size.low, size.high
    for guard in own:
        if len(guard.cases) == 1:
            for comparison in guard.cases[0]:
                low, high = _bounded(comparison, symbol, known, low, high)
    if high - low > _FEW:
        return None
    fitting = [
        number for number in range(low, high + 1) if all(guard.holds({**known, symbol: number}) for guard in own)
    ]
    return fitting[0] if len(fitting) == 1 else None


def _bounded(comparison: Comparison, symbol: str, known: Mapping[str, int], low: int, high: int) -> tuple[int, int]:
    """Bounds of a size between which a comparison may hold: narrower where it is one with a multiple of the size."""
    free = sympy.Symbol("size", integer=True)
    difference = sympy.expand(
        sympy.sympify(comparison.left - comparison.right).subs(
            {each: free if str(each) == symbol else known[str(each)] for each in _symbols(comparison)}
        )
    )
    if not difference.is_polynomial(free) or sympy.degree(difference, free) != 1:
        return low, high
    factor, rest = difference.coeff(free, 1), difference.coeff(free, 0)
    bound = -rest / factor
    if comparison.relation in ("<", "<=", "==") and factor > 0:
        high = min(high, int(sympy.floor(bound)))
    if comparison.relation in ("<", "<=", "==") and factor < 0:
        low = max(low, int(sympy.ceiling(bound)))
    if comparison.relation == "==":
        low, high = max(low, int(sympy.ceiling(bound))), min(high, int(sympy.floor(bound)))
    return low, high


def _symbols(comparison: Comparison) -> set[sympy.Symbol]:
    sides = [sympy.sympify(side) for side in (comparison.left, comparison.right)]
    return {symbol for side in sides for symbol in side.free_symbols}
