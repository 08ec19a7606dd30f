"""Systems of a few linear equations, step by step: inverses, determinants, solutions and Cholesky factors.

Elimination with partial pivoting, in the order of the rows, whose steps are nodes of the graph. Where torch raises an
error, for a matrix that is singular or not positive definite, the result is infinite or no number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

_aten = torch.ops.aten
_MOST = 16  # rows: each is a dozen nodes


class _LargeError(ValueError):
    """The matrix has more rows than are written out, or nobody knows how many: the node stays as it is."""


def _rows(x: torch.Tensor) -> int:
    rows = x.shape[-2]
    if not isinstance(rows, int) or not isinstance(x.shape[-1], int) or not 1 <= rows <= _MOST:
        raise _LargeError
    return rows


def _eliminated(x: torch.Tensor, rows: int, *, below: bool = False) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The first columns of [..., rows, columns] made those of the identity, or a triangle with `below`.

    Returns:
        The matrix, the pivots [..., rows], and the sign of the order of the rows, [..., 1].
    """
    places = torch.arange(rows)
    pivots, sign = [], torch.ones_like(x[..., 0, :1])
    for row in range(rows):
        largest = x[..., row:, row].abs().argmax(-1, keepdim=True) + row
        swapped = torch.where(places == row, largest, places)
        order = torch.where(places == largest, torch.full_like(swapped, row), swapped)
        x = x.gather(-2, order[..., None].expand(x.shape))
        sign = torch.where(largest == row, sign, -sign)
        here = (places == row)[:, None]
        column, line = x[..., row : row + 1], x[..., row : row + 1, :]
        pivots.append(line[..., 0, row : row + 1])
        pivot = line[..., row : row + 1]
        # A singular matrix has a determinant, and no inverse.
        line = line / (torch.where(pivot == 0, torch.ones_like(pivot), pivot) if below else pivot)
        others = (places > row)[:, None] if below else ~here
        x = torch.where(others, x - column * line, x if below else line)
    return x, torch.cat(pivots, -1), sign


def _of_pivots(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    _, pivots, sign = _eliminated(x, _rows(x), below=True)
    return pivots, sign.squeeze(-1)


def _det(x: torch.Tensor) -> torch.Tensor:
    pivots, sign = _of_pivots(x)
    return pivots.prod(-1) * sign


def _slogdet(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    pivots, sign = _of_pivots(x)
    return pivots.sign().prod(-1) * sign, pivots.abs().log().sum(-1)


def _logdet(x: torch.Tensor) -> torch.Tensor:
    sign, size = _slogdet(x)
    return torch.where(sign == -1, torch.full_like(size, torch.nan), size)


def _solved(x: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    rows = _rows(x)
    return _eliminated(torch.cat([x, right], -1), rows)[0][..., rows:]


def _solve(x: torch.Tensor, right: torch.Tensor, *, left: bool = True) -> torch.Tensor:
    vector = right.dim() == 1 or right.dim() == x.dim() - 1
    right = right[..., None] if vector else right
    if not left:
        x, right = x.mT, right.mT
    if x.dim() != right.dim():  # one matrix for several right sides, or the other way round
        more = torch.zeros_like(x[..., :1]) + torch.zeros_like(right[..., :1])
        x, right = x + more, right + more
    found = _solved(x, right)
    found = found if left else found.mT
    return found.squeeze(-1) if vector else found


def _inverse(x: torch.Tensor) -> torch.Tensor:
    return _solved(x, torch.eye(_rows(x)).expand(x.shape))


def _cholesky(x: torch.Tensor, *, upper: bool = False) -> torch.Tensor:
    rows, columns = _rows(x), []
    x = x.mT if upper else x
    places = torch.arange(rows)[:, None]
    for row in range(rows):
        column = x[..., row : row + 1] / x[..., row : row + 1, row : row + 1].sqrt()
        column = torch.where(places >= row, column, torch.zeros_like(column))
        x = x - column * column.mT
        columns.append(column)
    found = torch.cat(columns, -1)
    return found.mT if upper else found


def _solve_triangular(
    x: torch.Tensor, right: torch.Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> torch.Tensor:
    if not left:
        return _solve_triangular(x.mT, right.mT, upper=not upper, unitriangular=unitriangular).mT
    rows = _rows(x)
    places = torch.arange(rows)[:, None]
    for row in reversed(range(rows)) if upper else range(rows):
        line = right[..., row : row + 1, :]
        line = line if unitriangular else line / x[..., row : row + 1, row : row + 1]
        others = places < row if upper else places > row
        rest = torch.where(others, right - x[..., row : row + 1] * line, right)
        right = torch.where(places == row, line, rest)
    return right


def _cholesky_solve(right: torch.Tensor, factor: torch.Tensor, upper: bool = False) -> torch.Tensor:
    lower = factor.mT if upper else factor
    return _solve_triangular(lower.mT, _solve_triangular(lower, right, upper=False), upper=True)


def _triangular_solve(
    right: torch.Tensor, x: torch.Tensor, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    turned = x.mT if transpose else x
    return _solve_triangular(turned, right, upper=upper != transpose, unitriangular=unitriangular), x * 1


DECOMPOSITIONS: dict[Any, Callable[..., Any]] = {
    _aten.linalg_det.default: _det,
    _aten.det.default: _det,
    _aten.linalg_slogdet.default: _slogdet,
    _aten.slogdet.default: _slogdet,
    _aten.logdet.default: _logdet,
    _aten.linalg_inv.default: _inverse,
    _aten.inverse.default: _inverse,
    _aten.linalg_solve.default: _solve,
    _aten.linalg_cholesky.default: _cholesky,
    _aten.linalg_solve_triangular.default: _solve_triangular,
    _aten.cholesky_solve.default: _cholesky_solve,
    _aten.triangular_solve.default: _triangular_solve,
}
"""Of linear algebra."""
if hasattr(_aten, "cholesky"):  # torch has removed it in 2.14
    DECOMPOSITIONS[_aten.cholesky.default] = lambda x, upper=False: _cholesky(x, upper=upper)
