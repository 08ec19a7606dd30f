"""What the values of an ONNX graph are while it is converted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from niwaki.onnx.dtypes import dtype_of, elem_of

Dims = tuple[int | None, ...]
"""A shape: None for a size that is only known when the network runs."""

Sizes = np.ndarray[Any, Any]
"""Integers, floats or bools of which some are nodes: an object array of any shape. What follows from shapes is one."""


@dataclass
class Value:
    """A value of the graph.

    Attributes:
        data: a tensor, where it is known when the graph is converted; sizes; or the node that makes it.
        elem: its type, as TensorProto.DataType numbers them.
        dims: its shape; None where not even its rank is known.
        name: in the file.
        carried: it is of integers, but `data` holds them as float32, as quantized values are computed with.
        fill: the one number that all elements are, where that is known.
        items: the values of a sequence; None for a tensor.
    """

    data: Any
    elem: int
    dims: Dims | None = None
    name: str = ""
    carried: bool = False
    fill: float | None = None
    items: list[Value] | None = field(default=None)

    @property
    def dtype(self) -> torch.dtype:
        """Its type in torch, whatever `data` is."""
        return dtype_of(self.elem)

    @property
    def constant(self) -> bool:
        """Whether it is known when the graph is converted."""
        return isinstance(self.data, torch.Tensor)

    @property
    def sizes(self) -> bool:
        """Whether it is made of sizes, which are known as soon as the shapes of the inputs are."""
        return isinstance(self.data, np.ndarray)

    @property
    def rank(self) -> int | None:
        """The number of dimensions, where it is known."""
        return None if self.dims is None else len(self.dims)


def is_whole(array: Sizes) -> bool:
    """Whether no element is a node."""
    return not any(isinstance(element, Node) for element in array.flat)


def value_of(data: Any, elem: int | None = None, dims: Dims | None = None, name: str = "") -> Value:
    """A value of what an operator made: a tensor, a node, or an array of sizes."""
    if isinstance(data, np.ndarray):
        assert elem is not None
        if is_whole(data):
            data = torch.tensor(data.tolist(), dtype=dtype_of(elem)).reshape(data.shape)
        else:
            return Value(data, elem, data.shape, name)
    if isinstance(data, torch.Tensor):
        found = elem_of(data.dtype)
        whole = data.numel() and data.numel() < 2**16 and not data.dtype.is_complex
        fill = float(data.flatten()[0]) if whole and bool((data == data.flatten()[0]).all()) else None
        return Value(data, found if elem is None else elem, tuple(data.shape), name, fill=fill)
    assert elem is not None, name
    return Value(data, elem, dims, name)
