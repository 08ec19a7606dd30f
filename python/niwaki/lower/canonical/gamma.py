"""The gamma function: its logarithm, and the derivative of that."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

_aten = torch.ops.aten
_STEPS = 7  # from where on Stirling's series is as exact as float32


def _raised(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Positive numbers, which of them are raised by as many steps as the series wants, and the result."""
    low = x < _STEPS
    return x, low, torch.where(low, x + _STEPS, x)


def _lgamma(x: torch.Tensor) -> torch.Tensor:
    """Within 2e-6 (1 + |result|): by Stirling's series, and by reflection below 1/2."""
    mirrored = x < 0.5
    y, low, z = _raised(torch.where(mirrored, 1 - x, x))
    series = (((1 / 1260) / (z * z) - 1 / 360) / (z * z) + 1 / 12) / z
    found = (z - 0.5) * z.log() - z + (0.5 * math.log(2 * math.pi)) + series
    product = y
    for step in range(1, _STEPS):
        product = product * (y + step)
    found = torch.where(low, found - torch.where(low, product, torch.ones_like(y)).log(), found)
    found = torch.where(y.isinf(), y, found)
    part = (x - x.round()).abs()  # sin(pi x) of what is left of x by the nearest whole number
    reflected = math.log(math.pi) - (math.pi * part).sin().log() - found
    reflected = torch.where(x.isinf() | (part == 0), torch.full_like(x, math.inf), reflected)
    return torch.where(mirrored, reflected, found)


def _digamma(x: torch.Tensor) -> torch.Tensor:
    mirrored = x < 0.5
    y, low, z = _raised(torch.where(mirrored, 1 - x, x))
    series = (((1 / 252) / (z * z) - 1 / 120) / (z * z) + 1 / 12) / (z * z)
    found = z.log() - 0.5 / z - series
    less = torch.zeros_like(y)
    for step in range(_STEPS):
        less = less + 1 / (y + step)
    found = torch.where(low, found - less, found)
    part = x - x.round()
    reflected = found - math.pi / (math.pi * part).tan()
    reflected = torch.where(part == 0, torch.full_like(x, math.nan), reflected)
    reflected = torch.where(x == 0, -x.reciprocal(), reflected)
    return torch.where(mirrored, reflected, found)


def _multigammaln(x: torch.Tensor, p: int) -> torch.Tensor:
    found = torch.full_like(x, p * (p - 1) / 4 * math.log(math.pi))
    for part in range(p):
        found = found + _lgamma(x - part / 2)
    return found


DECOMPOSITIONS: dict[Any, Callable[..., Any]] = {
    _aten.lgamma.default: _lgamma,
    _aten.special_gammaln.default: _lgamma,
    _aten.digamma.default: _digamma,
    _aten.special_digamma.default: _digamma,
    _aten.special_psi.default: _digamma,
    _aten.mvlgamma.default: _multigammaln,
    _aten.special_multigammaln.default: _multigammaln,
}
