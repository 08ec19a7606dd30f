"""Operators that torch does not compose of others, composed of those that niwaki has."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

_aten = torch.ops.aten
_Pair = tuple[torch.Tensor, torch.Tensor]

# Order


def _nth(x: torch.Tensor, place: torch.Tensor, dim: int, keepdim: bool) -> _Pair:
    """Of each sorted row the element at a place, and where it was."""
    values, indices = x.sort(stable=True, dim=dim)
    pair = values.gather(dim, place), indices.gather(dim, place)
    return pair if keepdim else (pair[0].squeeze(dim), pair[1].squeeze(dim))


def _unordered(x: torch.Tensor, dim: int) -> torch.Tensor:
    """How many of a row are no numbers, with the axis kept: they are sorted behind all."""
    return x.isnan().sum(dim, keepdim=True)


def _median_dim(x: torch.Tensor, dim: int, keepdim: bool = False) -> _Pair:
    """The lower of the two in the middle; no number where there is one."""
    unordered = _unordered(x, dim)
    size = x.shape[dim]
    return _nth(x, torch.where(unordered > 0, size - unordered, (size - 1) // 2), dim, keepdim)


def _nanmedian_dim(x: torch.Tensor, dim: int, keepdim: bool = False) -> _Pair:
    """The lower of the two in the middle of what is a number."""
    place = (x.shape[dim] - _unordered(x, dim) - 1).clamp(min=0) // 2
    return _nth(x, place, dim, keepdim)


def _of_all(of_rows: Callable[..., _Pair]) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: of_rows(x.reshape([x.numel()]), 0)[0]


def _kthvalue(x: torch.Tensor, k: int, dim: int = -1, keepdim: bool = False) -> _Pair:
    place = torch.full_like(x.narrow(dim, 0, 1), k - 1, dtype=torch.int64)
    return _nth(x, place, dim, keepdim)


def _mode(x: torch.Tensor, dim: int = -1, keepdim: bool = False) -> _Pair:
    """The smallest of the most frequent: the longest of the runs of equals in order."""
    values, indices = x.sort(stable=True, dim=dim)
    rows, order = values.movedim(dim, -1), indices.movedim(dim, -1)
    places = torch.arange(rows.shape[-1]).expand(rows.shape)
    begins = torch.cat([torch.ones_like(rows[..., :1], dtype=torch.bool), rows[..., 1:] != rows[..., :-1]], -1)
    first = torch.where(begins, places, torch.zeros_like(places)).cummax(-1)[0]
    last = (places - first).argmax(-1, keepdim=True)
    pair = rows.gather(-1, last).movedim(-1, dim), order.gather(-1, last).movedim(-1, dim)
    return pair if keepdim else (pair[0].squeeze(dim), pair[1].squeeze(dim))


_ROUNDED = {"lower": torch.floor, "higher": torch.ceil, "nearest": torch.round}


def _among(rows: torch.Tensor, places: torch.Tensor, interpolation: str) -> torch.Tensor:
    """Elements of sorted rows at places with a fraction."""
    if interpolation in _ROUNDED:
        return rows.gather(-1, _ROUNDED[interpolation](places).to(torch.int64))
    low, high = places.floor(), places.ceil()
    share = places - low if interpolation == "linear" else torch.full_like(places, 0.5)
    below, above = (rows.gather(-1, place.to(torch.int64)) for place in (low, high))
    return torch.lerp(below, above, share)


def _quantile(*, ignore: bool) -> Callable[..., torch.Tensor]:
    """torch.quantile, and nanquantile, which ignores what is no number."""

    def quantile(
        x: torch.Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
    ) -> torch.Tensor:
        shape = [1] * x.dim()
        if dim is None:
            x = x.reshape([x.numel()])
        rows = x.movedim(-1 if dim is None else dim, -1).sort(stable=True, dim=-1)[0]
        unordered = rows.isnan().sum(-1, keepdim=True)
        size = rows.shape[-1]
        last = (size - unordered).clamp(min=1) - 1
        share = q.reshape([q.numel()]) if isinstance(q, torch.Tensor) else torch.full([1], q)
        places = share * last
        if not ignore:
            places = torch.where(unordered > 0, torch.full_like(places, 1) * (size - 1), places)
        found = _among(rows, places, interpolation).movedim(-1, 0)  # [quantiles, what is left]
        if keepdim:
            found = (
                found.reshape([found.shape[0], *shape]) if dim is None else found.unsqueeze(1).movedim(1, _behind(dim))
            )
        return found if isinstance(q, torch.Tensor) and q.dim() else found.squeeze(0)

    return quantile


def _behind(dim: int) -> int:
    """An axis, where there is another one in front."""
    return dim + 1 if dim >= 0 else dim


# Counts


def _histc(x: torch.Tensor, bins: int = 100, min: float = 0, max: float = 0) -> torch.Tensor:
    x = x.reshape([x.numel()])
    low: Any = torch.scalar_tensor(float(min))
    high: Any = torch.scalar_tensor(float(max))
    if min == max:
        low, high = x.amin(), x.amax()
        alone = (low == high).to(torch.float32)
        low, high = low - alone, high + alone
    inside = (x >= low) & (x <= high)
    place = (
        torch.where(inside, (x - low) * bins / (high - low), torch.zeros_like(x)).to(torch.int64).clamp(max=bins - 1)
    )
    return torch.zeros([bins]).scatter_add(0, place, inside.to(torch.float32))


def _isin(x: torch.Tensor, tests: torch.Tensor, *, assume_unique: bool = False, invert: bool = False) -> torch.Tensor:
    found = (x[..., None] == tests.reshape([tests.numel()])).any(-1)
    return ~found if invert else found


# Functions of elements


def _asinh(x: torch.Tensor) -> torch.Tensor:
    size = x.abs()
    near = torch.log1p(size + size * size / (1 + torch.sqrt(size * size + 1)))
    found = torch.where(size > 1e9, size.log() + math.log(2), near)  # squares of larger ones overflow
    return torch.where(x < 0, -found, found)


def _acosh(x: torch.Tensor) -> torch.Tensor:
    more = x - 1
    near = torch.log1p(more + torch.sqrt(more * (x + 1)))
    near = torch.where(x < 1, torch.full_like(x, math.nan), near)
    return torch.where(x > 1e9, x.log() + math.log(2), near)


def _atanh(x: torch.Tensor) -> torch.Tensor:
    size = x.abs()
    found = 0.5 * torch.log1p(2 * size / (1 - size))
    return torch.where(x < 0, -found, found)


# Of w = -log(1 - x^2), near zero and beyond 5: M. Giles, "Approximating the erfinv function", 2010.
_ERFINV_NEAR = (
    2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503, -0.00417768164,
    0.246640727, 1.50140941,
)  # fmt: skip
_ERFINV_FAR = (
    -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613, 0.00943887047,
    1.00167406, 2.83297682,
)  # fmt: skip


def _polynomial(x: torch.Tensor, factors: tuple[float, ...]) -> torch.Tensor:
    found = torch.full_like(x, factors[0])
    for factor in factors[1:]:
        found = found * x + factor
    return found


def _erfinv(x: torch.Tensor) -> torch.Tensor:
    w = -torch.log1p(-x * x)
    near = _polynomial(w - 2.5, _ERFINV_NEAR)
    far = _polynomial(w.sqrt() - 3, _ERFINV_FAR)
    found = torch.where(w < 5, near, far) * x
    return torch.where(x.abs() == 1, x * math.inf, found)


def _signbit(x: torch.Tensor) -> torch.Tensor:
    if not x.is_floating_point():
        return x < 0
    return (x < 0) | ((x == 0) & (x.reciprocal() < 0))


def _copysign(x: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
    size = x.to(torch.float32).abs()
    return torch.where(_signbit(sign), -size, size)


def _copysign_scalar(x: torch.Tensor, sign: float) -> torch.Tensor:
    size = x.to(torch.float32).abs()
    return -size if math.copysign(1, sign) < 0 else size


def _fmax(x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The larger of two, or the one that is a number."""
    return torch.where(x.isnan(), other, torch.where(other.isnan(), x, torch.maximum(x, other)))


