"""Weights of quantized files beyond niwaki's int8, -128 and uint8 around any zero point: int8 layers all the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("onnx", reason="the extra niwaki[onnx] is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from test_onnx_own_scales import File, check

from niwaki.onnx.integer_weights import wide

INT8 = {"conv2d": 1, "convolution": 0}


def integers(seed: int, *shape: int, low: int = -127, high: int = 127) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(low, high + 1, shape)


def convolution(whole: np.ndarray[Any, Any], zero: int | None, inputs: int, **attributes: Any) -> bytes:
    """A convolution by these integers, of uint8 around `zero` or of int8; its result is on a grid of 0.1."""
    file = File()
    x = file.grid("x", 0.02, 37)
    w = file.weight(*whole.shape)
    kind: Any = np.int8 if zero is None else np.uint8
    file.tensors |= {"w": (whole + (zero or 0)).astype(kind), "w_z": np.full(len(whole), zero or 0, kind)}
    assert np.array_equal(file.tensors["w"].astype(int) - (zero or 0), whole)
    file.op("Conv", x, w, file.bias("x", len(whole)), made="c", **attributes)
    return file.finish(file.grid("c", 0.1, 131), "n", inputs, "h", "w_")


@pytest.mark.parametrize("where", [[(1, 3, 0, 0)], [(0, 0, 1, 1), (5, 21, 2, 2), (2, 21, 0, 0)], "all", "apart"])
def test_convolutions_with_the_lowest_int8(where: Any) -> None:
    """Also where each input, or every fifth, has one: then slices are joined."""
    whole = integers(1, 6, 50, 3, 3)
    if isinstance(where, str):
        whole[2, :: 1 if where == "all" else 10, 1, 1] = -128
    for place in where if isinstance(where, list) else ():
        whole[place] = -128
    data = convolution(whole, None, 50, pads=[1, 1, 1, 1], strides=[2, 1])
    check(data, torch.randn(2, 50, 9, 8), 0.1, INT8 | {"concat": 1})


@pytest.mark.parametrize("groups", [2, 6, 12])
def test_groups_with_the_lowest_int8(groups: int) -> None:
    whole = integers(2, 12, 12 // groups, 3, 3)
    whole[3, 0, 1, 2] = whole[4, -1, 0, 0] = whole[11, -1] = -128
    data = convolution(whole, None, 12, pads=[1, 0, 1, 2], group=groups)
    check(data, torch.randn(2, 12, 9, 8), 0.1, INT8)


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("zero", [0, 119, 200, 255])
def test_uint8_around_any_zero_point(zero: int, groups: int) -> None:
    """With 0 and 255 a weight is 255 of 127 and 127 and 1: its input is there three times."""
    whole = integers(3, 8, 8 // groups, 3, 3, low=-zero, high=255 - zero)
    whole[0, 0], whole[7, -1] = -zero, 255 - zero
    check(convolution(whole, zero, 8, group=groups), torch.randn(2, 8, 9, 8), 0.1, INT8)


@pytest.mark.parametrize("op", ["Gemm", "MatMul"])
def test_products_with_the_lowest_int8(op: str) -> None:
    file = File()
    x = file.grid("x", 0.02, 120)
    w = file.weight(30, 6, axis=1)
    file.tensors["w"][[2, 17, 29], [0, 5, 5]] = -128
    file.op(op, x, w, *([file.bias("x", 6)] if op == "Gemm" else []), made="c")
    data = file.finish(file.grid("c", 0.03, 140), "n", 30)
    check(data, torch.randn(5, 30), 0.03, {"linear": 1, "concat": 1, "matmul": 0})


def test_a_value_that_is_padded_before_it_is_there_again() -> None:
    file = File()
    file.tensors["pads"] = np.array([0, 0, 1, 1, 0, 0, 2, 0])
    x = file.op("Pad", file.grid("x", 0.02, 37), "pads", made="p")
    w = file.weight(6, 8, 3, 3)
    file.tensors["w"][1, 6, 0, 0] = -128
    file.op("Conv", x, w, file.bias("x", 6), made="c")
    check(
        file.finish(file.grid("c", 0.03, 131), "n", 8, "h", "w_"), torch.randn(2, 8, 9, 8), 0.03, INT8 | {"concat": 1}
    )


@pytest.mark.parametrize(("groups", "kernel"), [(1, ()), (1, (1, 3)), (3, (1, 3))])
def test_the_parts_add_up(groups: int, kernel: tuple[int, ...]) -> None:
    """To the integers, input by input."""
    whole = torch.from_numpy(integers(4, 6, 9, *kernel, low=-255, high=255)).float()
    whole[0], whole[1, 3], whole[5, 7] = 255, -255, -128
    found = wide(whole, groups)
    inputs = list(range(9 * groups))
    columns = [*inputs, *(each for first, last in found.slices for each in range(first, last))]
    columns = list(found.order) or columns
    own = torch.tensor(columns).reshape(groups, -1)
    assert found.weight.dtype == torch.int8 and found.weight.abs().amax() <= 127
    for output in range(6):
        group = output // (6 // groups)
        total = torch.zeros(9 * groups, *kernel).index_add(0, own[group], found.weight[output].float())
        assert torch.equal(total.reshape(groups, 9, *kernel)[group], whole[output])
