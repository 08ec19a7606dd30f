"""Calls that would tie a graph to the sizes of its example, said in operators that do not, while it is captured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from niwaki.capture import recurrent

_AVERAGE = {F.avg_pool1d: 1, F.avg_pool2d: 2, F.avg_pool3d: 3}
_LARGEST = {F.max_pool1d: 1, F.max_pool2d: 2, F.max_pool3d: 3}
_NAMES = {
    **dict.fromkeys(_AVERAGE, ("input", "kernel_size", "stride", "padding")),
    **dict.fromkeys(_LARGEST, ("input", "kernel_size", "stride", "padding", "dilation")),
}


class FreeSizes(TorchFunctionMode):
    """Keeps sizes free where torch.export would not.

    A pool over the whole image, whose window is the image's size, is a mean or a maximum over its rows and columns:
    pools take numbers alone. Recurrent layers are operators of their own (recurrent.py): torch.export would write them
    out step by step.
    """

    def __torch_function__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.contiguous and not kwargs and len(args) == 1:
            # Whether the tensor lies in memory row by row already is asked of its sizes; a copy asks nothing.
            return args[0].clone(memory_format=torch.contiguous_format)
        if func is torch.Tensor.__getitem__:
            return func(*_without_ends(*args))
        axes = _AVERAGE.get(func) or _LARGEST.get(func)
        if axes:
            given = {**dict(zip(_NAMES[func], args, strict=False)), **kwargs}
            if func is F.max_pool1d and not given.get("return_indices"):
                return F.max_pool1d_with_indices(*args, **kwargs)[0]  # max_pool1d is written for the length it is given
            if _covers(given, axes):
                dims = list(range(-axes, 0))
                x = given["input"]
                return x.mean(dims, keepdim=True) if func in _AVERAGE else x.amax(dims, keepdim=True)
        found = recurrent.replacement(func, args)
        if found is not None:
            return found(*args)
        return func(*args, **kwargs)


def _without_ends(x: torch.Tensor, index: Any) -> tuple[torch.Tensor, Any]:
    """The same indexing, with x[-1:] and x[:1] along a free size as what they are: one element.

    A slice may be empty where the size is 0, so torch.export would not know that it fits whatever it is added to.
    """
    given = list(index) if isinstance(index, tuple) else [index]
    if any(not (each is None or each is ... or isinstance(each, (int, slice, torch.SymInt))) for each in given):
        return x, index
    rank = x.dim()
    taken = sum(each is not None and each is not ... for each in given)
    axis = 0
    for place, each in enumerate(given):
        if each is ...:
            axis += rank - taken
        elif each is not None:
            size: Any = x.shape[axis] if axis < rank else 0
            if isinstance(each, slice) and isinstance(size, torch.SymInt) and _takes_one(each) and size >= 1:
                x = x.narrow(axis, size - 1 if each.start == -1 else 0, 1)
                given[place] = slice(None)
            axis += 1
    return x, tuple(given)


def _takes_one(part: slice) -> bool:
    """Whether it is -1: or :1."""
    ends = [end if isinstance(end, (int, type(None))) else "free" for end in (part.start, part.stop, part.step)]
    return ends in ([-1, None, None], [-1, None, 1], [None, 1, None], [0, 1, None], [None, 1, 1], [0, 1, 1])


def _covers(given: Mapping[str, Any], axes: int) -> bool:
    """Whether the window is as large as the input, with sizes that are free."""
    x, kernel = given.get("input"), given.get("kernel_size")
    if not isinstance(x, torch.Tensor) or given.get("return_indices") or given.get("divisor_override") is not None:
        return False
    windows = list(kernel) if isinstance(kernel, Sequence) else [kernel] * axes
    if not any(isinstance(size, torch.SymInt) for size in windows):
        return False
    padding = given.get("padding", 0)
    if any(padding if isinstance(padding, Sequence) else [padding]):
        return False
    if any(step != 1 for step in _numbers(given.get("dilation", 1))):
        return False
    # Where it is so for this example alone, asking makes it a condition: pools over square images take one size.
    return all(bool(size == whole) for size, whole in zip(windows, x.shape[-axes:], strict=True))


def _numbers(value: Any) -> list[Any]:
    return list(value) if isinstance(value, Sequence) else [value]
