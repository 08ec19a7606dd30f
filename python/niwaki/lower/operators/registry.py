"""How an operator of torch becomes one of niwaki's: the interface of all handlers, and where they are found."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch.fx import Node

from niwaki.lower.builder import Builder
from niwaki.lower.nodes import data_inputs, operator_name, tensor_of


class Operator(ABC):
    """One operator of torch, or a family of them. Handlers hold no state."""

    computes = False
    """Whether it is worth leaving torch for: convolutions, linear layers, batch norms."""

    bounds = False
    """Whether its output can be bounded for nothing, so that a ReLU after it costs nothing."""

    def unary(self, node: Node) -> bool:
        """Whether this call is a function of each element of one input alone: a table."""
        return False

    def limits(self, node: Node) -> tuple[float, float] | None:
        """Where the call only bounds its input, as ReLU does: the bounds."""
        return None

    def makes_float(self, node: Node) -> bool:
        """Whether it can make float32 where its result leaves the native part."""
        return False

    def refusal(self, node: Node) -> str:
        """Why this call has to stay in torch; empty where it does not."""
        return ""

    def shared(self, node: Node) -> Sequence[Node]:
        """The inputs that must have the scale and zero point of the output."""
        return ()

    def reals(self, node: Node) -> Sequence[float]:
        """Numbers that the output's scale must be able to express besides what was observed."""
        return ()

    @abstractmethod
    def emit(self, builder: Builder, node: Node) -> int:
        """Adds the operator to the graph; returns the value it makes."""


_operators: dict[str, Operator] = {}
Handler = TypeVar("Handler", bound=type[Operator])


def register(*names: str) -> Callable[[Handler], Handler]:
    """Registers a handler for operators by the names of their schemas, such as "aten::relu"."""

    def add(handler: Handler) -> Handler:
        instance = handler()
        for name in names:
            assert name not in _operators, name
            _operators[name] = instance
        return handler

    return add


def find(node: Node) -> Operator | None:
    """The handler of the node's operator; None where there is none."""
    return _operators.get(operator_name(node)) if node.op == "call_function" else None


def handler(node: Node) -> Operator:
    """The handler of a node that is known to be native."""
    found = find(node)
    assert found is not None, node.name
    return found


def refusal(node: Node) -> str:
    """Why the node has to stay in torch; empty where it can run natively."""
    found = find(node)
    if found is None:
        return f"{operator_name(node)} is not native"
    made = tensor_of(node)
    if made is None:
        return f"{operator_name(node)} does not make one tensor"
    for value in (made, *(source.meta.get("val") for source in data_inputs(node))):
        why = _unsuitable(value)
        if why:
            return f"{operator_name(node)} {why}"
        if isinstance(value, torch.Tensor) and value.shape[0] != made.shape[0]:
            return f"{operator_name(node)} changes the batch dimension"
    if not data_inputs(node):
        return f"{operator_name(node)} has no input that depends on the network's"
    why = found.refusal(node)
    return f"{operator_name(node)} {why}" if why else ""


def _unsuitable(value: object) -> str:
    if not isinstance(value, torch.Tensor):
        return "takes something that is no tensor"
    if value.dtype != torch.float32:
        return f"works on {str(value.dtype).removeprefix('torch.')}, not float32"
    if value.device.type != "cpu":
        return f"works on {value.device.type}, not the CPU"
    if value.dim() not in (2, 4):
        return f"works on a tensor of rank {value.dim()}; 2 and 4 are native"
    return ""
