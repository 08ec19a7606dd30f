"""The call of torch.export, with every size free that the network leaves free."""

from __future__ import annotations

import contextlib
import inspect
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.export import Dim, ExportedProgram
from torch.fx.experimental import _config as symbolic_config
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode, ShapeEnv
from torch.utils import _pytree as pytree

from niwaki.capture.captured import Captured, CapturedInput
from niwaki.capture.evaluating import evaluating
from niwaki.capture.fingerprint import fingerprint
from niwaki.capture.overrides import FreeSizes
from niwaki.capture.sizes import Expression, FreeSize, Guard, expression_of, guards_of, name_sizes
from niwaki.errors import NiwakiError, first_sentence


_ROUNDING = 0.01


def capture(
    module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None, *, free: bool = True
) -> Captured:
    """Captures the module in eval mode.

    Names of nodes follow from the module alone: captured again, from other inputs, equal values have equal names. The
    ranges of a compressed network rely on it, and `Captured.fingerprint` tells whether it is so.

    Args:
        module: any module on the CPU. It is not changed.
        args: positional inputs.
        kwargs: inputs by name.
        free: sizes are free where the network allows it; else all are those of these inputs.

    Raises:
        NiwakiError: torch.export cannot capture the module.
        TypeError: args is not a tuple, or module is one that torch has compiled already.
    """
    if not isinstance(args, tuple):
        raise TypeError(f"The example inputs must be a tuple such as (x,), not {type(args).__name__}.")
    named, variadic = _bind(module, args, kwargs or {})
    kwargs = {name: named[name] for name in named if name in (kwargs or {})} | {
        name: value for name, value in (kwargs or {}).items() if name not in named
    }
    exported = _export(module, args, kwargs, named if free else None)
    inputs, sizes, guards = _conditions(exported)
    pinned = [symbol for symbol, size in sizes.items() if size.hint == 1 and not _allows_two(symbol, sizes, guards)]
    if free and pinned:
        wider = _of_two(module, args, kwargs, inputs, set(pinned))
        if wider is not None:
            exported = wider
            inputs, sizes, guards = _conditions(exported)
    if free:
        guards = _without_ones(module, args, kwargs, inputs, sizes, guards, exported)
    parameters = tuple(name for name, kind in _positional(module) if kind is not inspect.Parameter.VAR_POSITIONAL)
    return Captured(
        exported, inputs, sizes, guards, parameters, named, variadic, _keywords(module), fingerprint(exported)
    )


def _conditions(
    exported: ExportedProgram,
) -> tuple[tuple[CapturedInput, ...], dict[str, FreeSize], tuple[Guard, ...]]:
    inputs, env = _inputs(exported)
    sizes = name_sizes([(info.name, info.dims) for info in inputs], exported.range_constraints, env)
    return inputs, sizes, guards_of(env, sizes) if env is not None else ()


def shapes_of(args: Any, kwargs: Any = None) -> tuple[Any, ...]:
    """Structure, shapes and dtypes of inputs. Hashable."""
    leaves, structure = pytree.tree_flatten((tuple(args), dict(kwargs or {})))
    keys = [(tuple(x.shape), str(x.dtype)) if isinstance(x, torch.Tensor) else repr(x) for x in leaves]
    return (str(structure), *keys)


def _positional(module: nn.Module) -> list[tuple[str, Any]]:
    kinds = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
    )
    signature = inspect.signature(module.forward)
    return [(name, parameter.kind) for name, parameter in signature.parameters.items() if parameter.kind in kinds]


def _keywords(module: nn.Module) -> str:
    """The name of **kwargs, if it has any."""
    parameters = inspect.signature(module.forward).parameters.values()
    return next((each.name for each in parameters if each.kind is inspect.Parameter.VAR_KEYWORD), "")


def _bind(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The arguments by the names of forward's parameters, in their order; and the name of *args, if it has any."""
    try:
        bound = inspect.signature(module.forward).bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(
            f"{type(module).__name__} cannot be called with these inputs: {first_sentence(error)}."
        ) from None
    variadic = next((name for name, kind in _positional(module) if kind is inspect.Parameter.VAR_POSITIONAL), "")
    return dict(bound.arguments), variadic


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """torch.export warns of its own plans and logs what failed; the error that follows says it."""
    logger = logging.getLogger("torch")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            logger.setLevel(level)


def _all_free(value: Any) -> Any:
    return dict.fromkeys(range(value.dim()), Dim.AUTO) if isinstance(value, torch.Tensor) else None


def _first_free(value: Any) -> Any:
    return {0: Dim.AUTO} if isinstance(value, torch.Tensor) and value.dim() > 0 else None


def _export(
    module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], named: Mapping[str, Any] | None
) -> ExportedProgram:
    """`named`: the arguments whose sizes are free; None where none is.

    Where torch.export cannot follow all of them, first dims alone are free, then none: a size that is not free is a
    number among the inputs' dims, and others are refused.
    """
    levels = [] if named is None else [pytree.tree_map(free, dict(named)) for free in (_all_free, _first_free)]
    first: Exception | None = None
    # A size of 1 is a size like any other: an example of one image does not tie the network to one image.
    oblivious = symbolic_config.patch(backed_size_oblivious=True)
    for shapes in (*levels, None):
        try:
            with evaluating(module), _quiet(), oblivious, FreeSizes():
                return torch.export.export(module, args, dict(kwargs), dynamic_shapes=shapes, strict=False)
        except Exception as error:
            first = first or error
            if isinstance(error, GuardOnDataDependentSymNode):
                break  # it is values that it depends on
    assert first is not None
    raise NiwakiError(
        f"torch.export cannot capture {type(module).__name__} as a graph: {first_sentence(first)}. "
        "Control flow that depends on values and inputs that are not tensors are the usual reasons."
    ) from first


