"""Element types of ONNX and of torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from niwaki.onnx.errors import Refusal

# By the numbers of TensorProto.DataType, which never change.
FLOAT, UINT8, INT8, INT32, INT64, BOOL = 1, 2, 3, 6, 7, 9
FLOAT16, DOUBLE, BFLOAT16 = 10, 11, 16
UINT4, INT4 = 21, 22

UNSIGNED = (4, 12, 13)
"""Unsigned integers of 16 bits and more, which torch holds and does not compute with."""

NAMES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 8: "string", 9: "bool",
    10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 14: "complex64", 15: "complex128", 16: "bfloat16",
    17: "float8e4m3fn", 18: "float8e4m3fnuz", 19: "float8e5m2", 20: "float8e5m2fnuz", 21: "uint4", 22: "int4",
    23: "float4e2m1", 24: "float8e8m0", 25: "uint2", 26: "int2",
}  # fmt: skip

_TORCH = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 4: torch.uint16, 5: torch.int16, 6: torch.int32, 7: torch.int64,
    9: torch.bool, 10: torch.float16, 11: torch.float64, 12: torch.uint32, 13: torch.uint64, 16: torch.bfloat16,
    # Four bits have no type in torch that computes; their values are those of eight.
    21: torch.uint8, 22: torch.int8,
}  # fmt: skip

_ONNX = {dtype: elem for elem, dtype in _TORCH.items() if elem not in (UINT4, INT4)}

RANGES = {
    2: (0, 255), 3: (-128, 127), 4: (0, 65535), 5: (-32768, 32767), 6: (-(2**31), 2**31 - 1), 21: (0, 15), 22: (-8, 7)
}  # fmt: skip
"""The smallest and largest integer of types that are quantized to."""


def name_of(elem: int) -> str:
    """The type in words."""
    return NAMES.get(elem, f"type {elem}")


def dtype_of(elem: int) -> torch.dtype:
    """The type of torch. Raises Refusal where there is none."""
    if elem not in _TORCH:
        raise Refusal(f"{name_of(elem)} is not supported")
    return _TORCH[elem]


def elem_of(dtype: torch.dtype) -> int:
    """The type of ONNX."""
    return _ONNX[dtype]


def is_float(elem: int) -> bool:
    """Whether it is a floating-point type."""
    return elem in (FLOAT, FLOAT16, DOUBLE, BFLOAT16)


def from_numpy(array: Any, elem: int) -> torch.Tensor:
    """A tensor of an array as onnx.numpy_helper gives it. Raises Refusal for a type that torch has not."""
    dtype = dtype_of(elem)
    if elem == BFLOAT16:
        bits = np.ascontiguousarray(array).view(np.int16)
        return torch.from_numpy(bits.copy()).view(torch.bfloat16).reshape(array.shape)
    if elem in (UINT4, INT4):
        array = array.astype(np.uint8 if elem == UINT4 else np.int8)
    tensor = torch.from_numpy(np.array(array, order="C", copy=True)).reshape(array.shape)
    return tensor if tensor.dtype == dtype else tensor.to(dtype)
