"""How an operator of torch becomes one of niwaki's: the interface of all handlers, and where they are found."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch.fx import Node
from torch.utils import _pytree as pytree

from niwaki.lower.nodes import (
    BYTES,
    DTYPES,
    is_constant,
    is_getitem,
    is_tensor,
    makes_sizes,
    operator_name,
    tensor_operands,
    values_of,
)

if TYPE_CHECKING:
    from niwaki.lower.builder import Builder

OF_VALUES = "has a size that depends on values"
"""Why a call stays in torch whose result has more or fewer elements for other values."""

OF_CHANCE = "draws random numbers"
"""Why a call stays in torch that gives another result each time."""

_MOST_RANK = 8


class Operator:
    """One operator of torch, or a family of them. Handlers hold no state.

    An operator whose value is plain is added by `emit`. One that has a form for uint8 values as well says so in
    `quantizable`, and `emit_u8` adds that; which form is taken is decided in niwaki.lower.types.
    """

    names: tuple[str, ...] = ()
    """The schemas that the handler was registered for."""

    computes = False
    """Whether it is worth leaving torch for where the network has parts that stay there."""

    only_float: tuple[str, ...] = ()
    """Those of its operators that have no uint8 form, where it has one for others."""

    layer = False
    """Whether it always reads uint8: a convolution or linear layer with int8 weights."""

    moves = False
    """Whether its uint8 form only moves elements of one input, all of them, so that scale and range stay."""

    keeps = False
    """Whether the uint8 form's result has the scale of its inputs."""

    rounds = False
    """Whether it does nothing but round to uint8, with numbers that are its own whatever it reads."""

    bounds = False
    """Whether a uint8 result can be bounded for nothing, so that a ReLU after it costs nothing."""

    def refusal(self, node: Node) -> str:
        """Why this call has to stay in torch; empty where it does not."""
        return ""

    def emit(self, builder: Builder, node: Node) -> int | Sequence[int]:
        """Adds the operator to the graph; returns the value or values that it makes."""
        raise AssertionError(f"{type(self).__name__} has no such form")

    def quantizable(self, node: Node) -> bool:
        """Whether this call has a form that reads and makes uint8."""
        return False

    def emit_u8(self, builder: Builder, node: Node) -> int:
        """Adds that form to the graph; returns the value that it makes."""
        raise AssertionError(f"{type(self).__name__} has no such form")

    def has_u8(self, name: str) -> bool:
        """Whether some calls of the operator of this name have that form."""
        return type(self).emit_u8 is not Operator.emit_u8 and name not in self.only_float

    def unary(self, node: Node) -> bool:
        """Whether this call is a function of each element of one input alone: a table, where that is uint8."""
        return False

    def limits(self, node: Node) -> tuple[float, float] | None:
        """Where the call only bounds its input, as ReLU does: the bounds."""
        return None

    def sums(self, node: Node) -> bool:
        """Whether the uint8 form of this call is the sum of its two inputs."""
        return False

    def adds(self, node: Node) -> bool:
        """Whether this call can take a sum in, and add the other summand before it rounds."""
        return False

    def takes_part(self, node: Node) -> bool:
        """Whether the result is a part of the one input, and may span less than all of it."""
        return False

    def any_type(self, node: Node) -> bool:
        """Whether the call takes and makes integers of eight bits, too: it moves, chooses or converts them."""
        return self.moves or self.takes_part(node)

    def added(self, node: Node) -> float | None:
        """A number that the result holds besides elements of the input: what a pad adds."""
        return None


_operators: dict[str, Operator] = {}
Handler = TypeVar("Handler", bound=type[Operator])


def register(*names: str) -> Callable[[Handler], Handler]:
    """Registers a handler for operators by the names of their schemas, such as "aten::relu"."""

    def add(handler: Handler) -> Handler:
        instance = handler()
        instance.names = names
        for name in names:
            assert name not in _operators, name
            _operators[name] = instance
        return handler

    return add


def known_operators() -> dict[str, Operator]:
    """All handlers, by the names of their operators."""
    return dict(_operators)


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
    if is_getitem(node):
        source = node.args[0]
        assert isinstance(source, Node)
        return refusal(source)
    found = find(node)
    name = operator_name(node)
    if found is None:
        return f"{name} {_unknown(getattr(node.target, 'tags', ()))}"
    read = [node] if is_tensor(node) else [user for user in node.users if is_tensor(user)]
    if not read:
        return f"{name} makes no tensor that is used"
    for made in read:
        why = _unsuitable(made.meta["val"])
        if why:
            return f"{name} {why}"
    for source in node.all_input_nodes:
        if not is_constant(source) and not makes_sizes(source):
            for value in [source.meta.get("val")] if is_tensor(source) else values_of(source):
                why = _unsuitable(value)
                if why:
                    return f"{name} {why}"
    narrow = [value.dtype for value in _tensors(node) if value.dtype in BYTES]
    if narrow and not found.any_type(node):
        return f"{name} works on {str(narrow[0]).removeprefix('torch.')}"
    if not all(_fixed(leaf) for leaf in pytree.tree_leaves((node.args, dict(node.kwargs)))):
        return f"{name} takes a size that depends on values"
    why = found.refusal(node)
    return f"{name} {why}" if why else ""


def _unknown(tags: Collection[Any]) -> str:
    if torch.Tag.nondeterministic_seeded in tags:
        return OF_CHANCE
    return OF_VALUES if torch.Tag.dynamic_output_shape in tags else "is not native"


def _tensors(node: Node) -> list[torch.Tensor]:
    """What the node reads and makes, without parameters and buffers, which may become any type."""
    read = [source.meta["val"] for source in tensor_operands(node) if not is_constant(source)]
    return [*read, *(value for value in values_of(node) if isinstance(value, torch.Tensor))]


def _unsuitable(value: Any) -> str:
    if not isinstance(value, torch.Tensor):
        return "takes something that is no tensor"
    if value.dtype not in DTYPES:
        return f"works on {str(value.dtype).removeprefix('torch.')}"
    if value.device.type != "cpu":
        return f"works on {value.device.type}, not the CPU"
    if value.layout is not torch.strided:
        return f"works on a tensor of layout {value.layout}"
    if value.dim() > _MOST_RANK:
        return f"works on a tensor of rank {value.dim()}; at most {_MOST_RANK} is native"
    return "" if all(map(_fixed, value.shape)) else OF_VALUES


def _fixed(value: Any) -> bool:
    """Whether a size is known as soon as those of the inputs are."""
    if isinstance(value, Node):
        value = value.meta.get("val")
    if not isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool)):
        return True
    return not torch.fx.experimental.symbolic_shapes.free_unbacked_symbols(value)
