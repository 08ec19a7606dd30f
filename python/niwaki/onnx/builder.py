"""The torch.fx graph that a file becomes: calls, layers, constants. What is known is computed at once."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn
from torch.fx import Node
from torch.fx.node import map_aggregate


class Builder:
    """A graph in the making.

    Attributes:
        names: of the file's tensors, by the ids of their copies here: what a parameter is called after.
        scales: of weights that the file holds as integers, by the ids of the tensors that they were made into here.
        nonnegative: sizes that are never below 0.
    """

    def __init__(self) -> None:
        self.graph = fx.Graph()
        self.root = nn.Module()
        self.names: dict[int, str] = {}
        self.scales: dict[int, torch.Tensor] = {}
        self.nonnegative: set[Node] = set()
        self._attributes: dict[int, str] = {}
        self._kept: list[torch.Tensor] = []  # ids are those of living objects
        self._sizes: dict[tuple[Node, int], Node] = {}
        self._layers: dict[Any, str] = {}
        self._paths: set[str] = set()
        self._prefixes: set[str] = set()

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The result of a function: a node; or the result itself, where no argument is a node."""
        if not _has_node((args, kwargs)):
            with torch.no_grad():
                return function(*args, **kwargs)
        args, kwargs = map_aggregate((args, kwargs), self.as_argument)
        return self.graph.create_node("call_function", function, args, kwargs)

    def method(self, name: str, x: Any, *args: Any, **kwargs: Any) -> Any:
        """The result of a method of a tensor, as `call`."""
        if not _has_node((x, args, kwargs)):
            with torch.no_grad():
                return getattr(x, name)(*args, **kwargs)
        args, kwargs = map_aggregate(((x, *args), kwargs), self.as_argument)
        return self.graph.create_node("call_method", name, args, kwargs)

    def size(self, x: Any, axis: int) -> Any:
        """x.size(axis), called once."""
        if isinstance(x, torch.Tensor):
            return x.size(axis)
        key = (x, axis)
        if key not in self._sizes:
            self._sizes[key] = self.graph.create_node("call_method", "size", (x, axis), {})
            self.nonnegative.add(self._sizes[key])
        return self._sizes[key]

    def never_negative(self, size: Any) -> bool:
        """Whether a size, or a number, is known not to be below 0."""
        return size in self.nonnegative if isinstance(size, Node) else size >= 0

    def layer(self, key: Any, name: str, make: Callable[[], nn.Module], *args: Any) -> Any:
        """The result of a layer.

        Args:
            key: layers of equal keys are one, as nodes that share their weights do.
            name: what it is called, with dots.
            make: makes the layer.
            args: what it is called with.
        """
        if not _has_node(args):
            with torch.no_grad():
                return make().eval()(*args)
        path = self._layers.get(key)
        if path is None:
            path = self._layers[key] = self._free_path(name)
            self._add(path, make().eval())
        args = map_aggregate(args, self.as_argument)
        return self.graph.create_node("call_module", path, args, {})

    def constant(self, tensor: torch.Tensor) -> Node:
        """The node of a tensor, which becomes a parameter (floating-point) or a buffer."""
        name = self._attributes.get(id(tensor))
        if name is None:
            wanted = identifier(self.names.get(id(tensor), "")) or "constant"
            name = self._free_path(wanted.replace(".", "_"))
            self._attributes[id(tensor)] = name
            self._kept.append(tensor)
            if tensor.is_floating_point() and tensor.numel() > 1:
                self.root.register_parameter(name, nn.Parameter(tensor.detach(), requires_grad=True))
            else:
                self.root.register_buffer(name, tensor)
        return self.graph.get_attr(name)

    def keep(self, *tensors: torch.Tensor) -> None:
        """Keeps tensors whose ids are known."""
        self._kept += tensors

    def as_argument(self, value: Any) -> Any:
        """The node of a tensor; anything else as it is."""
        return self.constant(value) if isinstance(value, torch.Tensor) else value

    def _free_path(self, wanted: str) -> str:
        """A path that is neither taken, nor begins with a layer's, nor is the beginning of another."""
        parts = wanted.split(".")
        if parts[0] in _TAKEN:
            parts[0] += "_"
        for end in range(1, len(parts)):
            if ".".join(parts[:end]) in self._paths:  # a layer, which has no parts
                parts = [*parts[: end - 1], "_".join(parts[end - 1 :])]
                break
        wanted = ".".join(parts)
        path, count = wanted, 0
        while path in self._paths or path in self._prefixes:
            count += 1
            path = f"{wanted}_{count}"
        parts = path.split(".")
        self._paths |= {path}
        self._prefixes |= {".".join(parts[:end]) for end in range(1, len(parts))}
        return path

    def _add(self, path: str, module: nn.Module) -> None:
        *above, last = path.split(".")
        parent = self.root
        for part in above:
            child = parent._modules.get(part)
            if child is None:
                child = nn.Module()
                parent.add_module(part, child)
            parent = child
        parent.add_module(last, module)


_TAKEN = frozenset(dir(nn.Module())) | {"graph", "code"}


def _has_node(values: Any) -> bool:
    found: list[Node] = []
    map_aggregate(values, lambda value: found.append(value) if isinstance(value, Node) else None)
    return bool(found)


def identifier(name: str) -> str:
    """A name of the file as one of Python's; "" where nothing is left of it."""
    name = re.sub(r"\W+", "_", name).strip("_")
    if name[:1].isdigit():
        name = f"value_{name}"
    return f"{name}_" if keyword.iskeyword(name) else name
