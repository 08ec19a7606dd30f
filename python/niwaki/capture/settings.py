"""What torch does otherwise while a network is captured: a size of 1 is a size, and memory is nobody's business."""

from __future__ import annotations

import builtins
import contextlib
import io
import logging
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import sympy
import torch
from torch import _prims_common as prims
from torch._dynamo import config as dynamo_config
from torch.fx.experimental import _config as symbolic_config
from torch.fx.experimental import proxy_tensor
from torch.fx.experimental.symbolic_shapes import DimConstraints
from torch.nn import functional as F
from torch.utils import _pytree as pytree
from torch.utils._sympy import functions

_MOST_OPERATIONS = 50  # in an expression that sympy simplifies in milliseconds
_TOO_MANY_OPERATIONS = 500  # in one that it cannot do much with in seconds


class TooLargeError(RuntimeError):
    """Sizes that are expressions too large to go on with: less of them has to be free."""


@contextlib.contextmanager
def settings(any_size: bool) -> Iterator[None]:
    """The context of torch.export. `any_size`: a size of 1 is a size like any other.

    Then an example of one image does not tie the network to one image.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(symbolic_config.patch(backed_size_oblivious=any_size))  # type: ignore[attr-defined]
        # To know a tensor again costs more than to infer its sizes once more, where sizes are expressions.
        stack.enter_context(dynamo_config.patch(fake_tensor_cache_enabled=False))
        # How tensors lie in memory, which nobody reads, takes two thirds of the time.
        stack.enter_context(mock.patch.object(proxy_tensor, "_extract_tensor_metadata", _nothing))
        stack.enter_context(mock.patch.object(prims, "is_contiguous", _is_contiguous))
        stack.enter_context(mock.patch.object(sympy, "simplify", _simplify))
        stack.enter_context(mock.patch.object(DimConstraints, "solve", _solve))
        for kind in (functions.Mod, functions.PythonMod, functions.CeilToInt):
            stack.enter_context(mock.patch.object(kind, "eval", classmethod(_rounded_up(kind.eval))))
        # len(x) and the root of Python are numbers, which tie the graph to them.
        stack.enter_context(mock.patch.object(builtins, "len", _length))
        stack.enter_context(mock.patch.object(math, "sqrt", _root))
        # `is_causal=length > 1` is a question, which the function takes for no answer.
        stack.enter_context(mock.patch.object(F, "scaled_dot_product_attention", _attention))
        yield


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """torch warns of its own plans, logs what failed and prints its graph; the error that follows says it."""
    logger = logging.getLogger("torch")
    level = logger.level
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            logger.setLevel(level)


def _attention(
    *args: Any, _inner: Callable[..., torch.Tensor] = F.scaled_dot_product_attention, **kwargs: Any
) -> torch.Tensor:
    given, named = pytree.tree_map_only(torch.SymBool, bool, (args, kwargs))
    return _inner(*given, **named)


def _nothing(*args: Any, **kwargs: Any) -> None:
    """In place of what would keep tensors, as a mock's notes of its calls do."""


def _is_contiguous(tensor: Any, false_if_dde: bool = False, _asked: Callable[..., bool] = prims.is_contiguous) -> bool:
    """Whether a tensor lies in memory row by row for the example's sizes.

    Where torch asks for a guess, it may be one: proofs for all sizes are expressions of expressions of sizes.
    """
    return is_contiguous_in_example(tensor) if false_if_dde else _asked(tensor)


def is_contiguous_in_example(tensor: torch.Tensor) -> bool:
    """Whether a tensor lies in memory row by row for the example's sizes; asks nothing of free ones."""
    expected = 1
    for size, stride in zip(reversed(tensor.shape), reversed(tensor.stride()), strict=True):
        if isinstance(size, int) and size == 1:
            continue
        if hint(stride) != expected:
            return False
        expected *= hint(size)
    return True


def _solve(constraints: Any, _solved: Callable[[Any], None] = DimConstraints.solve) -> None:
    """torch's advice about ranges of sizes. What sympy cannot solve, as (height / 16) // 2 == 7, is a guard."""
    with contextlib.suppress(NotImplementedError):
        _solved(constraints)


def _simplify(quotient: Any, _slowly: Callable[..., Any] = sympy.simplify, **options: Any) -> Any:
    """A quotient without what its sides share: torch divides sizes by what it knows to divide all terms of a sum.

    sympy tries all that it knows, which takes minutes where sizes follow from those of many layers.

    Raises:
        PolynomialError: that would be so; torch leaves the quotient as it is.
        TooLargeError: an expression that would only grow, and take minutes all the same.
    """
    operations = quotient.count_ops()
    if operations > _TOO_MANY_OPERATIONS:
        raise TooLargeError(f"A size is an expression of {operations} operations.")
    divided = quotient if sympy.fraction(quotient)[1] == 1 else sympy.expand_mul(quotient, deep=False)
    if all(sympy.fraction(term)[1] == 1 for term in sympy.Add.make_args(divided)) and not options:
        return divided
    if operations > _MOST_OPERATIONS:
        raise sympy.PolynomialError("too large")
    return _slowly(quotient, **options)


def _rounded_up(otherwise: Callable[..., Any]) -> Callable[..., Any]:
    """How a function of sizes is evaluated, where padding to a multiple is that multiple less what is there.

    (k - x % k) % k, or -x % k, added to x is then k times a number, whose quotients with k are known; else each layer
    that pads doubles the expressions of the sizes that follow.
    """

    def evaluate(kind: type, above: Any, below: Any = None) -> Any:
        if kind is functions.CeilToInt:
            if isinstance(above, functions.IntTrueDiv) and above.args[1].is_Integer and above.args[1] > 0:
                number, divisor = above.args
                return functions.FloorDiv(number + divisor - 1, divisor)
            return otherwise(above)
        if below.is_Integer and below > 0:
            rest = below - above
            there = isinstance(rest, (functions.Mod, functions.PythonMod)) and rest.args[1] == below
            if there or above.could_extract_minus_sign():
                size = rest.args[0] if there else -above
                return below * functions.FloorDiv(size + below - 1, below) - size
        return otherwise(above, below)

    return evaluate


def hint(size: Any) -> Any:
    """What a size is in the example."""
    return size.node.hint if isinstance(size, torch.SymInt) else size


def _root(value: Any, /, _sqrt: Callable[[Any], float] = math.sqrt) -> Any:
    return value**0.5 if isinstance(value, (torch.SymInt, torch.SymFloat)) else _sqrt(value)


def _length(value: Any, /, _len: Callable[[Any], int] = len) -> Any:
    return value.shape[0] if isinstance(value, torch.Tensor) and value.dim() else _len(value)
