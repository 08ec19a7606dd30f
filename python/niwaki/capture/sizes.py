"""Free sizes of a captured graph: names, ranges, and conditions on them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import sympy
import torch
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils._sympy.functions import IntTrueDiv, Max, Min, ToFloat
from torch.utils._sympy.value_ranges import ValueRanges, bound_sympy

from niwaki.capture.sentences import message
from niwaki.errors import NiwakiError

Expression = Any
"""An int, or a sympy expression of the graph's symbols."""

LARGEST = 2**63 - 1
_RELATIONS = {
    sympy.Eq: "==",
    sympy.Ne: "!=",
    sympy.StrictLessThan: "<",
    sympy.LessThan: "<=",
    sympy.StrictGreaterThan: ">",
    sympy.GreaterThan: ">=",
}


@dataclass(frozen=True)
class FreeSize:
    """A size of the inputs that may differ from call to call.

    Attributes:
        name: for people: "batch", "height", "length", ...
        where: the inputs' dims that have it, in words.
        low, high: what it may be.
        hint: what it was at capture.
    """

    name: str
    where: str
    low: int
    high: int
    hint: int

    @property
    def unlimited(self) -> bool:
        """Whether there is no upper limit."""
        return self.high >= LARGEST


@dataclass(frozen=True)
class Comparison:
    """left relation right, with relation one of ==, !=, <, <=."""

    left: Expression
    relation: str
    right: Expression

    def holds(self, sizes: Mapping[str, int]) -> bool:
        """Whether it is true for these sizes; nothing is that divides by 0."""
        try:
            left, right = evaluate(self.left, sizes), evaluate(self.right, sizes)
        except ZeroDivisionError:
            return False
        return {"==": left == right, "!=": left != right, "<": left < right, "<=": left <= right}[self.relation]


@dataclass(frozen=True)
class Guard:
    """A condition on the sizes under which the graph is that of the module.

    Attributes:
        cases: it holds where all comparisons of any of them do.
        message: a sentence for those who call with other sizes.
    """

    cases: tuple[tuple[Comparison, ...], ...]
    message: str

    def holds(self, sizes: Mapping[str, int]) -> bool:
        """Whether it is true for these sizes."""
        return any(all(comparison.holds(sizes) for comparison in case) for case in self.cases)

    @property
    def only_unlike(self) -> bool:
        """Whether all that it asks is that numbers are unlike; sizes above 1 are unlike 1."""
        return all(
            comparison.relation == "!=" or (comparison.relation == "<" and comparison.left == 1)
            for case in self.cases
            for comparison in case
        )

    @property
    def only_equal(self) -> bool:
        """Whether all that it asks is that numbers are equal."""
        return all(comparison.relation == "==" for case in self.cases for comparison in case)

    @property
    def symbols(self) -> list[str]:
        """Those that it is about."""
        sides = [side for case in self.cases for each in case for side in (each.left, each.right)]
        return sorted({str(symbol) for side in sides if not isinstance(side, int) for symbol in side.free_symbols})


def expression_of(size: Any) -> Expression:
    """What a dimension of a fake tensor is: an int, or a sympy expression."""
    if isinstance(size, torch.SymInt):
        expression = size.node.expr
        return int(expression) if expression.is_number else expression
    return int(size)


def evaluate(expression: Expression, sizes: Mapping[str, int]) -> int:
    """The number that an expression is for these sizes, by the names of their symbols."""
    if isinstance(expression, int):
        return expression
    values = {symbol: sympy.Integer(sizes[str(symbol)]) for symbol in expression.free_symbols}
    return int(expression.xreplace(values))


def name_sizes(
    inputs: Sequence[tuple[str, tuple[Expression, ...]]], ranges: Mapping[Any, Any], env: ShapeEnv | None
) -> dict[str, FreeSize]:
    """Names for the symbols in the inputs' dims, by their symbols.

    Args:
        inputs: name and dims of each.
        ranges: of symbols, as torch.export gives them.
        env: what knows their values at capture; None where there is no symbol.
    """
    bounds = {str(symbol): (bound.lower, bound.upper) for symbol, bound in ranges.items()}
    found: dict[str, FreeSize] = {}
    for symbol, (word, where) in named_places(inputs).items():
        low, high = bounds.get(symbol, (0, LARGEST))
        assert env is not None
        found[symbol] = FreeSize(word, where, _bound(low, 0), _bound(high, LARGEST), _hint(env, symbol))
    return found


