"""The core's graph a second time, in torch: records what is added to it, and computes it as the operators are defined.

`Graph` takes what `niwaki._core.Graph` takes, so that lowering can fill either. Real networks are compared with both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import core_operators
import numpy as np
import torch

_OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
    "max": max,
    "min": min,
}


class Dim:
    """An expression of free sizes: a name, or an operation on two expressions or integers."""

    def __init__(self, *parts: Any) -> None:
        self._parts = parts

    def evaluate(self, sizes: Mapping[str, int]) -> int:
        if len(self._parts) == 1:
            return sizes[self._parts[0]]
        sign, left, right = self._parts
        return _OPERATIONS[sign](number(left, sizes), number(right, sizes))

    @property
    def constant(self) -> int | None:
        return None

    def __str__(self) -> str:
        if len(self._parts) == 1:
            return str(self._parts[0])
        sign, left, right = self._parts
        return f"{sign}({left}, {right})" if sign in ("max", "min") else f"({left} {sign} {right})"

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    @staticmethod
    def max(a: Any, b: Any) -> Dim:
        return Dim("max", a, b)

    @staticmethod
    def min(a: Any, b: Any) -> Dim:
        return Dim("min", a, b)


def _operator(sign: str) -> tuple[Callable[[Dim, Any], Dim], Callable[[Dim, Any], Dim]]:
    return (lambda self, other: Dim(sign, self, other)), (lambda self, other: Dim(sign, other, self))


Dim.__add__, Dim.__radd__ = _operator("+")  # type: ignore[attr-defined]
Dim.__sub__, Dim.__rsub__ = _operator("-")  # type: ignore[attr-defined]
Dim.__mul__, Dim.__rmul__ = _operator("*")  # type: ignore[attr-defined]
Dim.__floordiv__, Dim.__rfloordiv__ = _operator("//")  # type: ignore[attr-defined]
Dim.__mod__, Dim.__rmod__ = _operator("%")  # type: ignore[attr-defined]


def number(value: Any, sizes: Mapping[str, int]) -> Any:
    """An attribute with numbers in place of expressions."""
    if isinstance(value, Dim):
        return value.evaluate(sizes)
    if isinstance(value, (list, tuple)):
        return [number(each, sizes) for each in value]
    return value


@dataclass
class Node:
    op: str
    name: str
    inputs: list[int]
    attributes: dict[str, Any]
    tensors: dict[str, torch.Tensor]
    quantizations: list[tuple[float, int] | None]
    outputs: list[int]


@dataclass
class Graph:
    """Records nodes; `run` computes them."""

    sizes: list[dict[str, Any]] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    guards: list[tuple[Any, str]] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._inputs: list[tuple[str, str, list[Any], int]] = []
        self._results: list[int] = []
        self._count = 0

    def add_size(self, name: str, low: int = 0, high: int = 2**63 - 1, hint: int = 0) -> Dim:
        self.sizes.append({"name": name, "low": low, "high": high, "hint": hint})
        return Dim(name)

    def add_input(self, name: str, dtype: str, dims: Sequence[Any]) -> int:
        self._inputs.append((name, dtype, list(dims), self._new()))
        return self._inputs[-1][3]

    def add_guard(self, cases: Any, message: str) -> None:
        self.guards.append((cases, message))

    def add_node(
        self,
        op: str,
        name: str,
        inputs: Sequence[int],
        attributes: Mapping[str, Any],
        tensors: Mapping[str, np.ndarray],
        quantizations: Sequence[tuple[float, int] | None] = (),
    ) -> list[int]:
        assert op in core_operators.OPERATORS, op
        outputs = [self._new() for _ in range(core_operators.results(op, attributes))]
        held = {key: torch.from_numpy(np.array(array)) for key, array in tensors.items()}
        self.nodes.append(Node(op, name, list(inputs), dict(attributes), held, list(quantizations), outputs))
        return outputs

    def add_output(self, value: int, name: str) -> None:
        self._results.append(value)
        self.outputs.append(name)

    def _new(self) -> int:
        self._count += 1
        return self._count - 1

    def infer(self, shapes: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
        """Shapes of the outputs for inputs of these shapes."""
        kinds = [core_operators.DTYPES[dtype] for _, dtype, *_ in self._inputs]
        of_what = list(zip(shapes, kinds, strict=True))
        try:
            made = self.run(*(torch.zeros(shape, dtype=dtype) for shape, dtype in of_what))
        except RuntimeError:  # integers divide by no 0
            made = self.run(*(torch.ones(shape, dtype=dtype) for shape, dtype in of_what))
        return [tuple(value.shape) for value in made]

    def run(self, *tensors: torch.Tensor) -> list[torch.Tensor]:
        """The outputs for these inputs.

        Raises:
            ValueError: a size or a guard excludes them.
        """
        sizes: dict[str, int] = {}
        for (name, dtype, dims, _), tensor in zip(self._inputs, tensors, strict=True):
            assert core_operators.DTYPES[dtype] == tensor.dtype, (name, dtype, tensor.dtype)
            for dim, size in zip(dims, tensor.shape, strict=True):
                if isinstance(dim, Dim) and len(dim._parts) == 1:
                    sizes[str(dim)] = size
        for name, _, dims, _ in self._inputs:
            given = dict(zip([each[0] for each in self._inputs], tensors, strict=True))[name].shape
            if number(dims, sizes) != list(given):
                raise ValueError(f"input '{name}': {list(given)} where {[str(dim) for dim in dims]} is expected")
        for cases, message in self.guards:
            if not any(all(_holds(each, sizes) for each in case) for case in cases):
                raise ValueError(message)
        values: dict[int, Any] = {value: tensor for (*_, value), tensor in zip(self._inputs, tensors, strict=True)}
        quantized: dict[int, tuple[float, int]] = {}
        for node in self.nodes:
            made = core_operators.compute(
                node.op,
                [None if value < 0 else values[value] for value in node.inputs],
                {key: number(value, sizes) for key, value in node.attributes.items()},
                node.tensors,
                [quantized.get(value) for value in node.inputs],
                node.quantizations,
            )
            assert len(made) == len(node.outputs), node.op
            values.update(zip(node.outputs, made, strict=True))
            for value, numbers in zip(node.outputs, node.quantizations, strict=False):
                if numbers is not None:
                    quantized[value] = numbers
        return [values[value] for value in self._results]

    def ops(self) -> list[str]:
        """The operators, in order."""
        return [node.op for node in self.nodes]


def _holds(comparison: tuple[Any, str, Any], sizes: Mapping[str, int]) -> bool:
    left, relation, right = comparison
    a, b = number(left, sizes), number(right, sizes)
    return bool({"==": a == b, "!=": a != b, "<": a < b, "<=": a <= b}[relation])
