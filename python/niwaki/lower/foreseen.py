"""What certainly stays in torch, found in one run of a module: in a fraction of the time that its capture takes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import nn
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.schema_check_mode import SchemaCheckMode
from torch.fx import Graph, Node
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils import _pytree as pytree

from niwaki.capture import evaluating
from niwaki.capture.overrides import FreeSizes
from niwaki.capture.settings import quiet
from niwaki.lower.canonical import DECOMPOSITIONS
from niwaki.lower.canonical.forms import RESHAPES, SPLITS
from niwaki.lower.canonical.identities import CHECKS, IDENTITIES
from niwaki.lower.canonical.tracing import decompositions, name_of
from niwaki.lower.nodes import DTYPES
from niwaki.lower.operators.registry import OF_CHANCE, OF_VALUES, known_operators

DECIDES = "decides by values what it computes, as by `if` on a tensor"
"""The reason of code that goes another way for other values, which no graph can follow."""

_FLOATS = (torch.float64, torch.float16, torch.bfloat16)  # which nothing rewrites
_SURE = (torch.ops.aten.one_hot.default,)  # composed of what asks for values
_MARK = "_niwaki_foreseen"  # the attribute of tensors that the run makes


@dataclass(frozen=True)
class Foreseen:
    """A call that stays in torch.

    Attributes:
        layer: the path of the module that calls it; at the top, the operator.
        reason: begins with the operator, as that of `niwaki.lower.operators.registry.refusal`; or DECIDES.
    """

    layer: str
    reason: str


def foreseen(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None) -> list[Foreseen]:
    """What of a module certainly stays in torch, in the order in which it is called.

    The module answers once, as it does while torch.export captures it. Only operators that nothing makes native are
    named, and of these only those whose result depends on the inputs and goes into the module's answer. What is not
    sure is left to the capture. So is a module that fails here.

    Args:
        module: on the CPU. What the run changes of its parameters and buffers is taken back.
        args, kwargs: an example input.
    """
    calls = _Calls({id(part): name for name, part in module.named_modules()})
    given = pytree.tree_map(calls.taken, (args, dict(kwargs or {})))
    try:
        # Random numbers that it draws are not taken from those of the caller.
        with (
            torch.random.fork_rng(devices=[]), evaluating(module), quiet(),
            calls.as_captured(), FreeSizes(), enable_python_dispatcher(), calls,
        ):  # fmt: skip
            answer = module(*given[0], **given[1])
    except _DecidesError as error:
        return [error.foreseen]
    except Exception:  # the capture will say it
        return []
    finally:
        calls.restore()
    return list(dict.fromkeys(each for leaf in pytree.tree_leaves(answer) for each in _mark(leaf) or ()))


class _DecidesError(Exception):
    """Ends the run of a module that asks for a value."""

    def __init__(self, foreseen: Foreseen) -> None:
        super().__init__()
        self.foreseen = foreseen


def _mark(value: Any) -> tuple[Foreseen, ...] | None:
    """What stays in torch of that which made a tensor; None where it does not depend on the inputs."""
    return getattr(value, _MARK, None) if isinstance(value, torch.Tensor) else None


class _Calls(SchemaCheckMode):
    """Sees the operators that a module calls before torch takes them apart: it lets modes of its own alone do that.

    Args:
        names: of modules, by their id.
    """

    def __init__(self, names: Mapping[int, str]) -> None:
        super().__init__()
        self.__dict__["_dispatch_key"] = torch._C.DispatchKey.PreDispatch
        self._names = names
        self._stack: list[str] = []
        self._outer = ""
        self._changed: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._never = _NeverNative()

    def taken(self, value: Any) -> Any:
        """An input as the module gets it: a tensor of its own."""
        if not isinstance(value, torch.Tensor):
            return value
        own = value.detach().clone()
        setattr(own, _MARK, ())
        return own

    @contextlib.contextmanager
    def as_captured(self) -> Iterator[None]:
        """Knows which module calls. Code that asks whether torch exports it is told so, as it will be."""

        def enter(part: nn.Module, _: Any) -> None:
            self._stack.append(self._names.get(id(part), ""))

        def leave(*_: Any) -> None:
            self._stack.pop()

        with contextlib.ExitStack() as stack:
            stack.callback(register_module_forward_pre_hook(enter).remove)
            stack.callback(register_module_forward_hook(leave).remove)
            stack.enter_context(mock.patch.object(torch.compiler, "_is_compiling_flag", True))
            stack.enter_context(mock.patch.object(torch.compiler, "_is_exporting_flag", True))
            yield

    def restore(self) -> None:
        """Parameters and buffers are as before."""
        with torch.no_grad():
            for tensor, before in reversed(self._changed):
                tensor.copy_(before)
                tensor.__dict__.pop(_MARK, None)

    def __torch_dispatch__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        tensors = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        marks = [mark for mark in map(_mark, tensors) if mark is not None]
        if func is torch.ops.aten.is_nonzero.default and marks:
            raise _DecidesError(Foreseen(self._layer() or "forward", DECIDES))
        if func._schema.is_mutable:
            self._changed += [(each, each.clone()) for each in tensors if not hasattr(each, _MARK)]
        draws = _draws(func, args, kwargs)
        if not marks and not draws:
            return func(*args, **kwargs)
        if not draws and self._never.is_composed(func) and not any(each.is_complex() for each in tensors):
            return self._pieces(func, args, kwargs)
        made = func(*args, **kwargs)
        mark = tuple(dict.fromkeys(each for mark in marks for each in mark))
        results = [leaf for leaf in pytree.tree_leaves(made) if isinstance(leaf, torch.Tensor)]
        for result in results:
            setattr(result, _MARK, mark)
        why = OF_CHANCE if draws else self._never(func, args, [*tensors, *results])
        if not why and not draws:
            why = self._never.refused(func, args, kwargs, made)
            if why and _is_implicit(func) and func not in _SURE:  # what it is composed of may be native
                return self._pieces(func, args, kwargs)
        for result in results if why else ():
            setattr(result, _MARK, (*mark, self._foreseen(func, why)))
        return made

    def _pieces(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """The result of an operator, by those that torch composes it of; they are seen in its name."""
        outer, self._outer = self._outer, self._outer or name_of(func)
        try:
            with self:
                return func.decompose(*args, **kwargs)
        finally:
            self._outer = outer

    def _foreseen(self, func: Any, why: str) -> Foreseen:
        name = self._outer or name_of(func)
        return Foreseen(self._layer() or name.split("::")[-1], f"{name} {why}")

    def _layer(self) -> str:
        return self._stack[-1] if self._stack else ""


class _NeverNative:
    """Whether nothing makes an operator native: no handler, no rewriting, nothing that it is composed of."""

    def __init__(self) -> None:
        self._known = {*known_operators(), *RESHAPES, *SPLITS, *IDENTITIES, "aten::unbind", "aten::as_strided"}
        self._handled = known_operators()
        for name in (*RESHAPES, *SPLITS, *IDENTITIES):
            self._handled.pop(name, None)
        self._composed: dict[Any, Callable[..., Any]] = {}
        self._found: dict[Any, bool] = {}

    def __call__(self, func: Any, args: tuple[Any, ...], tensors: Iterable[torch.Tensor]) -> str:
        """Why a call stays in torch; empty where that is not sure."""
        if torch.Tag.dynamic_output_shape in func.tags and _chooses(func, args):
            return OF_VALUES
        if func not in self._found:
            self._found[func] = self._is_unknown(func)
        if self._found[func] and all(each.dtype in DTYPES for each in tensors):
            return "is not native"
        # Other types that niwaki does not have, as complex numbers, are the business of rewriting.
        other = next((each.dtype for each in tensors if each.dtype in _FLOATS and _mark(each) is not None), None)
        return "" if other is None else f"works on {str(other).removeprefix('torch.')}"

    def refused(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], made: Any) -> str:
        """Why the handler of an operator refuses this call, and no rewriting knows it; else empty."""
        handler = self._handled.get(name_of(func))
        if handler is None or func._schema.is_mutable or func in DECOMPOSITIONS:
            return ""
        self._composed = self._composed or {**decompositions(), **DECOMPOSITIONS}
        values = pytree.tree_leaves((args, dict(kwargs), made))
        if func in self._composed or any(isinstance(x, torch.Tensor) and x.dtype not in DTYPES for x in values):
            return ""
        try:
            return handler.refusal(_node(func, args, kwargs, made))
        except Exception:  # it asks what only a graph says
            return ""

    def is_composed(self, func: Any) -> bool:
        """Whether torch composes an operator of others, and nothing else makes it native."""
        if func in DECOMPOSITIONS or (name_of(func) in self._known and func is not torch.ops.aten.where.default):
            return False
        return _is_implicit(func)

    def _is_unknown(self, func: Any) -> bool:
        name = name_of(func)
        if name in self._known or name.startswith(CHECKS) or func.namespace != "aten" or func._schema.is_mutable:
            return False
        self._composed = self._composed or {**decompositions(), **DECOMPOSITIONS}
        return func not in self._composed


def _is_implicit(func: Any) -> bool:
    """Whether torch composes an operator of others wherever it runs."""
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"))


def _node(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], made: Any) -> Node:
    """The call as a node of a graph. What does not depend on the inputs is a constant."""
    graph = Graph()

    def source(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        name = f"value_{len(graph.nodes)}"
        node = graph.create_node("get_attr" if _mark(value) is None else "placeholder", name)
        node.meta["val"] = value
        return node

    node = graph.call_function(func, pytree.tree_map(source, args), pytree.tree_map(source, dict(kwargs)))
    node.meta["val"] = made
    return node


def _draws(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether this call draws random numbers: dropout and the like do not where they are off."""
    if torch.Tag.nondeterministic_seeded not in func.tags:
        return False
    given = {each.name: each.default_value for each in func._schema.arguments if each.has_default_value()}
    given |= {each.name: value for each, value in zip(func._schema.arguments, args, strict=False)} | dict(kwargs)
    switches = [given[name] for name in ("p", "dropout", "dropout_p", "train", "training") if name in given]
    on = "train" in given or "training" in given or "dropout_p" in given
    return all(switches) if on else True


def _chooses(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether this call of an operator that may, takes some elements by their values."""
    if name_of(func) == "aten::index":
        return any(each is not None and each.dtype == torch.bool for each in args[1])
    return name_of(func) not in known_operators()
