"""Collects the operators of one native part of a network in a core graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.fx import Node

from niwaki import _core
from niwaki.lower.nodes import DTYPES, constant_of, dtype_of, is_constant, label, shape_of
from niwaki.lower.quantized import QParams

if TYPE_CHECKING:
    from niwaki.lower.types import Types

Dim = int | _core.Dim
Attributes = Mapping[str, Any]


class Builder:
    """Values of the graph under construction, by the nodes of the captured graph that they stand for.

    A node's value is uint8 where `types` says so, else plain: float32, or what torch has for integers and bools. Each
    is converted where a reader needs the other form, once.

    Args:
        graph: to which operators are added.
        size: a size of the captured graph as the core has it.
        types: which values are uint8.
        emit: adds the operators of a node whose value somebody needs.
        number: the same for a number with a fraction that is computed of sizes.
    """

    def __init__(
        self,
        graph: _core.Graph,
        size: Callable[[Any], Dim],
        types: Types,
        emit: Callable[[Builder, Node], None],
        number: Callable[[Builder, Node, Any], int],
    ) -> None:
        self.graph = graph
        self.types = types
        self._size = size
        self._emit = emit
        self._number = number
        self._made: dict[Node, list[int]] = {}
        self._plain: dict[tuple[Node, torch.dtype], int] = {}
        self._quantized: dict[tuple[Node, QParams], int] = {}
        self._constants: dict[Any, int] = {}
        self._forbidden: set[tuple[Dim, int]] = set()

    # Sizes

    def dim(self, size: Any) -> Dim:
        """A size among a call's arguments: a number, a symbol, or the node that computes it."""
        return self._size(size.meta["val"] if isinstance(size, Node) else size)

    def dims(self, sizes: Sequence[Any]) -> list[Dim]:
        return [self.dim(size) for size in sizes]

    def shape(self, node: Node) -> list[Dim]:
        """The shape of a node's tensor."""
        return self.dims(shape_of(node))

    def forbid(self, size: Any, number: int, because: str) -> None:
        """Refuses inputs for which a size would be this number."""
        dim = self.dim(size)
        if (dim, number) not in self._forbidden:
            self._forbidden.add((dim, number))
            self.graph.add_guard([[(dim, "!=", number)]], f"{dim} must not be {number}: {because}.")

    # Values

    def set(self, node: Node, *values: int) -> None:
        """What a node makes, in the form that `types` gives it."""
        self._made[node] = list(values)

    def made(self, node: Node, index: int = 0) -> int:
        """A value that a node makes, in the form that `types` gives it."""
        if node not in self._made:
            self._emit(self, node)
        return self._made[node][index]

    def plain(self, node: Node, dtype: torch.dtype | None = None) -> int:
        """A node's value in row-major order: float32, an integer or a bool; of another type where one is asked for."""
        own = dtype_of(node)
        wanted = own if dtype is None else dtype
        key = (node, wanted)
        if key not in self._plain:
            if is_constant(node):
                self._plain[key] = self.constant(constant_of(node).to(wanted), label(node))
            elif wanted != own:
                self._plain[key] = self.cast(node, self.plain(node), wanted)
            elif node in self.types.quantized:
                self._plain[key] = self.add("dequantize", node, [self.made(node)], part="dequantize")
            else:
                self._plain[key] = self.made(node)
        return self._plain[key]

    def quantized(self, node: Node, qparams: QParams | None = None) -> int:
        """A node's value as uint8; with other numbers than its own where they are given."""
        own = self.types.qparams(node)
        wanted = own if qparams is None else qparams
        key = (node, wanted)
        if key not in self._quantized:
            if wanted != own:
                table = {"table": wanted.table(own.reals())}
                value = self.add("table", node, [self.quantized(node)], {}, table, qparams=wanted, part="requantize")
            elif node in self.types.quantized:
                value = self.made(node)
            else:
                value = self.add("quantize", node, [self.plain(node)], qparams=own, part="quantize")
            self._quantized[key] = value
        return self._quantized[key]

    def operand(self, node: Node, value: Any, dtype: torch.dtype) -> int:
        """An argument of `node` as a value: a tensor, a number, or a size."""
        if isinstance(value, Node) and isinstance(value.meta.get("val"), torch.Tensor):
            return self.plain(value, dtype)
        if isinstance(value, Node):
            value = value.meta["val"]
        if isinstance(value, torch.SymInt):
            return self.cast(node, self.size_value(value), dtype, torch.int64)
        if isinstance(value, torch.SymFloat):
            return self.cast(node, self._number(self, node, value.node.expr), dtype, torch.float32)
        assert isinstance(value, (int, float)), (node.name, value)
        return self.scalar(value, dtype)

    # Operators

    def add(
        self,
        op: str,
        node: Node,
        inputs: Sequence[int],
        attributes: Attributes | None = None,
        tensors: Mapping[str, NDArray[Any]] | None = None,
        *,
        qparams: QParams | None = None,
        part: str = "",
    ) -> int:
        """Adds an operator named after `node`; returns the value that it makes.

        Args:
            qparams: of a uint8 result; None for a plain one.
            part: which of the operators that `node` becomes.
        """
        return self.add_several(op, node, inputs, attributes, tensors, qparams=qparams, part=part)[0]

    def add_several(
        self,
        op: str,
        node: Node,
        inputs: Sequence[int],
        attributes: Attributes | None = None,
        tensors: Mapping[str, NDArray[Any]] | None = None,
        *,
        qparams: QParams | None = None,
        part: str = "",
    ) -> list[int]:
        """As `add`, of an operator with several results."""
        name = f"{label(node)}.{part}" if part else label(node)
        quantizations = [] if qparams is None else [(qparams.scale, qparams.zero_point)]
        return list(self.graph.add_node(op, name, list(inputs), attributes or {}, tensors or {}, quantizations))

    def constant(self, tensor: torch.Tensor, name: str = "constant", *, qparams: QParams | None = None) -> int:
        """A tensor that is known now; `qparams` of a uint8 one."""
        array = np.ascontiguousarray(tensor.detach().cpu().numpy()) if tensor.dim() else tensor.detach().numpy()
        quantizations = [] if qparams is None else [(qparams.scale, qparams.zero_point)]
        return int(self.graph.add_node("constant", name, [], {}, {"value": array}, quantizations)[0])

    def once(self, key: Any, make: Callable[[], int]) -> int:
        """A value that several nodes read, which is made for the first of them."""
        if key not in self._constants:
            self._constants[key] = make()
        return self._constants[key]

    def scalar(self, number: float, dtype: torch.dtype) -> int:
        """A number as a value of rank 0."""
        value = torch.tensor(number).to(dtype) if isinstance(number, bool) else torch.tensor(number, dtype=dtype)
        key = (value.item(), str(dtype)) if number == number else ("nan", str(dtype))
        if key not in self._constants:
            self._constants[key] = self.constant(
                value, f"{value.item():g}" if dtype != torch.bool else str(value.item())
            )
        return self._constants[key]

    def size_value(self, value: Any) -> int:
        """A size as an int64 value of rank 0."""
        dim = self.dim(value)
        key = ("size", dim)
        if key not in self._constants:
            name = str(dim)
            self._constants[key] = int(self.graph.add_node("size", name, [], {"value": dim}, {}, [])[0])
        return self._constants[key]

    def cast(self, node: Node, value: int, to: torch.dtype, source: torch.dtype | None = None) -> int:
        """A value in another type; the value itself where `source` is that type."""
        return value if source == to else self.add("cast", node, [value], {"dtype": DTYPES[to]}, part="cast")

    def unary(self, node: Node, function: str, x: int, alpha: float = 0.0, beta: float = 0.0, part: str = "") -> int:
        return self.add("unary", node, [x], {"function": function, "alpha": alpha, "beta": beta}, part=part)

    def binary(self, node: Node, function: str, a: int, b: int, part: str = "") -> int:
        return self.add("binary", node, [a, b], {"function": function}, part=part)

    def reshape(self, node: Node, value: int, shape: Sequence[Any], part: str = "") -> int:
        return self.add("reshape", node, [value], {"shape": self.dims(shape)}, part=part)

    def permute(self, node: Node, value: int, axes: Sequence[int], part: str = "") -> int:
        if list(axes) == list(range(len(axes))):
            return value
        return self.add("permute", node, [value], {"axes": list(axes)}, part=part)

    def arange(self, node: Node, size: Any, part: str = "range") -> int:
        """0, 1, ... size - 1, int64."""
        return self.add("arange", node, [], {"start": 0, "end": self.dim(size), "step": 1, "dtype": "int64"}, part=part)
