"""Sizes as nodes: what a rewriting needs to say of a free size is computed from the shapes of the inputs."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import sympy
import torch
from torch.fx import Graph, GraphModule, Node, Proxy
from torch.fx.proxy import GraphAppendingTracer
from torch.utils._sympy.interp import sympy_interp
from torch.utils._sympy.reference import PythonReferenceAnalysis

from niwaki.lower.nodes import is_tensor, tensor_of

SYMBOLIC = (torch.SymInt, torch.SymFloat, torch.SymBool)


@contextlib.contextmanager
def without_guards(module: GraphModule) -> Iterator[bool]:
    """Whoever asks for the value of a free size within raises: the answer would hold for the example's sizes alone.

    Gives whether it is so; older versions of torch cannot tell.
    """
    sizes = (size for node in module.graph.nodes if is_tensor(node) for size in node.meta["val"].shape)
    free = next((size for size in sizes if isinstance(size, torch.SymInt)), None)
    if free is None:
        yield True
        return
    raising = getattr(free.node.shape_env, "error_on_new_guards", None)
    with contextlib.nullcontext() if raising is None else raising():
        yield raising is not None


class _Analysis(PythonReferenceAnalysis):
    """Numbers with a fraction become whole ones by functions that know symbols; Python's own ask for a number."""

    @staticmethod
    def int_truediv(a: Any, b: Any) -> Any:
        return a / b

    @staticmethod
    def floor_to_int(x: Any, dtype: Any) -> Any:
        return _call(math.floor, x)

    @staticmethod
    def ceil_to_int(x: Any, dtype: Any) -> Any:
        return _call(math.ceil, x)

    @staticmethod
    def trunc_to_int(x: Any, dtype: Any) -> Any:
        return _call(math.trunc, x)


def _call(function: Any, x: Any) -> Any:
    return x.tracer.create_proxy("call_function", function, (x,), {}) if isinstance(x, Proxy) else function(x)


class SizeNodes:
    """Makes nodes that compute sizes from the shapes of tensors; equal sizes share a node.

    Args:
        graph: that the nodes are made in.
        inputs: the nodes of these tensors, in the order of the graph. New nodes follow the last of them.
    """

    def __init__(self, graph: Graph, inputs: list[Node]) -> None:
        self._graph = graph
        self._last = inputs[-1] if inputs else None
        self._known: dict[sympy.Expr, Node] = {}
        self._sources: dict[sympy.Symbol, tuple[Node, int, int]] = {}
        for node in inputs:
            value = tensor_of(node)
            for axis, size in enumerate([] if value is None else value.shape):
                found = _multiple(size)
                if found is not None:
                    symbol, times = found
                    if symbol not in self._sources or times < self._sources[symbol][2]:
                        self._sources[symbol] = (node, axis, times)

    @classmethod
    def of(cls, module: GraphModule) -> SizeNodes:
        """For a whole module, from the shapes of its inputs."""
        return cls(module.graph, [node for node in module.graph.nodes if node.op == "placeholder"])

    def knows(self, value: Any) -> bool:
        """Whether a number or symbol follows from the shapes of the inputs."""
        if not isinstance(value, SYMBOLIC):
            return True
        return bool(value.node.expr.free_symbols <= self._sources.keys())

    def make(self, value: Any) -> Any:
        """The number where it is constant, else a node that computes it."""
        if not isinstance(value, SYMBOLIC):
            return value
        expression = value.node.expr
        if expression.is_number:
            return float(expression) if isinstance(value, torch.SymFloat) else int(expression)
        known = self._known.get(expression)
        if known is None or known._erased:  # by a pass that found it unused
            known = self._known[expression] = self._compute(expression)
        return known

    def _compute(self, expression: sympy.Expr) -> Node:
        assert self._last is not None
        first, after = self._last, self._last.next
        with self._graph.inserting_before(after):
            env = {symbol: self._symbol(symbol) for symbol in sorted(expression.free_symbols, key=str)}
            result = sympy_interp(_Analysis, env, expression)
        node: Node = result.node
        while first.next is not after:
            first = first.next
            if "val" not in first.meta:
                args, kwargs = torch.fx.node.map_arg((first.args, first.kwargs), lambda source: source.meta["val"])
                first.meta["val"] = first.target(*args, **kwargs)  # type: ignore[operator]
        return node

    def _symbol(self, symbol: sympy.Symbol) -> Any:
        source, axis, times = self._sources[symbol]
        node = self._graph.call_function(torch.ops.aten.sym_size.int, (source, axis))
        node.meta["val"] = source.meta["val"].shape[axis]
        proxy: Any = Proxy(node, GraphAppendingTracer(self._graph))
        return proxy if times == 1 else proxy // times


def _multiple(size: Any) -> tuple[sympy.Symbol, int] | None:
    """(symbol, n) of a size that is n times a symbol."""
    if not isinstance(size, torch.SymInt):
        return None
    times, rest = size.node.expr.as_coeff_Mul()
    return (rest, int(times)) if isinstance(rest, sympy.Symbol) and times.is_integer and times > 0 else None
