"""The table of operators: which function writes which operator of the core."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from niwaki import _core

if TYPE_CHECKING:
    from niwaki.onnx_file.writer import Writer


class Refusal(Exception):  # noqa: N818 (a reason, which becomes a NiwakiError with the layer's name)
    """Why an operator cannot be written."""


class Attributes(dict[str, Any]):
    """Attributes that remember which of them were asked for."""

    def __init__(self, attributes: dict[str, Any]) -> None:
        super().__init__(attributes)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return super().__getitem__(name)


class Inputs(tuple[int, ...]):
    """Values that remember which of them were asked for."""

    read: set[int]

    def __new__(cls, values: Iterable[int]) -> Inputs:
        made = super().__new__(cls, values)
        made.read = set()
        return made

    def __getitem__(self, index: Any) -> Any:
        self.read.add(index)
        return super().__getitem__(index)


@dataclass(frozen=True)
class Node:
    """A node of a core graph. What its function does not ask for, and is not as it is by default, is refused.

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
    inputs: Inputs
    outputs: tuple[int, ...]
    attributes: Attributes
    tensors: frozenset[str]

    def given(self, index: int) -> bool:
        """Whether it has this input."""
        return index < len(self.inputs) and self.inputs[index] >= 0

    def integer(self, name: str) -> int:
        """An attribute of one integer."""
        return int(self.attributes[name][0])

    def leftover(self) -> str:
        """What nobody asked for; empty where there is nothing."""
        defaults = _defaults()[self.op]
        names = [
            name
            for name, value in self.attributes.items()
            if name not in self.attributes.read and not _same(value, defaults.get(name))
        ]
        if names:
            return f"its {' and '.join(names)} cannot be written"
        unread = [index for index, value in enumerate(self.inputs) if value >= 0 and index not in self.inputs.read]
        return f"its input {unread[0]} cannot be written" if unread else ""

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


@functools.cache
def _defaults() -> dict[str, dict[str, Any]]:
    return {rule["name"]: {each["name"]: each["default"] for each in rule["attributes"]} for rule in _core.operators()}


def _same(value: Any, default: Any) -> bool:
    """Whether an attribute is what it is by default, where one number stands for all."""
    if isinstance(value, str) or not isinstance(default, list):
        return bool(value == default)
    return bool(value == default) or (len(default) == 1 and all(each == default[0] for each in value))


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
