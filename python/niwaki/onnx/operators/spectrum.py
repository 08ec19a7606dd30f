"""Fourier transforms."""

from __future__ import annotations

from typing import Any

import torch

from niwaki.onnx.call import Call
from niwaki.onnx.dtypes import elem_of
from niwaki.onnx.functions import spectrum
from niwaki.onnx.registry import operator


@operator("DFT", since=17)
def _dft(call: Call) -> Any:
    inverse, onesided = call.flag("inverse"), call.flag("onesided")
    rank = call.rank()
    axis = call.integer("axis", 1)
    if call.version >= 20:
        axis = int(call.whole(2)) if call.given(2) else -2
    axis = call.axis(axis, rank)
    length = call.elements(1)[0] if call.given(1) else None
    return call.call(spectrum.dft, call.x(0), length, axis, inverse, onesided)


@operator("STFT", since=17)
def _stft(call: Call) -> Any:
    onesided = call.flag("onesided", True)
    step = int(call.whole(1))
    window = call.optional(2)
    length = int(call.whole(3)) if call.given(3) else None
    return call.call(spectrum.stft, call.x(0), step, window, length, onesided)


@operator("MelWeightMatrix", since=17)
def _mel(call: Call) -> Any:
    elem = call.integer("output_datatype", 1)
    bins, length, rate = (int(call.whole(index)) for index in range(3))
    low, high = (float(call.whole(index)) for index in (3, 4))
    return spectrum.mel_weights(bins, length, rate, low, high).to(call.result(torch.zeros(1), elem).dtype)


@operator("BitCast", since=26)
def _bit_cast(call: Call) -> Any:
    from niwaki.onnx.dtypes import dtype_of

    dtype = dtype_of(call.integer("to", 0))
    return call.result(call.method("view", call.x(), dtype), elem_of(dtype))
