"""What an operator's function is given: the node's inputs and attributes, and the graph to add to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from niwaki.onnx.builder import Builder
from niwaki.onnx.dtypes import BOOL, FLOAT, INT64, is_float, name_of
from niwaki.onnx.errors import Refusal
from niwaki.onnx.functions import sizes as size_functions
from niwaki.onnx.values import Dims, Sizes, Value, is_whole, value_of

Type = tuple[int, Dims | None]
"""A type and a shape, as ONNX infers them."""


class Call:
    """One node. Attributes and inputs that nobody asked for are refused afterwards.

    Attributes:
        operator: the name of its operator.
        version: the opset in which the operator was defined as it is here.
        opset: that of the file.
        inputs: its inputs; None for those that are not given.
        outputs: how many outputs are used, up to the last.
        inferred: types and shapes of its outputs, as far as ONNX knows them.
        label: a name for a layer that it becomes.
        builder: the graph.
    """

    def __init__(
        self,
        builder: Builder,
        operator: str,
        versions: tuple[int, int],
        inputs: Sequence[Value | None],
        outputs: int,
        attributes: dict[str, Any],
        inferred: Sequence[Type | None],
        label: str,
        following: Callable[[str], Following | None],
    ) -> None:
        self.builder = builder
        self.operator = operator
        self.version, self.opset = versions
        self.inputs = list(inputs)
        while self.inputs and self.inputs[-1] is None:
            self.inputs.pop()
        self.outputs = outputs
        self.inferred = list(inferred)
        self.label = label
        self.following = following
        self._attributes = attributes
        self._unread = set(attributes)
        self._unused = {index for index, value in enumerate(self.inputs) if value is not None}

    # Attributes.

    def has(self, name: str) -> bool:
        """Whether an attribute is given."""
        return name in self._attributes

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute as it is in the file: an int, a float, bytes, a list, a tensor."""
        self._unread.discard(name)
        return self._attributes.get(name, default)

    def integer(self, name: str, default: int) -> int:
        """An integer."""
        return int(self.attribute(name, default))

    def flag(self, name: str, default: bool = False) -> bool:
        """An integer that stands for yes or no."""
        return bool(self.attribute(name, int(default)))

    def number(self, name: str, default: float) -> float:
        """A float."""
        return float(self.attribute(name, default))

    def integers(self, name: str, default: Sequence[int] | None = None) -> list[int] | None:
        """A list of integers."""
        found = self.attribute(name, default)
        return None if found is None else [int(each) for each in found]

    def word(self, name: str, default: str = "") -> str:
        """A string."""
        found = self.attribute(name, default)
        return found.decode() if isinstance(found, bytes) else str(found)

    def unused(self, *names: str) -> None:
        """Attributes that change nothing here."""
        self._unread.difference_update(names)

    def only(self, name: str, *allowed: Any) -> Any:
        """An attribute that is refused unless it has one of these values, the first of which is its default."""
        found = self.attribute(name, allowed[0])
        if isinstance(found, bytes):
            found = found.decode()
        if found not in allowed:
            raise Refusal(f"its attribute {name} = {found!r} is not supported")
        return found

    # Inputs.

    def given(self, index: int) -> bool:
        """Whether an input is given."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def value(self, index: int) -> Value:
        """An input with what is known of it."""
        if not self.given(index):
            raise Refusal(f"its input {index} is missing")
        self._unused.discard(index)
        value = self.inputs[index]
        assert value is not None
        return value

    def raw(self, index: int) -> Any:
        """A tensor or node of an input, of float32 where it is carried so."""
        value = self.value(index)
        return self.tensor_of(value) if not value.carried else value.data

    def x(self, index: int = 0) -> Any:
        """A tensor or node of an input, of its own type."""
        return self.tensor_of(self.value(index))

    def optional(self, index: int) -> Any:
        """As `x`; None where it is not given."""
        return self.x(index) if self.given(index) else None

    def all(self) -> list[Any]:
        """All inputs, as `x`."""
        return [self.x(index) for index in range(len(self.inputs))]

    def tensor_of(self, value: Value) -> Any:
        """A tensor or node of a value, of its own type."""
        if value.items is not None:
            raise Refusal("it is given a sequence")
        if value.sizes:
            return self.call(size_functions.tensor_of, value.data.tolist(), value.dtype)
        if value.carried:
            return self.method("to", value.data, value.dtype)
        return value.data

    def whole(self, index: int) -> torch.Tensor:
        """An input that has to be known when the graph is converted."""
        value = self.value(index)
        if not isinstance(value.data, torch.Tensor):
            raise Refusal(f"its input '{value.name}' has to be a constant, as it is part of what it computes")
        return value.data.to(value.dtype) if value.carried else value.data

    def elements(self, index: int) -> list[Any]:
        """Integers of an input of rank 0 or 1; those that are not known yet are nodes."""
        return self.array(index).reshape(-1).tolist()

    def array(self, index: int) -> Sizes:
        """As `elements`, in the input's shape."""
        value = self.value(index)
        if value.sizes:
            return value.data  # type: ignore[no-any-return]
        if isinstance(value.data, torch.Tensor):
            found = np.empty(tuple(value.data.shape), dtype=object)
            found.reshape(-1)[:] = self.whole(index).reshape(-1).tolist() if found.size else []
            return found
        dims = value.dims
        if dims is None or len(dims) > 1 or None in dims:
            raise Refusal(f"it reads '{value.name}' as numbers, whose count is not known")
        count = dims[0] if dims else 1
        node = self.call(size_functions.numbers_of, self.tensor_of(value))
        elements = [self.call(size_functions.item, node, each) for each in range(count or 0)]
        return array_of(elements, () if not dims else (len(elements),))

    def in_sizes(self, *indices: int) -> bool:
        """Whether inputs are whole integers or sizes, and one of them is not known yet: then sizes are the result."""
        values = [self.value(index) for index in indices]
        if not any(value.sizes for value in values):
            return False
        return all(value.sizes or (value.constant and value.data.numel() <= 64) for value in values)

    # Sizes and shapes.

    def rank(self, index: int = 0) -> int:
        """Of an input."""
        value = self.value(index)
        if value.rank is None:
            raise Refusal(f"the rank of its input '{value.name}' is not known")
        return value.rank

    def axis(self, axis: int, rank: int) -> int:
        """An axis that counts from the end or the start, from the start."""
        if not -rank <= axis < max(rank, 1):
            raise Refusal(f"it names axis {axis} of a value of rank {rank}")
        return axis % rank if rank else 0

    def dims(self, index: int = 0) -> list[Any]:
        """The sizes of an input: integers where they are known, else nodes."""
        value = self.value(index)
        rank = self.rank(index)
        assert value.dims is not None
        if all(size is not None for size in value.dims):
            return list(value.dims)
        data = value.data
        return [value.dims[axis] if value.dims[axis] is not None else self.size(data, axis) for axis in range(rank)]

    def size(self, x: Any, axis: int) -> Any:
        """A size of a tensor or node."""
        return self.builder.size(x, axis)

    # The graph.

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The result of a function, as Builder.call."""
        return self.builder.call(function, *args, **kwargs)

    def method(self, name: str, x: Any, *args: Any, **kwargs: Any) -> Any:
        """The result of a method, as Builder.method."""
        return self.builder.method(name, x, *args, **kwargs)

    def layer(self, key: tuple[Any, ...], make: Callable[[], nn.Module], *args: Any) -> Any:
        """The result of a layer. Tensors in the key are meant by identity."""
        plain = tuple(id(each) if isinstance(each, torch.Tensor) else each for each in key)
        self.builder.keep(*[each for each in key if isinstance(each, torch.Tensor)])
        return self.builder.layer(plain, self.label, make, *args)

    def elem(self, index: int = 0) -> int:
        """The type of an output, as ONNX infers it, or that of the first input."""
        inferred = self.inferred[index] if index < len(self.inferred) else None
        return inferred[0] if inferred else self.value(0).elem

    def result(
        self, data: Any, elem: int | None = None, dims: Dims | None = None, *, carried: bool = False, output: int = 0
    ) -> Value:
        """An output, with what is known of it besides what ONNX infers."""
        inferred = self.inferred[output] if output < len(self.inferred) else None
        if elem is None:
            elem = inferred[0] if inferred else self.inputs[0].elem if self.inputs and self.inputs[0] else FLOAT
        if inferred and inferred[1] is not None:
            known = inferred[1]
            dims = known if dims is None else tuple(b if a is None else a for a, b in zip(known, dims, strict=True))
        if isinstance(data, torch.Tensor) and not carried:
            return value_of(data, elem)
        if isinstance(data, (int, float, bool)):
            data = np.array(data, dtype=object)
        value = value_of(data, elem, dims)
        value.carried = carried
        return value

    def leftover(self) -> str:
        """What nobody asked for: attributes and inputs that would be ignored; "" where there is nothing."""
        if self._unread:
            names = ", ".join(f"{name} = {_shown(self._attributes[name])}" for name in sorted(self._unread))
            return f"its attribute {names} is not supported"
        if self._unused:
            value = self.inputs[min(self._unused)]
            assert value is not None
            return f"its input {min(self._unused)}, '{value.name}', is not supported"
        return ""

    def needs_float(self, index: int = 0) -> None:
        """Refuses integers."""
        value = self.value(index)
        if not is_float(value.elem):
            raise Refusal(f"it is given {name_of(value.elem)}")


class Following:
    """A node that alone uses an output of this one, and could be computed with it."""

    def __init__(self, operator: str, others: list[Value | None], take: Callable[[], None]) -> None:
        self.operator = operator
        self.others = others
        self.take = take


def _shown(value: Any) -> str:
    text = repr(value.decode() if isinstance(value, bytes) else value)
    return text if len(text) <= 40 else text[:37] + "..."


def array_of(elements: Sequence[Any], shape: Sequence[int] | None = None) -> Sizes:
    """An object array of integers and nodes."""
    found = np.empty(len(elements), dtype=object)
    found[:] = list(elements)
    return found if shape is None else found.reshape(tuple(shape))


__all__ = ["BOOL", "INT64", "Call", "Following", "Refusal", "Type", "array_of", "is_whole"]
