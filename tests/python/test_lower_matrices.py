"""Systems of a few linear equations: inverses, determinants, solutions and factors, compared with torch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from lowered import Of, check, in_torch, lower, run

from niwaki.capture import capture

_linalg = torch.linalg


def _matrices(rows: int, *batches: int) -> list[tuple[torch.Tensor]]:
    """Seeded noise [batch, rows, rows], whose first matrix needs its rows swapped."""
    found = [torch.randn(batch, rows, rows, generator=torch.Generator().manual_seed(batch)) for batch in batches]
    for each in found:
        each[0, 0, 0] = 0
    return [(each,) for each in found]


def _definite(x: torch.Tensor) -> torch.Tensor:
    return x @ x.mT + torch.eye(x.shape[-1])


@pytest.mark.parametrize("rows", [1, 4])
def test_inverses_and_determinants(rows: int) -> None:
    def function(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return _linalg.inv(x), x.det(), *_linalg.slogdet(x)

    check(function, *_matrices(rows, 2, 3) if rows > 1 else [(torch.randn(2, 1, 1),), (torch.randn(3, 1, 1),)])


def test_logarithms_of_determinants() -> None:
    check(lambda x: (torch.logdet(_definite(x)), torch.logdet(-_definite(x))), *_matrices(3, 2, 4))


def test_determinants_of_singular_matrices() -> None:
    x = torch.tensor([[[1.0, 2, 3], [0, 0, 0], [4, 5, 6]], [[0.0, 0, 0], [1, 0, 2], [0, 0, 1]]])
    check(lambda x: (x.det(), *_linalg.slogdet(x)), (x,))


def test_solutions() -> None:
    def function(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        other = x.flip(0) + 1
        one = x[0] + 2 * torch.eye(3)
        return (
            _linalg.solve(x, other[..., :2]), _linalg.solve(x, other, left=False), _linalg.solve(one, other[0, 0]),
            _linalg.solve(one, x[..., :2]), _linalg.solve(x, x[..., 0]),
        )  # fmt: skip

    check(function, *_matrices(3, 2, 3), tolerance=1e-4)


def test_cholesky_factors() -> None:
    def function(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        factor = _linalg.cholesky(_definite(x))
        upper = _linalg.cholesky(_definite(x), upper=True)
        return factor, upper, torch.cholesky_solve(x, factor), torch.cholesky_solve(x, upper, upper=True)

    check(function, *_matrices(3, 2, 3))


@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("left", [False, True])
def test_triangular_systems(upper: bool, left: bool) -> None:
    def function(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        factor = x + 3 * torch.eye(4)
        factor = factor.triu() if upper else factor.tril()
        return (
            _linalg.solve_triangular(factor, x, upper=upper, left=left),
            _linalg.solve_triangular(factor / 4, x, upper=upper, left=left, unitriangular=True),
        )

    check(function, *_matrices(4, 2, 3))


def test_other_matrices_than_torch_answers_for_are_no_numbers() -> None:
    """torch raises an error, which a compiled network cannot: its answer shows it."""
    captured = capture(Of(lambda x: (_linalg.cholesky(x), _linalg.inv(x))), (torch.eye(2)[None],))
    factor, inverse = run(lower(captured), (-torch.ones(1, 2, 2),))
    assert factor.isnan().any()
    assert not inverse.isfinite().all()


@pytest.mark.parametrize("function", [_linalg.inv, _linalg.det, lambda x: _linalg.cholesky(_definite(x))])
def test_larger_matrices_are_refused_by_name(function: Callable[[torch.Tensor], torch.Tensor]) -> None:
    (reason,) = in_torch(lower(capture(Of(lambda x: function(x)), (torch.randn(2, 20, 20),))))[-1:]
    assert "linalg_" in reason
    assert "is not native" in reason