def _inputs(exported: ExportedProgram) -> tuple[tuple[CapturedInput, ...], ShapeEnv | None]:
    names = set(exported.graph_signature.user_inputs)
    found: list[CapturedInput] = []
    env: ShapeEnv | None = None
    for node in exported.graph.nodes:
        value = node.meta.get("val")
        if node.op != "placeholder" or node.name not in names or not isinstance(value, torch.Tensor):
            continue
        env = next((size.node.shape_env for size in value.shape if isinstance(size, torch.SymInt)), env)
        found.append(CapturedInput(str(node.target), value.dtype, tuple(map(expression_of, value.shape))))
    return tuple(found), env


def _allows_two(symbol: str, sizes: Mapping[str, FreeSize], guards: Sequence[Guard]) -> bool:
    hints = {name: size.hint for name, size in sizes.items()} | {symbol: 2}
    return sizes[symbol].high > 2 and all(guard.holds(hints) for guard in guards)


def _of_two(
    module: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    inputs: Sequence[CapturedInput],
    pinned: set[str],
) -> ExportedProgram | None:
    """A capture for examples in which sizes of 1 that tie the graph to 1 are 2; None where that is another network."""
    leaves, structure = pytree.tree_flatten((args, dict(kwargs)))
    position = iter(inputs)
    wide = [
        _resized(leaf, next(position).dims, pinned, 2) if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves
    ]
    try:
        many, by_name = pytree.tree_unflatten(wide, structure)
        named, _ = _bind(module, many, by_name)
        exported = _export(module, many, by_name, named)
    except (NiwakiError, TypeError):
        return None
    return exported if _answers(module, exported, args, kwargs) else None


def _answers(module: nn.Module, exported: ExportedProgram, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether the graph gives the module's answer for these inputs."""
    try:
        with evaluating(module):
            wanted = pytree.tree_leaves(module(*args, **kwargs))
            program: Any = exported.module(check_guards=False)
            found = pytree.tree_leaves(program(*args, **kwargs))
    except Exception:  # the module refuses such inputs, or the graph is another one for them
        return False
    return len(wanted) == len(found) and all(map(_alike, wanted, found))


def _alike(wanted: Any, found: Any) -> bool:
    """Whether they are the same but for rounding, also that of layers in int8."""
    if not isinstance(wanted, torch.Tensor):
        return bool(wanted == found)
    if not isinstance(found, torch.Tensor) or wanted.shape != found.shape or wanted.dtype != found.dtype:
        return False
    if not wanted.is_floating_point():
        return torch.equal(wanted, found)
    same = (wanted == found) | (wanted.isnan() & found.isnan())  # infinities, too
    change = (wanted.double() - found.double()).masked_fill(same, 0).norm()
    return bool(change <= _ROUNDING * wanted.double().nan_to_num(0, 0, 0).norm() + 1e-6)


def _without_ones(
    module: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    inputs: Sequence[CapturedInput],
    sizes: Mapping[str, FreeSize],
    guards: tuple[Guard, ...],
    exported: ExportedProgram,
) -> tuple[Guard, ...]:
    """Without the guards that only keep a size from being 1, where the graph gives the module's answer for 1, too.

    torch asks whether a size is 1 to know how tensors lie in memory, and a network's code may ask it, too. Which of
    the two it was, a run shows.
    """
    hints = {symbol: size.hint for symbol, size in sizes.items()}
    leaves, structure = pytree.tree_flatten((args, dict(kwargs)))
    for symbol in sizes:
        ones = [guard for guard in guards if guard.holds(hints) and not guard.holds(hints | {symbol: 1})]
        if not ones or any(each.relation != "!=" for guard in ones for case in guard.cases for each in case):
            continue
        position = iter(inputs)
        small = [
            _resized(leaf, next(position).dims, {symbol}, 1) if isinstance(leaf, torch.Tensor) else leaf
            for leaf in leaves
        ]
        few, by_name = pytree.tree_unflatten(small, structure)
        if _answers(module, exported, few, by_name):
            guards = tuple(guard for guard in guards if guard not in ones)
    return guards


def _resized(tensor: torch.Tensor, dims: tuple[Expression, ...], symbols: set[str], size: int) -> torch.Tensor:
    """The first elements along the dims that have these symbols, repeated where there are fewer than `size`."""
    for axis, dim in enumerate(dims):
        if not isinstance(dim, int) and dim.is_Symbol and str(dim) in symbols:
            tensor = torch.cat([tensor.narrow(axis, 0, 1)] * size, axis)
    return tensor.contiguous()
