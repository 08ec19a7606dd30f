"""The table of operators: which function writes which operator of the core."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from niwaki.onnx_file.writer import Writer


class Refusal(Exception):  # noqa: N818 (a reason, which becomes a NiwakiError with the layer's name)
    """Why an operator cannot be written."""


@dataclass(frozen=True)
class Node:
    """A node of a core graph.

    Attributes:
        number: its place in the graph.
        op, name: the operator, and the layer's name as people know it.
        inputs, outputs: numbers of values; -1 for an optional input that is not given.
        attributes: lists, in which a size that depends on free sizes is a tree (see `_core.Graph.nodes`), or a word.
        tensors: names of its tensors.
    """

    number: int
    op: str
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    attributes: dict[str, Any]
    tensors: frozenset[str]

    def given(self, index: int) -> bool:
        """Whether it has this input."""
        return index < len(self.inputs) and self.inputs[index] >= 0

    def integer(self, name: str) -> int:
        """An attribute of one integer."""
        return int(self.attributes[name][0])

    def number_of(self, name: str) -> float:
        """An attribute of one number."""
        return float(self.attributes[name][0])

    def word(self, name: str) -> str:
        """An attribute that is a word."""
        return str(self.attributes[name])

    def sizes(self, name: str, count: int) -> list[Any]:
        """An attribute of so many integers, where a single one stands for all."""
        given = list(self.attributes[name])
        return given * count if len(given) == 1 and count != 1 else given


Function = Callable[["Writer", Node], None]
_functions: dict[str, Function] = {}
Registered = TypeVar("Registered", bound=Function)


def writes(*ops: str) -> Callable[[Registered], Registered]:
    """Registers a function for operators of the core by their names."""

    def add(function: Registered) -> Registered:
        for op in ops:
            assert op not in _functions, op
            _functions[op] = function
        return function

    return add


def find(op: str) -> Function | None:
    """The function of an operator; None where there is none."""
    return _functions.get(op)


def known() -> Sequence[str]:
    """All operators that can be written."""
    return sorted(_functions)
