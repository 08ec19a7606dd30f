"""The call of torch.export, with every size free that the network leaves free."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sympy
import torch
from torch import nn
from torch.export import Dim, ExportedProgram
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode, ShapeEnv
from torch.utils import _pytree as pytree

from niwaki.capture import transforms
from niwaki.capture.captured import Captured, CapturedInput
from niwaki.capture.evaluating import evaluating
from niwaki.capture.fingerprint import fingerprint
from niwaki.capture.keywords import as_parameters, keywords_of
from niwaki.capture.memory import settle_copies
from niwaki.capture.overrides import FreeSizes
from niwaki.capture.packed import free_batches, rows_are_read
from niwaki.capture.pinned import make_numbers, pinned
from niwaki.capture.questions import Questions, squeezed
from niwaki.capture.results import unknown
from niwaki.capture.settings import quiet, settings
from niwaki.capture.sizes import (
    FreeSize,
    Guard,
    expression_of,
    guards_from,
    guards_of,
    name_sizes,
    narrowed,
)
from niwaki.capture.trial import Trial, answers, resized, widened
from niwaki.errors import NiwakiError, first_sentence


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
        TypeError: args is not a tuple, or an input is of a floating-point type other than float32.
    """
    if not isinstance(args, tuple):
        raise TypeError(f"The example inputs must be a tuple such as (x,), not {type(args).__name__}.")
    args, kwargs = _apart((args, dict(kwargs or {})))
    named, variadic = _bind(module, args, kwargs)
    _check_types(named)
    kwargs = {name: named[name] for name in named if name in (kwargs or {})} | {
        name: value for name, value in (kwargs or {}).items() if name not in named
    }
    traced = _of_two_images(module, args, kwargs) if free else None
    traced = traced or _export(module, args, kwargs, named if free else None)
    if free and not traced.whole:
        traced = _of_twos(module, args, kwargs) or traced
    inputs, sizes, guards = _conditions(traced)
    ones = {symbol for symbol, size in sizes.items() if size.hint == 1 and not _allows_two(symbol, sizes, guards)}
    if free and ones:
        traced = _of_two(module, args, kwargs, inputs, sizes, ones) or traced
    exported = traced.exported
    inputs, sizes, guards = _tried(traced, module, args, kwargs, free=free)
    env = _inputs(exported)[1]
    numbers = pinned(sizes, guards)
    if env is not None and numbers and make_numbers(numbers, env):
        inputs, sizes, guards = _tried(traced, module, args, kwargs, free=free)
    parameters = tuple(name for name, kind in _positional(module) if kind is not inspect.Parameter.VAR_POSITIONAL)
    return Captured(
        exported, inputs, sizes, guards, parameters, named, variadic, keywords_of(module), fingerprint(exported)
    )


def _apart(inputs: Any) -> Any:
    """Inputs in which no tensor occurs twice: torch.export takes one tensor for one input, wherever it is given."""
    seen: set[int] = set()

    def apart(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) in seen:
            return tensor.clone()
        seen.add(id(tensor))
        return tensor

    return pytree.tree_map_only(torch.Tensor, apart, inputs)


@dataclasses.dataclass(frozen=True)
class _Traced:
    """What torch.export gave.

    Attributes:
        exported: the graph.
        own: what the module's code asked of sizes.
        whole: torch.export could follow all sizes that were to be free.
        copied: conditions on sizes under which tensors are copied as in the graph.
    """

    exported: ExportedProgram
    own: Questions
    whole: bool
    copied: tuple[Any, ...] = ()


def _conditions(
    traced: _Traced,
) -> tuple[tuple[CapturedInput, ...], dict[str, FreeSize], tuple[Guard, ...]]:
    inputs, env = _inputs(traced.exported)
    sizes = name_sizes([(info.name, info.dims) for info in inputs], traced.exported.range_constraints, env)
    if env is None:
        return inputs, sizes, ()
    own = traced.own
    return inputs, *narrowed(sizes, guards_of(env, sizes, own.conditions if own.complete else None))


