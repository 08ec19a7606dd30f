"""Products and running sums."""

from __future__ import annotations

import torch


def integer_product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """A matrix product of integers, in their type."""
    return torch.matmul(a.to(torch.int64), b.to(torch.int64)).to(a.dtype)


def gemm(
    a: torch.Tensor,
    b: torch.Tensor,
    c: torch.Tensor | None,
    alpha: float,
    beta: float,
    trans_a: bool,
    trans_b: bool,
) -> torch.Tensor:
    """alpha a b + beta c, of matrices that may be transposed."""
    product = torch.matmul(a.t() if trans_a else a, b.t() if trans_b else b)
    if alpha != 1:
        product = (product * alpha).to(a.dtype)
    if c is None or beta == 0:
        return product
    return product + (c if beta == 1 else (c * beta).to(a.dtype))


def cumulated(x: torch.Tensor, axis: int, kind: str, exclusive: bool, reverse: bool) -> torch.Tensor:
    """Sums or products of an axis' elements up to each, without it if exclusive; from the end if reverse."""
    x = x.flip(axis) if reverse else x
    if exclusive:
        first = torch.full_like(x.narrow(axis, 0, 1), 0 if kind == "sum" else 1)
        x = torch.cat([first, x.narrow(axis, 0, x.shape[axis] - 1)], axis)
    found = torch.cumsum(x, axis, dtype=x.dtype) if kind == "sum" else torch.cumprod(x, axis, dtype=x.dtype)
    return found.flip(axis) if reverse else found
