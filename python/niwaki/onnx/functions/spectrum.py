"""Fourier transforms. Complex numbers are pairs along a last axis."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


def dft(x: torch.Tensor, length: Any, axis: int, inverse: bool, onesided: bool) -> torch.Tensor:
    """The discrete Fourier transform along an axis, of `length` elements, real (1) or complex (2) along the last axis.

    `onesided` transforms real signals to the first half of their spectrum, and `inverse` back.
    """
    if inverse and onesided:
        count = 2 * (x.shape[axis] - 1) if length is None else length
        real: torch.Tensor = torch.fft.irfft(torch.view_as_complex(x.contiguous()), count, axis)
        return real.unsqueeze(-1)
    if x.shape[-1] == 2:
        values = torch.view_as_complex(x.contiguous())
    else:
        values = x.squeeze(-1)
        if onesided:
            return torch.view_as_real(torch.fft.rfft(values, length, axis))
    function = torch.fft.ifft if inverse else torch.fft.fft
    found = function(values, length, axis)
    if onesided:
        found = found.narrow(axis, 0, found.shape[axis] // 2 + 1)
    return torch.view_as_real(found)


def stft(x: torch.Tensor, step: int, window: torch.Tensor | None, length: int | None, onesided: bool) -> torch.Tensor:
    """[batch, frames, bins, 2] of [batch, time, 1 or 2]: transforms of frames that begin every `step` elements."""
    size = length if length is not None else int(window.shape[0]) if window is not None else int(x.shape[1])
    if x.dim() == 2:
        x = x.unsqueeze(-1)
    values = torch.view_as_complex(x.contiguous()) if x.shape[-1] == 2 else x.squeeze(-1)
    frames = values.unfold(1, size, step)
    if window is not None:
        frames = frames * window
    if onesided and not frames.is_complex():
        return torch.view_as_real(torch.fft.rfft(frames))
    return torch.view_as_real(torch.fft.fft(frames))


def mel_weights(bins: int, length: int, rate: int, low: float, high: float) -> torch.Tensor:
    """[length // 2 + 1, bins]: triangles over the spectrum, evenly spaced on the mel scale, as ONNX defines them."""
    edges = np.arange(0, bins + 2)
    low_mel, high_mel = (2595 * np.log10(1 + each / 700) for each in (low, high))
    mel = edges * ((high_mel - low_mel) / (bins + 2)) + low_mel
    places = ((length + 1) * (700 * (np.power(10, mel / 2595) - 1)) // rate).astype(int)
    found = np.zeros((length // 2 + 1, bins))
    for index in range(bins):
        first, middle, last = places[index : index + 3]
        if middle == first:
            found[middle, index] = 1
        else:
            for place in range(first, middle + 1):
                found[place, index] = (place - first) / (middle - first)
        if last != middle:
            for place in range(middle, last):
                found[place, index] = (last - place) / (last - middle)
    return torch.from_numpy(found)