def _tried(
    traced: _Traced, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, free: bool
) -> tuple[tuple[CapturedInput, ...], dict[str, FreeSize], tuple[Guard, ...]]:
    """The conditions, without those that runs show to be none, and with those of the graph's squeezes."""
    inputs, sizes, guards = _conditions(traced)
    if free:
        sizes, guards = widened(Trial(module, traced.exported, args, kwargs, inputs), sizes, guards)
    env = _inputs(traced.exported)[1]
    if env is not None:
        guards += guards_from([*squeezed(traced.exported.graph), *traced.copied], env, sizes)
    return inputs, sizes, guards


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


def _check_types(named: Mapping[str, Any]) -> None:
    for name, value in named.items():
        for leaf in pytree.tree_leaves(value):
            if isinstance(leaf, torch.Tensor) and leaf.dtype.is_floating_point and leaf.dtype != torch.float32:
                kind = str(leaf.dtype).removeprefix("torch.")
                raise TypeError(f"Input '{name}' is {kind}; niwaki computes in float32, so pass it as .float().")


def _all_free(value: Any) -> Any:
    return dict.fromkeys(range(value.dim()), Dim.AUTO) if isinstance(value, torch.Tensor) else None


def _free_but_ones(value: Any) -> Any:
    """All but sizes of 1 behind the first: those of a mask [N, 1, T, T] are there to be broadcast."""
    if not isinstance(value, torch.Tensor):
        return None
    return {axis: Dim.AUTO for axis, size in enumerate(value.shape) if axis == 0 or size != 1}


def _first_free(value: Any) -> Any:
    return {0: Dim.AUTO} if isinstance(value, torch.Tensor) and value.dim() > 0 else None


def _export(
    module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], named: Mapping[str, Any] | None
) -> _Traced:
    """Calls torch.export.

    `named`: the arguments whose sizes are free; None where none is. Where torch.export cannot follow all of them, all
    but those of 1 are free, which may broadcast, then first dims alone, then none: a size that is not free is a number
    among the inputs' dims, and others are refused. Where not even that is followed, first sizes of 1 are numbers, too.
    """
    first: Exception | None = None
    with as_parameters(module, named or {}) as arguments:
        frees = (_all_free, _free_but_ones, _first_free)
        levels = [] if named is None else [pytree.tree_map(free, arguments) for free in frees]
        levels = [shapes for number, shapes in enumerate(levels) if shapes not in levels[:number]]
        tries = [*((shapes, True) for shapes in (*levels, None)), *((shapes, False) for shapes in levels)]
        for shapes, any_size in tries:
            try:
                with (
                    evaluating(module), quiet(), settings(any_size), free_batches(), Questions() as own, FreeSizes(),
                ):  # fmt: skip
                    exported = torch.export.export(module, args, dict(kwargs), dynamic_shapes=shapes, strict=False)
            except Exception as error:
                first = first or error
                if unknown(error):
                    raise NiwakiError(
                        f"{type(module).__name__} cannot be captured as a graph. {unknown(error)}"
                    ) from error
                if isinstance(error, GuardOnDataDependentSymNode):
                    break  # it is values that it depends on
                continue
            if rows_are_read(exported.graph):
                raise NiwakiError(f"{type(module).__name__} cannot be captured as a graph. {_PACKED}")
            if transforms.is_transformed(exported):
                raise NiwakiError(f"{type(module).__name__} cannot be captured as a graph. {transforms.WORDS}")
            return _Traced(exported, own, whole=first is None, copied=tuple(settle_copies(exported)))
    assert first is not None
    raise NiwakiError(
        f"torch.export cannot capture {type(module).__name__} as a graph: {first_sentence(first)}. "
        + (
            _PACKED
            if _packs(first)
            else "Control flow that depends on values and inputs that are not tensors are the usual reasons."
        )
    ) from first


_PACKED = (
    "It does more with a packed sequence (pack_padded_sequence) than a graph can follow: recurrent and linear layers, "
    "embeddings, activations, layer norms, sums and products of its rows and pad_packed_sequence may read it; pad it "
    "before anything else does."
)

# Files whose functions with "pack" in their names take lengths.
_PACKING = ("torch/nn/utils/rnn.py", "niwaki/nn/recurrent.py")


