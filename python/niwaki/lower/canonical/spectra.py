"""Fourier transforms as products with matrices of cosines and sines, of pairs of real and imaginary parts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx.experimental.symbolic_shapes import statically_known_true

from niwaki.lower.canonical.antialias import product

# Lengths from here on are taken apart into two factors, where they have any: the work grows by their sum then.
_DIRECT = 512


@dataclass(frozen=True)
class Complex:
    """Complex numbers: two tensors of the same shape."""

    real: torch.Tensor
    imag: torch.Tensor

    def __mul__(self, other: Complex) -> Complex:
        return Complex(self.real * other.real - self.imag * other.imag, self.real * other.imag + self.imag * other.real)


def _waves(size: Any, count: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """cos and sin of 2 pi j k / size: float32 [size, count]. Known now where the sizes are.

    Half turns have a sine of 0, so that what is real stays real, and its phase is 0 or pi as torch has it.
    """
    if isinstance(size, int) and isinstance(count, int):
        turns = torch.outer(torch.arange(size), torch.arange(count)) % size
        angles = turns.to(torch.float64) * (2 * math.pi / size)
        sines = angles.sin().masked_fill(2 * turns % size == 0, 0.0)
        return angles.cos().to(torch.float32), sines.to(torch.float32)
    turns = torch.arange(size)[:, None] * torch.arange(count)[None, :] % size
    angles = turns.to(torch.float32) * (2 * math.pi / torch.scalar_tensor(size, dtype=torch.float32))
    return angles.cos(), angles.sin().masked_fill(2 * turns % size == 0, 0.0)


def _factor(size: Any) -> int:
    """The factor nearest to the root of a length that is long; 1 where there is none."""
    if not isinstance(size, int) or size <= _DIRECT:
        return 1
    return next(each for each in range(math.isqrt(size), 0, -1) if size % each == 0)


def _transform(x: Complex, size: Any, count: Any, sign: int) -> Complex:
    """sum_j x_j exp(sign 2 pi i j k / size) for k from 0 to count - 1, along the last axis."""
    factor = _factor(size)
    if factor == 1:
        cos, sin = _waves(size, count)
        return Complex(
            product(x.real, cos) - sign * product(x.imag, sin), product(x.imag, cos) + sign * product(x.real, sin)
        )
    # Number first + factor second becomes other first-of-results + second-of-results; see Cooley and Tukey.
    other = size // factor
    apart = [part.unflatten(-1, (other, factor)).transpose(-1, -2) for part in (x.real, x.imag)]
    inner = _transform(Complex(*apart), other, other, sign)
    turns = torch.outer(torch.arange(factor), torch.arange(other)).to(torch.float64) * (2 * math.pi / size)
    turned = inner * Complex(turns.cos().to(torch.float32), sign * turns.sin().to(torch.float32))
    across = Complex(turned.real.transpose(-1, -2), turned.imag.transpose(-1, -2))
    outer = _transform(across, factor, factor, sign)
    parts = [part.transpose(-1, -2).flatten(-2)[..., :count] for part in (outer.real, outer.imag)]
    return Complex(*parts)


def _scaled(x: Complex, size: Any, norm: str | None, *, inverse: bool) -> Complex:
    if norm == "ortho":
        power = -0.5
    elif (norm or "backward") == ("backward" if inverse else "forward"):
        power = -1.0
    else:
        return x
    factor = size**power if isinstance(size, int) else torch.scalar_tensor(size, dtype=torch.float32) ** power
    return Complex(x.real * factor, x.imag * factor)


def _resized(x: torch.Tensor, size: Any) -> torch.Tensor:
    """The first elements of the last axis, or zeros behind them."""
    own = x.shape[-1]
    if statically_known_true(own == size):
        return x
    if isinstance(own, int) and isinstance(size, int):
        return x[..., :size] if own > size else torch.nn.functional.pad(x, (0, size - own))
    return torch.nn.functional.pad(x, (0, size)).index_select(-1, torch.arange(size))


def _along(x: Complex, dim: int, size: Any) -> tuple[Complex, Any]:
    """With the axis last, and as many elements as the transform takes."""
    parts = [part.movedim(dim, -1) for part in (x.real, x.imag)]
    if size is None:
        size = parts[0].shape[-1]
    else:
        parts = [_resized(part, size) for part in parts]
    return Complex(*parts), size


def fft(x: Complex, size: Any, dim: int, norm: str | None, *, inverse: bool = False, half: bool = False) -> Complex:
    """torch.fft.fft, ifft, and rfft with `half`, along one axis."""
    x, size = _along(x, dim, size)
    found = _transform(x, size, size // 2 + 1 if half else size, 1 if inverse else -1)
    found = _scaled(found, size, norm, inverse=inverse)
    return Complex(found.real.movedim(-1, dim), found.imag.movedim(-1, dim))


def rfft(x: torch.Tensor, size: Any, dim: int, norm: str | None) -> Complex:
    """torch.fft.rfft along one axis."""
    x = x.movedim(dim, -1)
    if size is None:
        size = x.shape[-1]
    else:
        x = _resized(x, size)
    if _factor(size) > 1:
        found = _transform(Complex(x, torch.zeros_like(x)), size, size // 2 + 1, -1)
        found = Complex(found.real, found.imag.masked_fill(2 * torch.arange(size // 2 + 1) % size == 0, 0.0))
    else:
        cos, sin = _waves(size, size // 2 + 1)
        found = Complex(product(x, cos), product(x, -sin))  # sums of zeros are 0, and not -0
    found = _scaled(found, size, norm, inverse=False)
    return Complex(found.real.movedim(-1, dim), found.imag.movedim(-1, dim))


def irfft(x: Complex, size: Any, dim: int, norm: str | None) -> torch.Tensor:
    """torch.fft.irfft along one axis: what it does not get are conjugates of what it gets."""
    if size is None:
        x, count = _along(x, dim, None)
        size = 2 * (count - 1)
    else:
        x, count = _along(x, dim, size // 2 + 1)
    cos, sin = _waves(size, count)
    place = torch.arange(count)
    twice = 2 - ((place == 0) | (2 * place == size)).to(torch.float32)
    real = product(x.real * twice, cos.transpose(0, 1)) - product(x.imag * twice, sin.transpose(0, 1))
    return _scaled(Complex(real, real), size, norm, inverse=True).real.movedim(-1, dim)


def axes_of(x: torch.Tensor, sizes: Sequence[Any] | None, dims: Sequence[int] | None) -> list[tuple[int, Any]]:
    """The axes of a transform of several, with the size of each; None for its own."""
    if dims is None:
        dims = list(range(-len(sizes), 0)) if sizes is not None else list(range(-x.dim(), 0))
    given = list(sizes) if sizes is not None else [None] * len(dims)
    return [(int(dim), None if size == -1 else size) for dim, size in zip(dims, given, strict=True)]
