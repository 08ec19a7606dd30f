"""What a network's own code asks of its sizes while it is captured; torch asks far more, for its own ends."""

from __future__ import annotations

import sys
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Any

import sympy
import torch
from sympy.logic.boolalg import Boolean
from torch.fx import Graph
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from niwaki.capture import overrides

_TORCH = str(Path(torch.__file__).parent) + "/"
# Python code of torch that is part of networks; the rest of it is how operators are traced.
_OF_NETWORKS = ("nn/", "functional.py", "_tensor.py")
# Between a question and who asked it.
_BETWEEN = ("fx/experimental/", "__init__.py", "utils/_sympy/", "_export/non_strict_utils.py")
_SQUEEZES = (torch.ops.aten.squeeze.default, torch.ops.aten.squeeze.dim, torch.ops.aten.squeeze.dims)


class Questions:
    """Keeps the conditions on sizes that code of the network asked for, while the context is entered.

    Attributes:
        conditions: sympy expressions that held; those of equal meaning may be there several times.
        complete: all questions were seen; else nobody knows who asked for the guards of torch.
    """

    def __init__(self) -> None:
        self.conditions: dict[Any, None] = {}
        self.complete = hasattr(ShapeEnv, "evaluate_sym_node")
        self._own: dict[CodeType, bool | None] = {}

    def __enter__(self) -> Questions:
        if self.complete:
            self._inner = inner = ShapeEnv.evaluate_sym_node

            def watched(env: Any, node: Any, *args: Any, **kwargs: Any) -> Any:
                found = inner(env, node, *args, **kwargs)
                if self._asked_by_network():
                    self._note(node.expr, found)
                return found

            ShapeEnv.evaluate_sym_node = watched  # type: ignore[method-assign, assignment]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.complete:
            ShapeEnv.evaluate_sym_node = self._inner  # type: ignore[method-assign]

    def _note(self, expression: Any, found: Any) -> None:
        if not isinstance(expression, sympy.Basic) or not expression.free_symbols:
            return
        if isinstance(expression, Boolean) and not isinstance(expression, sympy.Symbol):
            self.conditions[expression if bool(found) else sympy.Not(expression)] = None
        else:
            self.conditions[sympy.Eq(expression, sympy.sympify(found))] = None

    def _asked_by_network(self) -> bool:
        frame: FrameType | None = sys._getframe(2)
        while frame is not None:
            if frame.f_code not in self._own:
                self._own[frame.f_code] = _whose(frame.f_code)
            own = self._own[frame.f_code]
            if own is not None:
                return own
            frame = frame.f_back
        return False


def _whose(code: CodeType) -> bool | None:
    """Whether this is code of networks; None where it only passes a question on."""
    if code.co_filename == overrides.__file__:
        return code.co_name != "__torch_function__"
    if not code.co_filename.startswith(_TORCH):
        return True
    path = code.co_filename[len(_TORCH) :]
    if path.startswith(_BETWEEN):
        return None
    return path.startswith(_OF_NETWORKS)


def squeezed(graph: Graph) -> list[Any]:
    """That the dims which a graph's squeezes could take away, but did not, are not 1."""
    found: list[Any] = []
    for node in graph.nodes:
        if node.op != "call_function" or node.target not in _SQUEEZES:
            continue
        sizes = node.args[0].meta["val"].shape
        axes = range(len(sizes)) if len(node.args) < 2 else node.args[1]
        for axis in [axes] if isinstance(axes, int) else axes:
            size = sizes[axis] if sizes else 1
            if isinstance(size, torch.SymInt) and size.node.hint != 1:
                found.append(sympy.Ne(size.node.expr, 1))
    return found
