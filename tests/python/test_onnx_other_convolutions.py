"""Convolutions along one and three axes and transposed ones of quantized files: int8 on the file's own scales, too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("onnx", reason="the extra niwaki[onnx] is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from test_onnx_own_scales import File, check

import niwaki
from niwaki.onnx.own_convolutions import as_conv2d

GROUPS = {"conv2d": 1, "convolution": 0, "conv_transpose": 0}  # what groups take is put together in float32
INT8 = GROUPS | {"quantize": 1, "dequantize": 1}
SIZES = {1: (11,), 2: (6, 5), 3: (4, 5, 6)}


def file_of(
    op: str, axes: int, *, axis: int | None, kind: Any = np.int8, extreme: bool = False, **settings: Any
) -> bytes:
    """A layer of 8 inputs and 6 outputs between two grids; scales along an axis of its weights, or one."""
    file = File()
    groups = settings.get("group", 1)
    shape = (8, 6 // groups) if op == "ConvTranspose" else (6, 8 // groups)
    x = file.grid("x", 0.02, 37)
    w = file.weight(*shape, *[3] * axes, kind=kind, axis=axis)
    if extreme:
        low = 0 if kind is np.uint8 else -128
        file.tensors["w"][1, 1], file.tensors["w"][-1, -1, ..., 0] = low, low
    bias = [file.bias("x", 6)] if axis is None or op == "Conv" else []
    file.op(op, x, w, *bias, made="c", **settings)
    return file.finish(file.grid("c", 0.1, 131), "n", 8, *"tuv"[:axes])


@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize("axes", [1, 3])
@pytest.mark.parametrize(
    "settings",
    [{}, {"strides": 2, "pads": 1}, {"dilations": 2, "pads": 2}, {"group": 2, "pads": 1}, {"auto_pad": "SAME_UPPER"}],
)
def test_convolutions(axes: int, settings: dict[str, Any], extreme: bool) -> None:
    """Also with weights of -128, whose inputs are there again."""
    every = {"strides": axes, "pads": 2 * axes, "dilations": axes}
    lists = {name: [value] * every[name] if name in every else value for name, value in settings.items()}
    data = file_of("Conv", axes, axis=0, extreme=extreme, **lists)
    x = torch.randn(2, 8, *SIZES[axes])
    net = check(data, x, 0.1, GROUPS if "group" in settings else INT8)
    assert net(x[:1]).shape[0] == 1, "sizes stay free"


@pytest.mark.parametrize(("kind", "axis"), [(np.int8, 1), (np.int8, None), (np.uint8, None)])
@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize(
    "settings", [{}, {"strides": 2, "pads": 1, "output_padding": 1}, {"strides": 3}, {"strides": 4}]
)
def test_transposed(axes: int, settings: dict[str, Any], kind: Any, axis: int | None) -> None:
    """Phases of an output have the scale that it has; weights of uint8 reach beyond 127 here, and of int8 to -128.

    Of four phases of three taps, one has none.
    """
    every = {"strides": axes, "pads": 2 * axes, "output_padding": axes}
    lists = {name: [value] * every[name] for name, value in settings.items()}
    data = file_of("ConvTranspose", axes, axis=axis, kind=kind, extreme=True, **lists)
    check(data, torch.randn(2, 8, *SIZES[axes]), 0.1, INT8)


def test_transposed_in_groups() -> None:
    data = file_of("ConvTranspose", 2, axis=None, extreme=True, group=2, strides=[2, 2])
    check(data, torch.randn(2, 8, *SIZES[2]), 0.1, GROUPS)


def test_several_scales_for_an_output_stay_float32() -> None:
    """Scales along the inputs, of which a sum of integers has none."""
    layer = nn.Conv1d(4, 6, 3)
    assert as_conv2d(layer, torch.rand(6, 1, 1) + 1) is not None
    assert as_conv2d(layer, torch.rand(1, 4, 1) + 1) is None
    data = file_of("ConvTranspose", 1, axis=0)
    x = torch.randn(2, 8, 11)
    found = [node["op"] for node in niwaki.compile(niwaki.from_onnx(data), (x,), threads=1).graph.nodes()]
    assert "conv2d" not in found


def test_a_file_is_saved_and_loaded(tmp_path: Any) -> None:
    x = torch.randn(2, 8, 11)
    net = niwaki.compile(niwaki.from_onnx(file_of("Conv", 1, axis=0, extreme=True)), (x,), threads=1)
    net.save(tmp_path / "net.niwaki")
    assert torch.equal(niwaki.load(tmp_path / "net.niwaki")(x), net(x))
    assert {step.name for step in net.plan if step.op == "conv2d"} == {"c.conv.layer"}