def _packs(error: BaseException | None) -> bool:
    """Whether it was packing sequences that failed."""
    while error is not None:
        frame = error.__traceback__
        while frame is not None:
            code = frame.tb_frame.f_code
            if "pack" in code.co_name and code.co_filename.replace("\\", "/").endswith(_PACKING):
                return True
            frame = frame.tb_next
        error = error.__cause__ or error.__context__
    return False


def _inputs(exported: ExportedProgram) -> tuple[tuple[CapturedInput, ...], ShapeEnv | None]:
    names = set(exported.graph_signature.user_inputs)
    found: list[CapturedInput] = []
    env: ShapeEnv | None = None
    for node in exported.graph.nodes:
        value = node.meta.get("val")
        if node.op != "placeholder" or node.name not in names or not isinstance(value, torch.Tensor):
            continue
        shape: Sequence[Any] = value.shape
        env = next((size.node.shape_env for size in shape if isinstance(size, torch.SymInt)), env)
        found.append(CapturedInput(str(node.target), value.dtype, tuple(map(expression_of, value.shape))))
    return tuple(found), env


def _allows_two(symbol: str, sizes: Mapping[str, FreeSize], guards: Sequence[Guard]) -> bool:
    hints = {name: size.hint for name, size in sizes.items()} | {symbol: 2}
    return sizes[symbol].high > 2 and all(guard.holds(hints) for guard in guards)


def _of_two_images(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> _Traced | None:
    """A capture for two of an example of one, which most networks' code takes for what it is."""
    tensors = [leaf for leaf in pytree.tree_leaves((args, dict(kwargs))) if isinstance(leaf, torch.Tensor)]
    if not tensors or any(tensor.dim() < 2 or len(tensor) != 1 for tensor in tensors):
        return None
    return _wider(module, args, kwargs, lambda tensor: torch.cat([tensor, tensor]))


def _of_twos(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> _Traced | None:
    """A capture for an example in which all sizes of 1 are 2; None where that does not leave all sizes free.

    Code such as `causal = length > 1 and ...` gives operators the question itself where the length is 1.
    """

    def two(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.repeat([2 if size == 1 else 1 for size in tensor.shape])

    if all(1 not in leaf.shape for leaf in pytree.tree_leaves((args, dict(kwargs))) if isinstance(leaf, torch.Tensor)):
        return None
    traced = _wider(module, args, kwargs, two)
    return traced if traced is not None and traced.whole else None


def _of_two(
    module: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    inputs: Sequence[CapturedInput],
    sizes: Mapping[str, FreeSize],
    ones: set[str],
) -> _Traced | None:
    """A capture for examples in which sizes of 1 that tie the graph to 1 are 2."""
    position = iter(inputs)
    twos = {symbol: 2 if symbol in ones else size.hint for symbol, size in sizes.items()}
    return _wider(module, args, kwargs, lambda tensor: resized(tensor, next(position).dims, twos))


def _wider(
    module: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    widen: Callable[[torch.Tensor], torch.Tensor],
) -> _Traced | None:
    """A capture for a wider example; None where that is another network."""
    wide = pytree.tree_map(lambda leaf: widen(leaf) if isinstance(leaf, torch.Tensor) else leaf, (args, dict(kwargs)))
    many, by_name = wide
    try:
        named, _ = _bind(module, many, by_name)
        traced = _export(module, many, by_name, named)
    except (NiwakiError, TypeError):
        return None
    if _excludes(traced, args, kwargs):
        return None
    return traced if answers(module, traced.exported, args, kwargs) else None


def _excludes(traced: _Traced, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether some size of an example is 1 where the graph's squeezes leave dims that are not."""
    tensors = [leaf for leaf in pytree.tree_leaves((args, dict(kwargs))) if isinstance(leaf, torch.Tensor)]
    inputs, _ = _inputs(traced.exported)
    known = {
        dim: size
        for tensor, info in zip(tensors, inputs, strict=False)
        for dim, size in zip(info.dims, tensor.shape, strict=True)
        if not isinstance(dim, int) and dim.is_Symbol
    }
    asked = (*squeezed(traced.exported.graph), *traced.copied)
    return any(condition.xreplace(known) in (sympy.false, False) for condition in asked)