def _fmin(x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return torch.where(x.isnan(), other, torch.where(other.isnan(), x, torch.minimum(x, other)))


def _ldexp(x: torch.Tensor, power: torch.Tensor) -> torch.Tensor:
    return x * torch.pow(2.0, power)


def _xlogy(x: Any, other: Any) -> torch.Tensor:
    number = x if isinstance(x, torch.Tensor) else other
    x, other = (each if isinstance(each, torch.Tensor) else torch.full_like(number, each) for each in (x, other))
    found = torch.where(x == 0, torch.zeros_like(x * other), x * other.log())
    return torch.where(other.isnan(), other, found)


def _hypot(x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Root of the sum of squares, which themselves may be beyond the largest number or below the smallest."""
    x, other = x.abs(), other.abs()
    large = torch.maximum(x, other)
    part = torch.where(large == 0, torch.zeros_like(large), torch.minimum(x, other) / large)
    endless = (x == math.inf) | (other == math.inf)
    return torch.where(endless, torch.full_like(large, math.inf), large * (part * part + 1).sqrt())


def _shift_left(x: torch.Tensor, bits: int) -> torch.Tensor:
    return x * (1 << bits)


def _shift_right(x: torch.Tensor, bits: int) -> torch.Tensor:
    return torch.div(x, 1 << bits, rounding_mode="floor")


def _logcumsumexp(x: torch.Tensor, dim: int) -> torch.Tensor:
    """Each with its own largest: of a running one, what came before it may be too small to be seen again."""
    if not x.dim():
        return x * 1
    rows = x.movedim(dim, -1)
    places = torch.arange(rows.shape[-1])
    before = places[:, None] >= places
    wide = torch.where(before, rows[..., None, :], torch.full_like(rows[..., None, :], -math.inf))
    return wide.logsumexp(-1).movedim(-1, dim)


# Matrices


def _trace(x: torch.Tensor) -> torch.Tensor:
    return x.diagonal().sum()


def _diag(x: torch.Tensor, diagonal: int = 0) -> torch.Tensor:
    return torch.diag_embed(x, diagonal) if x.dim() == 1 else x.diagonal(diagonal) * 1


def _addbmm(x: torch.Tensor, a: torch.Tensor, b: torch.Tensor, *, beta: float = 1, alpha: float = 1) -> torch.Tensor:
    return beta * x + alpha * torch.bmm(a, b).sum(0)


def _pdist(x: torch.Tensor, p: float = 2.0) -> torch.Tensor:
    """Distances of each row to those behind it."""
    rows = x.shape[0]
    pairs = rows * (rows - 1) // 2

    def begin(row: torch.Tensor) -> torch.Tensor:
        return row * (2 * rows - row - 1) // 2

    begins = begin(torch.arange(torch.sym_max(rows - 2, 0)) + 1)
    first = torch.zeros([pairs], dtype=torch.int64).scatter_add(0, begins, torch.ones_like(begins)).cumsum(0)
    second = torch.arange(pairs) - begin(first) + first + 1
    found: torch.Tensor = torch.linalg.vector_norm(x.index_select(0, first) - x.index_select(0, second), p, -1)
    return found


def _dist(x: torch.Tensor, other: torch.Tensor, p: float = 2.0) -> torch.Tensor:
    found: torch.Tensor = torch.linalg.vector_norm(x - other, p)
    return found


# Elements by their numbers


def _put(x: torch.Tensor, index: torch.Tensor, values: torch.Tensor, accumulate: bool = False) -> torch.Tensor:
    flat = x.reshape([x.numel()])
    return flat.index_put([index], values, accumulate).reshape(x.shape)


def _roll(x: torch.Tensor, shifts: Any, dims: Any = ()) -> torch.Tensor:
    """Over all elements in their order."""
    return x.reshape([x.numel()]).roll(shifts, 0).reshape(x.shape)


def _prod_of_integers(x: torch.Tensor, dim: int, keepdim: bool = False, *, dtype: Any = None) -> torch.Tensor:
    one = torch.ones_like(x.sum(dim, keepdim=True), dtype=torch.int64)
    found = torch.cat([one, x.to(torch.int64)], dim).cumprod(dim).narrow(dim, x.shape[dim], 1)
    return found if keepdim else found.squeeze(dim)


def _prod_of_all_integers(x: torch.Tensor, *, dtype: Any = None) -> torch.Tensor:
    return _prod_of_integers(x.reshape([x.numel()]), 0)


DECOMPOSITIONS: dict[Any, Callable[..., Any]] = {
    _aten.median.default: _of_all(_median_dim),
    _aten.median.dim: _median_dim,
    _aten.nanmedian.default: _of_all(_nanmedian_dim),
    _aten.nanmedian.dim: _nanmedian_dim,
    _aten.kthvalue.default: _kthvalue,
    _aten.mode.default: _mode,
    _aten.quantile.default: _quantile(ignore=False),
    _aten.quantile.scalar: _quantile(ignore=False),
    _aten.nanquantile.default: _quantile(ignore=True),
    _aten.nanquantile.scalar: _quantile(ignore=True),
    _aten.histc.default: _histc,
    _aten.isin.Tensor_Tensor: _isin,
    _aten.asinh.default: _asinh,
    _aten.acosh.default: _acosh,
    _aten.atanh.default: _atanh,
    _aten.erfinv.default: _erfinv,
    _aten.special_erfinv.default: _erfinv,
    _aten.signbit.default: _signbit,
    _aten.copysign.Tensor: _copysign,
    _aten.copysign.Scalar: _copysign_scalar,
    _aten.fmax.default: _fmax,
    _aten.fmin.default: _fmin,
    _aten.trace.default: _trace,
    _aten.diag.default: _diag,
    _aten.addbmm.default: _addbmm,
    _aten.pdist.default: _pdist,
    _aten._pdist_forward.default: _pdist,
    _aten.dist.default: _dist,
    _aten.ldexp.Tensor: _ldexp,
    _aten.hypot.default: _hypot,
    _aten.xlogy.Scalar_Self: _xlogy,
    _aten.xlogy.Scalar_Other: _xlogy,
    _aten.__lshift__.Scalar: _shift_left,
    _aten.__rshift__.Scalar: _shift_right,
    _aten.bitwise_left_shift.Tensor_Scalar: _shift_left,
    _aten.bitwise_right_shift.Tensor_Scalar: _shift_right,
    _aten.logcumsumexp.default: _logcumsumexp,
    _aten.put.default: _put,
    _aten.roll.default: _roll,
    _aten.prod.dim_int: _prod_of_integers,
    _aten.prod.default: _prod_of_all_integers,
}