def named_places(inputs: Sequence[tuple[str, tuple[Expression, ...]]]) -> dict[str, tuple[str, str]]:
    """A name for each symbol in the inputs' dims, and where it occurs, in words."""
    places: dict[str, list[tuple[str, int, int]]] = {}
    for name, dims in inputs:
        for axis, dim in enumerate(dims):
            if not isinstance(dim, int):
                for symbol in dim.free_symbols:
                    places.setdefault(str(symbol), []).append((name, axis, len(dims)))
    taken: set[str] = set()
    found: dict[str, tuple[str, str]] = {}
    for symbol, uses in places.items():
        name, axis, rank = uses[0]
        word = _word(axis, rank)
        if word in taken:
            word = f"{name}_{word}"
        while word in taken:
            word += "_"
        taken.add(word)
        found[symbol] = word, ", ".join(f"dim {a} of input '{n}'" for n, a, _ in uses)
    return found


def _hint(env: ShapeEnv, symbol: str) -> int:
    values = getattr(env, "backed_var_to_val", None) or env.var_to_val
    return next((int(value) for found, value in values.items() if str(found) == symbol), 0)


def _bound(value: Any, otherwise: int) -> int:
    try:
        return min(max(int(value), 0), LARGEST)
    except (TypeError, ValueError, OverflowError, AttributeError):
        return otherwise


def _word(axis: int, rank: int) -> str:
    """What the dim of an input of this rank usually is."""
    if axis == 0:
        return "batch" if rank > 1 else "length"
    usual = {
        2: ("batch", "length"),
        3: ("batch", "length", "length"),
        4: ("batch", "channels", "height", "width"),
        5: ("batch", "channels", "depth", "height", "width"),
    }.get(rank)
    return usual[axis] if usual else f"dim{axis}"


def guards_of(env: ShapeEnv, sizes: Mapping[str, FreeSize], own: Iterable[Any] | None) -> tuple[Guard, ...]:
    """The conditions that torch.export met on its way, but for those that the ranges say already.

    Args:
        env: what holds them.
        sizes: the free ones, by symbol.
        own: the conditions of the network's own code; None where they are not known. Where they are, sizes that torch
            alone wants unlike are left out: it asks for them to know how tensors lie in memory.

    Raises:
        NiwakiError: a condition has a form that a compiled network cannot check.
    """
    met = guards_from([guard.expr for guard in env.guards], env, sizes)
    if own is None:
        return met
    found = dict.fromkeys(guard for guard in met if not guard.only_unlike)
    return tuple(found | dict.fromkeys(guards_from(own, env, sizes)))


def guards_from(conditions: Iterable[Any], env: ShapeEnv, sizes: Mapping[str, FreeSize]) -> tuple[Guard, ...]:
    """Guards that conditions hold, but for what the ranges say already. Raises NiwakiError as `guards_of`."""
    found: dict[str, Guard] = {}
    for condition in conditions:
        expression = _without_limits(env.simplify(condition))
        for part in expression.args if isinstance(expression, sympy.And) else (expression,):
            if part in (sympy.true, True) or _always(part, sizes) or (part.is_Relational and _within(part, sizes)):
                continue
            cases = tuple(tuple(_comparison(each) for each in _parts(case, sympy.And)) for case in _cases(part))
            found.setdefault(str(part), Guard(cases, message(part, sizes)))
    return tuple(found.values())


def narrowed(sizes: Mapping[str, FreeSize], guards: Sequence[Guard]) -> tuple[dict[str, FreeSize], tuple[Guard, ...]]:
    """Sizes whose ranges say what guards say of one size alone, and the guards that this leaves to be checked."""
    found = dict(sizes)
    left: list[Guard] = []
    for guard in guards:
        (each, *others), *cases = guard.cases
        symbol = str(each.left)
        if not others and not cases and symbol in found and isinstance(each.right, int) and each.relation == "<=":
            found[symbol] = dataclasses.replace(found[symbol], high=min(found[symbol].high, each.right))
        else:
            left.append(guard)
    return found, tuple(guard for guard in left if not any(_sure(case, found) for case in guard.cases))


