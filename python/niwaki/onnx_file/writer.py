"""Collects the nodes of an ONNX graph while the nodes of a core graph are gone through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from niwaki import _core
from niwaki.onnx_file.registry import Node, Refusal

TYPES = {
    "float32": TensorProto.FLOAT,
    "uint8": TensorProto.UINT8,
    "int8": TensorProto.INT8,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "bool": TensorProto.BOOL,
    "byte": TensorProto.UINT8,
}
_SMALL = 64  # elements of a constant that is looked up by what it holds


@dataclass(frozen=True)
class Value:
    """A value of the core graph.

    Attributes:
        dtype: the name of its type.
        dims: numbers, None where they are not known, or trees (see `_core.Graph.nodes`).
        scale, zero_point: of a uint8 one that has them.
    """

    dtype: str
    dims: tuple[Any, ...]
    scale: float = 0.0
    zero_point: int = 0

    @property
    def rank(self) -> int:
        """How many dimensions it has."""
        return len(self.dims)

    @property
    def quantized(self) -> bool:
        """Whether it is uint8 with a scale."""
        return self.scale > 0

    @property
    def low(self) -> float:
        """What its q = 0 stands for."""
        return -self.zero_point * self.scale

    @property
    def high(self) -> float:
        """What its q = 255 stands for."""
        return (255 - self.zero_point) * self.scale


class Writer:
    """The ONNX graph under construction.

    A uint8 value is a tensor of uint8, which QuantizeLinear makes, and one of float32, which DequantizeLinear makes of
    it: operators stand between the two, in the form that runtimes look for to compute them with integers.

    Args:
        graph: of the core.
        with_integers: whether what has no form between DequantizeLinear and QuantizeLinear is written with operators
            of integers, which ONNX Runtime has kernels for, and not as float32 with weights of int8, which OpenVINO
            prefers.
    """

    def __init__(self, graph: _core.Graph, *, with_integers: bool = True) -> None:
        self.graph = graph
        self.with_integers = with_integers
        self.values = [_value(each) for each in graph.values()]
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self._plain: dict[int, str] = {}
        self._quantized: dict[int, str] = {}
        self._constants: dict[Any, str] = {}
        self._numbers: dict[Any, str] = {}
        self._taken: set[str] = set()
        self._sizes: dict[Any, str] = {}
        self._prefix = "graph"
        self._places = {
            dim[1]: (port["name"], axis)
            for port in reversed(graph.input_ports)
            for axis, dim in reversed(list(enumerate(self.values[port["value"]].dims)))
            if isinstance(dim, tuple) and dim[0] == "size"
        }

    # Names and nodes

    def begin(self, prefix: str) -> None:
        """What is added from here on is named after a layer."""
        self._prefix = prefix

    def reserve(self, name: str) -> None:
        """Keeps a name for an input or an output."""
        self._taken.add(name)

    def name(self, what: str) -> str:
        """A name that nothing has yet."""
        wanted = f"{self._prefix}/{what}"
        found, count = wanted, 1
        while found in self._taken:
            count += 1
            found = f"{wanted}_{count}"
        self._taken.add(found)
        return found

    def several(self, op: str, inputs: Sequence[str], outputs: int, **attributes: Any) -> list[str]:
        """Adds a node; the names of what it makes. "" stands for an input that is not given."""
        name = self.name(op)
        made = [name if index == 0 else self.name(f"{op}_output") for index in range(outputs)]
        given = {key: value for key, value in attributes.items() if value is not None}
        self.nodes.append(helper.make_node(op, list(inputs), made, name=name, **given))
        return made

    def op(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node of one output."""
        return self.several(op, inputs, 1, **attributes)[0]

    # Constants

    def constant(self, array: NDArray[Any] | np.generic, what: str = "constant") -> str:
        """A tensor that is part of the file; small ones that are equal are one."""
        array = np.asarray(array)
        key = (array.dtype.str, array.shape, array.tobytes()) if array.size <= _SMALL else None
        if key is not None and key in self._constants:
            return self._constants[key]
        name = self.name(what)
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name))
        if key is not None:
            self._constants[key] = name
        return name

    def floats(self, *numbers: float) -> str:
        """A float32 number, or several in a row."""
        return self.constant(np.array(numbers if len(numbers) != 1 else numbers[0], np.float32))

    def integers(self, numbers: Sequence[int]) -> str:
        """Integers in a row, int64."""
        return self.constant(np.array(list(numbers), np.int64))

    def tensor(self, node: Node, name: str) -> NDArray[Any]:
        """The data of a node's tensor."""
        return self.graph.tensor(node.number, name)

    # Values

    def value(self, node: Node, index: int = 0) -> Value:
        """What is known of an input of a node."""
        number: int = node.inputs[index]
        return self.values[number]

    def made(self, node: Node, index: int = 0) -> Value:
        """What is known of an output of a node."""
        return self.values[node.outputs[index]]

    def read(self, node: Node, index: int = 0) -> str:
        """An input of a node; a uint8 one as the float32 numbers that it stands for."""
        return self.plain(node.inputs[index])

    def plain(self, number: int) -> str:
        """A value as it is, or as the numbers that it stands for."""
        if number not in self._plain:
            self._plain[number] = self.dequantize(self._quantized[number], self.values[number])
        return self._plain[number]

    def quantized(self, number: int) -> str:
        """The bytes of a uint8 value."""
        return self._quantized[number]

    def set(self, number: int, name: str) -> None:
        """What a value is; a uint8 one is rounded."""
        if self.values[number].quantized:
            self._quantized[number] = self.quantize(name, self.values[number])
        else:
            self._plain[number] = name

    def replace(self, number: int, name: str) -> None:
        """Puts something else in the place of a value, which may have been set."""
        self._plain[number] = self._quantized[number] = name

    def set_bytes(self, number: int, name: str) -> None:
        """What the bytes of a uint8 value are."""
        self._quantized[number] = name

    def finish(self, node: Node, made: str) -> None:
        """The one result of a node."""
        self.set(node.outputs[0], made)

    def quantize(self, name: str, value: Value) -> str:
        """float32 numbers as bytes."""
        return self.op("QuantizeLinear", name, *self._grid(value))

    def dequantize(self, name: str, value: Value) -> str:
        """Bytes as float32 numbers."""
        return self.op("DequantizeLinear", name, *self._grid(value))

    def rounded(self, name: str, value: Value) -> str:
        """float32 numbers, rounded to the grid of a uint8 value."""
        return self.dequantize(self.quantize(name, value), value)

    def _grid(self, value: Value) -> tuple[str, str]:
        scale = self.constant(np.float32(value.scale), "scale")
        return scale, self.constant(np.uint8(value.zero_point), "zero_point")

    # Sizes

    def shape(self, dims: Sequence[Any]) -> str:
        """Sizes in a row, int64."""
        if all(isinstance(dim, int) for dim in dims):
            return self.integers(dims)
        parts: list[str] = []
        fixed: list[int] = []
        for dim in dims:
            if isinstance(dim, int):
                fixed.append(dim)
                continue
            if fixed:
                parts.append(self.integers(fixed))
                fixed = []
            parts.append(self.size(dim))
        if fixed:
            parts.append(self.integers(fixed))
        return parts[0] if len(parts) == 1 else self.op("Concat", *parts, axis=0)

    def reshape(self, x: str, dims: Sequence[Any], before: Sequence[Any] = ()) -> str:
        """x with another shape; `before`: the one that it has, as far as it is known. One size may be -1."""
        if 0 in dims:
            return self.op("Reshape", x, self.shape(dims), allowzero=1)
        kept = [index < len(before) and dim == before[index] and dim is not None for index, dim in enumerate(dims)]
        open_ = [index for index, dim in enumerate(dims) if not isinstance(dim, int) and not kept[index]]
        if len(open_) + (-1 in dims) <= 1:  # what is kept is written as 0, what follows from the rest as -1
            free = [0 if kept[index] else -1 for index in range(len(dims))]
            fixed = [dim if isinstance(dim, int) else free[index] for index, dim in enumerate(dims)]
            return self.op("Reshape", x, self.integers(fixed))
        return self.op("Reshape", x, self.shape(dims))

    def size(self, dim: Any) -> str:
        """A size as an int64 tensor of one element."""
        if dim is None:
            raise Refusal("a size of it depends on values")
        if isinstance(dim, int):
            return self.integers([dim])
        if dim not in self._sizes:
            self._sizes[dim] = self._computed(dim)
        return self._sizes[dim]

    def scalar(self, dim: Any) -> str:
        """A size as an int64 tensor of rank 0."""
        if isinstance(dim, int):
            return self.constant(np.int64(dim))
        return self.op("Squeeze", self.size(dim), self.integers([0]))

    def shape_of(self, number: int) -> str:
        """The shape of a value, int64 in a row."""
        return self.op("Shape", self._quantized.get(number) or self.plain(number))

    def _computed(self, dim: Any) -> str:
        if dim[0] == "size":
            name, axis = self._places[dim[1]]
            return self.op("Shape", name, start=axis, end=axis + 1)
        sign, left, right = dim[0], self.size(dim[1]), self.size(dim[2])
        if sign == "//":  # rounds down, where Div rounds towards zero
            return self.op("Div", self.op("Sub", left, self.op("Mod", left, right)), right)
        op = {"+": "Add", "-": "Sub", "*": "Mul", "%": "Mod", "min": "Min", "max": "Max"}[sign]
        return self.op(op, left, right)


def _value(entry: dict[str, Any]) -> Value:
    scale, zero_point = entry["quantization"] or (0.0, 0)
    dtype = "uint8" if entry["dtype"] == "byte" else entry["dtype"]  # numpy's byte has a sign
    return Value(dtype, tuple(entry["dims"]), float(scale), int(zero_point))


def onnx_dims(writer: Writer, dims: Sequence[Any]) -> list[int | str | None]:
    """A shape for the description of an input or output: names for free sizes, None for what depends on them."""
    names = [size["name"] for size in writer.graph.sizes]
    return [
        dim if isinstance(dim, int) else names[dim[1]] if isinstance(dim, tuple) and dim[0] == "size" else None
        for dim in dims
    ]


def port(writer: Writer, name: str, value: Value) -> Any:
    """The description of an input or output."""
    return onnx.helper.make_tensor_value_info(name, TYPES[value.dtype], onnx_dims(writer, value.dims))
