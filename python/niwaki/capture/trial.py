"""What runs show of a graph: for which sizes besides the example's it gives the module's answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from niwaki.capture.captured import CapturedInput
from niwaki.capture.evaluating import evaluating
from niwaki.capture.settings import quiet
from niwaki.capture.sizes import Expression, FreeSize, Guard, evaluate

_ROUNDING = 0.01
_SEARCHED = 64  # sizes up to here, or twice the example's, are tried to find one that a guard excludes


def answers(module: nn.Module, exported: ExportedProgram, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether the graph gives the module's answer for these inputs."""
    return bool(_compared(module, exported, args, kwargs))


def _compared(
    module: nn.Module, exported: ExportedProgram, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> bool | None:
    """As `answers`; None where the module refuses the inputs."""
    with evaluating(module), quiet():  # modules of torch.fx print where they fail
        try:
            wanted = pytree.tree_leaves(module(*args, **kwargs))
        except Exception:
            return None
        try:
            program: Any = exported.module(check_guards=False)
            found = pytree.tree_leaves(program(*args, **kwargs))
        except Exception:  # the graph is another one for them
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


@dataclass(frozen=True)
class Trial:
    """A module, its graph, and the example that it was captured with."""

    module: nn.Module
    exported: ExportedProgram
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    inputs: Sequence[CapturedInput]

    def answers(self, sizes: Mapping[str, int]) -> bool:
        """Whether the graph gives the module's answer for inputs of these sizes."""
        return bool(self.compared(sizes))

    def compared(self, sizes: Mapping[str, int]) -> bool | None:
        """As `answers`; None where the module refuses such inputs."""
        leaves, structure = pytree.tree_flatten((self.args, dict(self.kwargs)))
        position = iter(self.inputs)
        changed = [resized(x, next(position).dims, sizes) if isinstance(x, torch.Tensor) else x for x in leaves]
        args, kwargs = pytree.tree_unflatten(changed, structure)
        return _compared(self.module, self.exported, args, kwargs)

    def batch(self, sizes: Mapping[str, int], symbol: str) -> dict[str, int] | None:
        """These sizes with the first dims of all inputs as large as one of them; None where it is none, or alone."""
        firsts = {str(info.dims[0]) for info in self.inputs if info.dims} & sizes.keys()
        return {**sizes, **dict.fromkeys(firsts, sizes[symbol])} if symbol in firsts and len(firsts) > 1 else None


def widened(
    trial: Trial, sizes: dict[str, FreeSize], guards: tuple[Guard, ...]
) -> tuple[dict[str, FreeSize], tuple[Guard, ...]]:
    """Sizes and guards without what only keeps a size from being a number for which the graph is right, too.

    torch asks whether a size is 1 to know how tensors lie in memory, and a network's code may ask it, too. Which of
    the two it was, a run shows. It may be a guard or the range of a size, which then begins at 2; or at 64, where it
    is a 32nd of an image's height that torch wants to be more than 1.
    """
    for guard in guards:
        excluded = _excluded(guard, guards, sizes)
        if guard not in guards or excluded is None:
            continue
        right = trial.compared(excluded)
        for symbol in guard.symbols if right is None else ():  # a module may want as many words as pictures
            together = trial.batch(excluded, symbol)
            if together is not None and trial.answers(together):
                right, excluded = True, together
        if right:
            guards = tuple(each for each in guards if each.holds(excluded))
    for symbol in sizes:
        sizes = _lowered(trial, symbol, sizes, guards)
    return sizes, guards


def _lowered(trial: Trial, symbol: str, sizes: dict[str, FreeSize], guards: tuple[Guard, ...]) -> dict[str, FreeSize]:
    """The sizes, from half of where one begins on, and again, as long as the graph is right at both ends of that."""
    hints = {each: size.hint for each, size in sizes.items()}
    first = sizes[symbol].low
    while (low := sizes[symbol].low) > 1 or 0 < low < first:
        least = low // 2
        ends = [_with_equals(symbol, size, hints, guards) for size in dict.fromkeys((least, low - 1))]
        if any(end is None or not trial.answers(end) for end in ends):
            break
        tied = [each for each in sizes if ends[0] is not None and ends[0][each] != hints[each]]
        sizes = sizes | {each: dataclasses.replace(sizes[each], low=min(least, sizes[each].low)) for each in tied}
    return sizes


def _excluded(guard: Guard, guards: Sequence[Guard], sizes: Mapping[str, FreeSize]) -> dict[str, int] | None:
    """Sizes near those of the example that guards of this kind alone exclude, among them this one."""
    if not guard.only_unlike:
        return None
    hints = {symbol: size.hint for symbol, size in sizes.items()}
    others = [each for each in guards if not each.only_unlike]
    for symbol in guard.symbols:
        for size in range(max(1, sizes[symbol].low), min(sizes[symbol].high, max(2 * hints[symbol], _SEARCHED)) + 1):
            tried = None if guard.holds(hints | {symbol: size}) else _with_equals(symbol, size, hints, others)
            if tried is not None:
                return tried
    return None


def _with_equals(symbol: str, size: int, hints: Mapping[str, int], guards: Sequence[Guard]) -> dict[str, int] | None:
    """The example's sizes, but for one and those that guards want to be equal to it; None where others object."""
    tried = {**hints, symbol: size}
    while violated := [guard for guard in guards if not guard.holds(tried)]:
        names = {name for guard in violated if guard.only_equal for name in guard.symbols}
        more = {name for name in names if hints[name] == hints[symbol] and tried[name] != size}
        if not more:
            return None
        tried.update(dict.fromkeys(more, size))
    return tried


def resized(tensor: torch.Tensor, dims: tuple[Expression, ...], sizes: Mapping[str, int]) -> torch.Tensor:
    """A tensor of other sizes: its first elements along each axis, from the start again where there are too few."""
    for axis, dim in enumerate(dims):
        size = evaluate(dim, sizes)
        if size != tensor.shape[axis]:
            tensor = tensor.index_select(axis, torch.arange(size) % tensor.shape[axis])
    return tensor.contiguous()