def _sure(case: Sequence[Comparison], sizes: Mapping[str, FreeSize]) -> bool:
    """Whether a case holds for all sizes within their ranges."""
    return all(
        each.relation == "<=" and isinstance(each.right, int) and str(each.left) in sizes
        and sizes[str(each.left)].high <= each.right
        for each in case
    )  # fmt: skip


def _without_limits(expression: Any) -> Any:
    """min(length, 64) == length, which a slice of a table asks, is length <= 64."""

    def plain(relation: Any) -> Any:
        for one, other in ((relation.lhs, relation.rhs), (relation.rhs, relation.lhs)):
            for kind, compare in ((Min, sympy.Le), (Max, sympy.Ge)):
                if isinstance(one, kind) and other in one.args:
                    return sympy.And(*(compare(other, each) for each in one.args if each != other))
        return relation

    return expression.replace(lambda part: isinstance(part, sympy.Eq), plain)


def _always(expression: Any, sizes: Mapping[str, FreeSize]) -> bool:
    """Whether it holds for all sizes from 1 on: what torch asks about memory. Layers check what 0 would do."""
    ranges = {
        symbol: ValueRanges(max(1, sizes[str(symbol)].low), sizes[str(symbol)].high)
        for symbol in expression.free_symbols
        if str(symbol) in sizes and sizes[str(symbol)].high >= 1
    }
    try:
        found = bound_sympy(expression, ranges)
    except Exception:  # a form that it does not know
        return False
    return bool(found.is_singleton() and found.lower in (sympy.true, True))


def _cases(expression: Any) -> tuple[Any, ...]:
    if isinstance(expression, sympy.Not):
        expression = sympy.simplify(expression)
    return _parts(expression, sympy.Or)


def _parts(expression: Any, kind: Any) -> tuple[Any, ...]:
    return tuple(expression.args) if isinstance(expression, kind) else (expression,)


def _whole(relation: Any) -> Any:
    """A comparison of a number with a size, or with a quotient of sizes, as one of whole numbers.

    float(length) > 0.5 is length > 0, and length / 3 > 0.5 is 2 length > 3: what is divided by is above 0.
    """
    kind, left, right = relation.func, relation.lhs, relation.rhs
    if isinstance(right, (ToFloat, IntTrueDiv)):
        kind, left, right = relation.reversed.func, right, left
    if not right.is_number:
        return relation
    if isinstance(left, IntTrueDiv):
        (above, below), number = left.args, Fraction(float(right))
        return kind(above * number.denominator, below * number.numerator, evaluate=False)
    if not isinstance(left, ToFloat):
        return relation
    down = kind in (sympy.StrictGreaterThan, sympy.LessThan)
    number = sympy.floor(right) if down else sympy.ceiling(right)
    if kind in (sympy.Eq, sympy.Ne) and number != right:
        return relation
    return kind(left.args[0], number, evaluate=False)


def _comparison(relation: Any) -> Comparison:
    relation = _whole(relation) if relation.is_Relational else relation
    for kind, sign in _RELATIONS.items():
        if isinstance(relation, kind):
            left, right = relation.lhs, relation.rhs
            if sign in (">", ">="):
                left, right, sign = right, left, sign.replace(">", "<")
            return Comparison(_integer(left), sign, _integer(right))
    raise NiwakiError(f"The network's code depends on its sizes in a way that cannot be checked later: {relation}.")


def _integer(expression: Any) -> Expression:
    return int(expression) if expression.is_number else expression


def _within(relation: Any, sizes: Mapping[str, FreeSize]) -> bool:
    """Whether a comparison of one size with a number follows from its range."""
    left, right = relation.lhs, relation.rhs
    if right.is_Symbol and left.is_number:
        relation = relation.reversed
        left, right = relation.lhs, relation.rhs
    if not left.is_Symbol or not right.is_number or str(left) not in sizes:
        return False
    size, bound = sizes[str(left)], int(right)
    if isinstance(relation, sympy.StrictLessThan):
        return size.high < bound
    if isinstance(relation, sympy.LessThan):
        return size.high <= bound
    if isinstance(relation, sympy.StrictGreaterThan):
        return size.low > bound
    if isinstance(relation, sympy.GreaterThan):
        return size.low >= bound
    return isinstance(relation, sympy.Ne) and not size.low <= bound <= size.high
