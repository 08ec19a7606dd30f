"""What a capture gives: a graph, its inputs, which of their sizes are free, and what these must meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule
from torch.utils import _pytree as pytree

from niwaki.capture.sentences import words
from niwaki.capture.sizes import Expression, FreeSize, Guard, evaluate


@dataclass(frozen=True)
class CapturedInput:
    """A tensor that the network takes.

    Attributes:
        name: of the argument.
        dtype: of its elements.
        dims: a number, or an expression of the free sizes, for each dimension.
    """

    name: str
    dtype: torch.dtype
    dims: tuple[Expression, ...]


@dataclass(frozen=True)
class Captured:
    """A module as a graph.

    Attributes:
        exported: what torch.export gave.
        inputs: the tensors among the arguments, in the order of the graph's placeholders.
        sizes: the free sizes, by their symbols in the graph.
        guards: what the sizes must meet besides their ranges.
        parameters: names of the arguments in the order in which they may be given by position.
        arguments: the arguments by name, nested as they are given, with the tensors of the example in them.
        variadic: the name of the argument that takes all further positions (*args); empty where there is none.
        keywords: the same for all further names (**kwargs).
        fingerprint: of the graph; the same for the same network at any size, another one for another graph.
    """

    exported: ExportedProgram
    inputs: tuple[CapturedInput, ...]
    sizes: dict[str, FreeSize]
    guards: tuple[Guard, ...]
    parameters: tuple[str, ...]
    arguments: dict[str, Any]
    variadic: str
    keywords: str
    fingerprint: str

    def program(self) -> GraphModule:
        """The graph as a new module: parameters are attributes, and every value's meta data has a fake tensor."""
        module = self.exported.module(check_guards=False)
        assert isinstance(module, GraphModule)
        return module

    @property
    def result_spec(self) -> pytree.TreeSpec:
        """How the results are nested, for torch's pytree."""
        spec: pytree.TreeSpec = self.exported.call_spec.out_spec
        return spec

    def dims_in_words(self, info: CapturedInput) -> tuple[int | str, ...]:
        """The dims of an input: numbers, and names of free sizes."""
        return tuple(dim if isinstance(dim, int) else words(dim, self.sizes) for dim in info.dims)

    def tensors(self, args: Sequence[Any], kwargs: Any = None) -> list[torch.Tensor]:
        """The tensors among the arguments of a call, in the order of the inputs."""
        leaves = pytree.tree_leaves((tuple(args), dict(kwargs or {})))
        return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]

    def refusal(self, tensors: Sequence[torch.Tensor]) -> str:
        """Why the graph does not hold for inputs of these sizes and types, in a sentence; empty where it does."""
        if len(tensors) != len(self.inputs):
            return f"{len(self.inputs)} tensors are expected, not {len(tensors)}."
        found: dict[str, int] = {}
        for tensor, info in zip(tensors, self.inputs, strict=True):
            if tensor.dtype != info.dtype:
                return f"input '{info.name}' must be {info.dtype}, not {tensor.dtype}."
            if tensor.dim() != len(info.dims):
                return f"input '{info.name}' must have rank {len(info.dims)}, not {tensor.dim()}."
            for dim, size in zip(info.dims, tensor.shape, strict=True):
                if not isinstance(dim, int) and dim.is_Symbol:
                    found.setdefault(str(dim), int(size))
        for tensor, info in zip(tensors, self.inputs, strict=True):
            for axis, (dim, size) in enumerate(zip(info.dims, tensor.shape, strict=True)):
                if evaluate(dim, found) != int(size):
                    return f"input '{info.name}': dim {axis} must be {words(dim, self.sizes)}, not {int(size)}."
        for symbol, number in found.items():
            free = self.sizes[symbol]
            if not free.low <= number <= free.high:
                return f"size {free.name} must lie in {free.low} to {free.high}, not {number}."
        return next((guard.message for guard in self.guards if not guard.holds(found)), "")
