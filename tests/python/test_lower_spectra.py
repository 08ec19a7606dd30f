"""Fourier transforms, complex numbers, order statistics: against torch, at several sizes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lowered import Of as Module
from lowered import check
from torch import nn

import niwaki


def signals(*shapes: tuple[int, ...]) -> list[tuple[torch.Tensor]]:
    return [(torch.randn(shape),) for shape in shapes]


TRANSFORMS = {
    "real": lambda x: (torch.fft.rfft(x[..., :16]).abs(), torch.view_as_real(torch.fft.rfft(x[..., :9], norm="ortho"))),
    "free": lambda x: (torch.fft.fft(x).real, torch.fft.fft(x, norm="forward").imag, torch.fft.rfft(x, dim=0).real),
    "of two axes": lambda x: (torch.fft.fft2(x).real, torch.fft.rfft2(x[..., :6]).imag, torch.fft.fftn(x).real),
    "back": lambda x: (torch.fft.irfft(torch.fft.rfft(x[..., :10])), torch.fft.irfft(torch.fft.rfft(x), x.shape[-1]),
                       torch.fft.ifft(torch.fft.fft(x)).real, torch.fft.irfft2(torch.fft.rfft2(x[..., :8]))),
    "shifted": lambda x: torch.fft.fftshift(torch.fft.fft(x[..., :8]), -1).real,
}  # fmt: skip


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms(name: str) -> None:
    check(TRANSFORMS[name], *signals((2, 6, 20), (3, 5, 31)))


def test_long_transforms_are_taken_apart() -> None:
    check(lambda x: (torch.fft.rfft(x).abs(), torch.fft.ifft(x).imag), *signals((2, 1200), (1, 1200)))


def test_short_time_transforms() -> None:
    window = torch.hann_window(32)

    def function(m: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        spectrum = torch.stft(x, 32, 8, window=m.window, return_complex=True)
        other = torch.stft(x[0], 32, win_length=20, center=False, normalized=True, return_complex=False)
        return spectrum.abs().pow(2), spectrum.angle().cos() * spectrum.abs(), other

    check(function, *signals((2, 100), (3, 165)), window=window)

    def there_and_back(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
        spectrum = torch.stft(x, 32, 8, window=m.window, return_complex=True)
        return torch.istft(spectrum * 0.5, 32, 8, window=m.window)

    check(there_and_back, *signals((2, 96), (1, 160)), window=window)


def test_complex_numbers() -> None:
    def rotated(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
        pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
        return torch.view_as_real(pairs * m.turns[: x.shape[1], None]).flatten(3)

    turns = torch.polar(torch.ones(9, 4), torch.randn(9, 4))
    check(rotated, *signals((2, 5, 3, 8), (1, 9, 3, 8)), turns=turns)

    def filtered(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
        spectrum = torch.fft.rfft2(x.reshape(-1, 2, 8, 8))
        out = torch.zeros(spectrum.shape[0], 2, 8, 5, dtype=torch.complex64)
        out[..., :3] = spectrum[..., :3] * m.filters
        return torch.fft.irfft2(out, s=(8, 8))

    check(filtered, *signals((2, 2, 8, 8), (3, 2, 8, 8)), filters=torch.randn(2, 8, 3, dtype=torch.complex64))
    check(
        lambda x: torch.view_as_real(torch.stack([torch.complex(x, x * 2).conj() / (3 - 1j), torch.exp(x * 1j) ** 2])),
        *signals((2, 3), (4, 5)),
    )


ORDER = {
    "medians": lambda x: (x.median(), *x.median(1), *x.median(-1, keepdim=True), x.long().median(), x.nanmedian()),
    "no numbers": lambda x: (x.where(x < 1, x.new_tensor(torch.nan)).median(1)[0],
                             x.where(x < 1, x.new_tensor(torch.nan)).nanmedian(1)[0],
                             x.where(x < 1, x.new_tensor(torch.nan)).quantile(0.4, 1),
                             x.where(x < 1, x.new_tensor(torch.nan)).nanquantile(0.4, 1)),
    "kth values": lambda x: (*x.kthvalue(2, 1), *x.kthvalue(1, -1, keepdim=True)),
    "modes": lambda x: (x.round().mode(1)[0], (x > 0).long().mode(-1, keepdim=True)[0]),
    "quantiles": lambda x: (x.quantile(0.3), x.quantile(0.25, 1, keepdim=True),
                            x.quantile(torch.tensor([0.1, 0.9]), -1, interpolation="nearest"),
                            x.quantile(torch.tensor([0.1, 0.9]), 1, keepdim=True)),
    "so far": lambda x: (x.cumprod(1), x.long().cumprod(-1), *x.cummax(1), *x.round().cummin(2), *x.long().cummax(0),
                         x.int().cumsum(1, dtype=torch.int32), x.long().prod(1), x.long().prod()),
    "histograms": lambda x: (torch.histc(x, 5, -1.0, 1.0), torch.histc(x, 4)),
    "sought": lambda x: (torch.searchsorted(x.sort(-1)[0], x), torch.isin(x.long(), torch.tensor([0, 2])),
                         torch.searchsorted(x[0, 0].sort()[0], x, right=True, out_int32=True)),
    "bools": lambda x: (*(x > 0).max(1), *(x > 0).min(-1), x.int().sum(1, dtype=torch.int32)),
    "rolled": lambda x: (x.roll(3), x.roll(-2)),
}  # fmt: skip


@pytest.mark.parametrize("name", ORDER)
def test_order(name: str) -> None:
    check(ORDER[name], *signals((2, 6, 5), (3, 4, 7), (1, 2, 9)))


def test_distances() -> None:
    check(lambda x: (torch.pdist(x), torch.dist(x, x * 2), torch.pdist(x, 1.0)), *signals((5, 3), (8, 2), (2, 4)))


def test_functions_of_elements() -> None:
    x = torch.cat([torch.linspace(-3, 3, 99), torch.tensor([0.0, -0.0, 1e-6, 1e6, -1e12, torch.inf, torch.nan])])
    check(lambda x: (x.asinh(), x.signbit(), torch.copysign(x.abs(), x), torch.copysign(x, -1.0)), (x,), (x[3:],))
    check(lambda x: (torch.fmax(x, x.flip(0)), torch.fmin(x, x.flip(0)), torch.ldexp(x, torch.tensor(3))), (x,))
    check(lambda x: (x.abs().add(1).acosh(), x.acosh()), (x,), (x[3:],), tolerance=1e-6)
    near = torch.cat([torch.linspace(-1, 1, 201), torch.tensor([1e-6, 0.9999999, 2.0, torch.nan])])
    check(lambda x: (x.atanh(), x.erfinv()), (near,), (near[1:],))


@pytest.mark.parametrize("length", [16, 15, 1024])
def test_what_is_real_of_real_signals_has_the_phase_of_torch(length: int) -> None:
    """The mean of a signal and its fastest change: 0 or pi, where any imaginary part of noise, or -0, gives -pi."""
    edges = [0] if length % 2 else [0, length // 2]

    def function(x: torch.Tensor) -> Any:
        found = torch.fft.rfft(x)[:, edges], torch.fft.fft(x)[:, edges]
        return tuple(each.angle() for each in found) + tuple(each.imag for each in found)

    module = Module(function)
    net = niwaki.compile(module, (torch.randn(4, length),))
    for batch in (4, 6):
        x = torch.randn(batch, length)
        for found, expected in zip(net(x), module(x), strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
            assert torch.equal(found.signbit(), expected.signbit())
