"""Calls that would tie a graph to the sizes of its example, said in operators that do not, while it is captured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from niwaki.capture import composed, recurrent
from niwaki.capture.memory import copy_that_may_be_none, without_chance
from niwaki.capture.packed import Packed
from niwaki.capture.settings import hint

_AVERAGE = {F.avg_pool1d: 1, F.avg_pool2d: 2, F.avg_pool3d: 3}
_LARGEST = {F.max_pool1d: 1, F.max_pool2d: 2, F.max_pool3d: 3}
_CONVOLUTIONS: dict[Any, tuple[str, ...]] = {
    **dict.fromkeys(
        (torch.conv1d, torch.conv2d, torch.conv3d),
        ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
    ),
    **dict.fromkeys(
        (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d),
        ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation"),
    ),
}
_NUMBERS = ("stride", "dilation", "groups")
_FIRST = ("input", "kernel_size", "stride", "padding")
_RESHAPES = (torch.reshape, torch.Tensor.reshape, torch.flatten, torch.Tensor.flatten)
_NAMES = {
    **dict.fromkeys(_AVERAGE, (*_FIRST, "ceil_mode", "count_include_pad", "divisor_override")),
    **dict.fromkeys(_LARGEST, (*_FIRST, "dilation", "ceil_mode", "return_indices")),
}


class FreeSizes(TorchFunctionMode):
    """Keeps sizes free where torch.export would not.

    A pool over whole rows or columns, whose window is the image's size there, is a mean or a maximum over them: pools
    take numbers alone. So do linspace, one_hot and take_along_dim. Recurrent layers are operators of their own
    (recurrent.py): torch.export would write them out step by step. Packed sequences become padded batches with lengths
    (packed.py).
    """

    def __init__(self) -> None:
        super().__init__()
        self._packed = Packed()

    def __torch_function__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        args, kwargs = _settled(func, args, dict(kwargs or {}))
        of_packed = self._packed.replacement(func, args, kwargs)
        if of_packed is not None:
            return of_packed(*args, **kwargs)
        if func is torch.Tensor.contiguous and not kwargs and len(args) == 1:
            # Whether the tensor lies in memory row by row already is asked of its sizes; a copy asks nothing.
            return copy_that_may_be_none(args[0])
        if func in _RESHAPES and args:
            # Whether a moved tensor has a view of the new shape depends on which of its sizes are 1. A copy has one.
            source, *others = args
            return func(copy_that_may_be_none(source), *others, **kwargs)
        if func is torch.Tensor.__getitem__:
            return without_chance(func(*_without_ends(*_counted(*args))))
        if func is torch.Tensor.__setitem__:
            x, index, value = args
            return func(*_counted(x, index), value)
        if func is torch.ops.aten.slice and len(args) == 5:  # what torch.export makes of x[a:b]
            x, axis, start, stop, step = args
            part = _part(slice(start, stop, step), x.shape[axis])
            return without_chance(func(x, axis, part.start, part.stop, step))
        axes = _AVERAGE.get(func) or _LARGEST.get(func)
        if axes:
            given = {**dict(zip(_NAMES[func], args, strict=False)), **kwargs}
            if func is F.max_pool1d and not given.get("return_indices"):
                return F.max_pool1d_with_indices(*args, **kwargs)[0]  # max_pool1d is written for the length it is given
            covered = _covered(given, axes)
            if covered:
                return _pool(func, given, axes, covered)
        if func in _OTHERS:
            other = _OTHERS[func](*args, **kwargs)
            if other is not None:
                return other
        found = recurrent.replacement(func, args)
        if found is not None:
            return found(*args)
        return func(*args, **kwargs)


def _settled(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments, with numbers for sizes that are strides, dilations or groups of a convolution.

    Groups of weights that are computed, a batch of kernels, stay as free as these.
    """
    if func in _CONVOLUTIONS:
        names = _CONVOLUTIONS[func]
        weight = dict(zip(names, args, strict=False)).get("weight", kwargs.get("weight"))
        fixed = isinstance(weight, torch.Tensor) and all(isinstance(size, int) for size in weight.shape)
        numbers = _NUMBERS if fixed else _NUMBERS[:2]
        args = tuple(
            pytree.tree_map_only(torch.SymInt, int, value) if name in numbers else value
            for name, value in zip(names, args, strict=False)
        )
        kwargs = {
            name: pytree.tree_map_only(torch.SymInt, int, value) if name in numbers else value
            for name, value in kwargs.items()
        }
    return args, kwargs


def _axes(x: torch.Tensor, given: Sequence[Any]) -> list[int] | None:
    """The axis of each part of an index; None where some part is a tensor, or anything else that takes several."""
    if any(not (each is None or each is ... or isinstance(each, (int, slice, torch.SymInt))) for each in given):
        return None
    taken = sum(each is not None and each is not ... for each in given)
    found, axis = [], 0
    for each in given:
        found.append(axis)
        axis += x.dim() - taken if each is ... else each is not None
    return found


def _counted(x: torch.Tensor, index: Any) -> tuple[torch.Tensor, Any]:
    """The same indexing, with x[-n:] for a size n counted from the front."""
    given = list(index) if isinstance(index, tuple) else [index]
    axes = _axes(x, given)
    if axes is None:
        return x, index
    for place, (each, axis) in enumerate(zip(given, axes, strict=True)):
        if isinstance(each, slice):
            given[place] = _part(each, x.shape[axis])
    return x, tuple(given)


def _part(part: slice, size: Any) -> slice:
    """A slice whose ends are sizes, counted from the front. What is asked, torch knows then, so it knows the length."""
    if not any(isinstance(end, torch.SymInt) for end in (part.start, part.stop)):
        return part
    start, stop = (None if end is None else _from_front(end, size) for end in (part.start, part.stop))
    if stop is not None and start is not None and not start <= stop:
        stop = start
    return slice(start, stop, part.step)


def _from_front(end: Any, size: Any) -> Any:
    if end < 0:
        end = end + size
    if not (end >= 0 and end <= size):
        return 0 if end < 0 else size
    number = end.node.expr if isinstance(end, torch.SymInt) else end
    return int(number) if not isinstance(number, int) and number.is_number else end


def _without_ends(x: torch.Tensor, index: Any) -> tuple[torch.Tensor, Any]:
    """The same indexing, with x[-1:] and x[:1] along a free size as what they are: one element.

    A slice may be empty where the size is 0, so torch.export would not know that it fits whatever it is added to.
    """
    given = list(index) if isinstance(index, tuple) else [index]
    axes = _axes(x, given)
    if axes is None:
        return x, index
    for place, (each, axis) in enumerate(zip(given, axes, strict=True)):
        size: Any = x.shape[axis] if axis < x.dim() else 0
        if isinstance(each, slice) and isinstance(size, torch.SymInt) and _takes_one(each) and size >= 1:
            x = x.narrow(axis, size - 1 if each.start == -1 else 0, 1)
            given[place] = slice(None)
    return x, tuple(given)


def _takes_one(part: slice) -> bool:
    """Whether it is -1: or :1."""
    ends = [end if isinstance(end, (int, type(None))) else "free" for end in (part.start, part.stop, part.step)]
    return ends in ([-1, None, None], [-1, None, 1], [None, 1, None], [0, 1, None], [None, 1, 1], [0, 1, 1])


def _covered(given: Mapping[str, Any], axes: int) -> list[int]:
    """The axes, counted from the end, along which the window is as large as the input, whose size is free."""
    x, kernel = given.get("input"), given.get("kernel_size")
    if not isinstance(x, torch.Tensor) or given.get("return_indices") or given.get("divisor_override") is not None:
        return []
    found = []
    each = (_spread(given.get(name, otherwise), axes) for name, otherwise in (("padding", 0), ("dilation", 1)))
    for axis, size, padding, dilation in zip(range(-axes, 0), _spread(kernel, axes), *each, strict=True):
        # Where it is so for this example alone, asking makes it a condition: pools over square images take one size.
        if isinstance(size, torch.SymInt) and padding == 0 and dilation == 1 and bool(size == x.shape[axis]):
            found.append(axis)
    return found


def _pool(func: Any, given: Mapping[str, Any], axes: int, covered: Sequence[int]) -> Any:
    """The pool as a reduction over the axes that it covers, and a pool over the others."""
    x = given["input"].mean(covered, keepdim=True) if func in _AVERAGE else given["input"].amax(covered, keepdim=True)
    kernel = _spread(given["kernel_size"], axes)
    if len(covered) == axes:
        return x
    stride = _spread(given.get("stride") or kernel, axes)
    for axis in covered:
        kernel[axis] = stride[axis] = 1
    rest = {name: value for name, value in given.items() if name not in ("input", "kernel_size", "stride")}
    return func(x, kernel, stride, **rest)


def _spread(value: Any, axes: int) -> list[Any]:
    values = list(value) if isinstance(value, Sequence) else [value]
    return values * axes if len(values) == 1 else values


@torch.library.custom_op("niwaki::linspace", mutates_args=(), schema="(float start, float end, SymInt steps) -> Tensor")
def linspace(start: float, end: float, steps: int) -> torch.Tensor:
    """torch.linspace of float32, as an operator whose number of steps may be a size."""
    return torch.linspace(start, end, steps)


@linspace.register_fake
def _(start, end, steps):  # type: ignore[no-untyped-def]
    return torch.empty([steps])


def _linspace(start: Any, end: Any, steps: Any = None, **options: Any) -> torch.Tensor | None:
    known = all(isinstance(value, (int, float)) for value in (start, end))
    plain = options.pop("dtype", None) in (None, torch.float32) and str(options.pop("device", None) or "cpu") == "cpu"
    if not isinstance(steps, torch.SymInt) or not known or not plain or any(options.values()):
        return None
    made: torch.Tensor = linspace(float(start), float(end), steps)
    return made


@torch.library.custom_op("niwaki::one_hot", mutates_args=(), schema="(Tensor index, SymInt classes) -> Tensor")
def one_hot(index: torch.Tensor, classes: int) -> torch.Tensor:
    """torch.nn.functional.one_hot, as an operator whose number of classes may be a size."""
    return F.one_hot(index, classes)


@one_hot.register_fake
def _(index, classes):  # type: ignore[no-untyped-def]
    return index.new_empty([*index.shape, classes], dtype=torch.int64)


def _one_hot(tensor: torch.Tensor, num_classes: Any = -1) -> torch.Tensor | None:
    if not isinstance(num_classes, torch.SymInt):
        return None
    made: torch.Tensor = one_hot(tensor, num_classes)
    return made


def _take_along_dim(input: torch.Tensor, indices: torch.Tensor, dim: int | None = None, **out: Any) -> Any:
    if dim is None or out or input.dim() != indices.dim():
        return None
    shapes = [[*x.shape] for x in (input, indices)]
    sizes = [shape.pop(dim) for shape in shapes]
    shared = list(torch.broadcast_shapes(*map(tuple, shapes)))
    axis = dim % input.dim()
    wide = [x.expand([*shared[:axis], size, *shared[axis:]]) for x, size in zip((input, indices), sizes, strict=True)]
    return wide[0].gather(dim, wide[1])


def _squeeze(input: torch.Tensor, dim: Any = None) -> torch.Tensor | None:
    """A size that is 1 in the example is left out: the graph is one for sizes of which it is 1."""
    axes = range(input.dim()) if dim is None else [dim] if isinstance(dim, int) else dim
    left = []
    for axis in axes:
        size: Any = input.shape[axis] if -input.dim() <= axis < input.dim() else 0
        if isinstance(size, torch.SymInt) and hint(size) == 1 and bool(size == 1) and not size.node.expr.is_number:
            left.append(axis % input.dim())
    # torch does not know it of an expression, as height // 8 - 1, and would leave it there.
    rest = [axis % input.dim() for axis in axes if left and axis % input.dim() not in left]
    for axis in sorted(left, reverse=True):
        input = input.select(axis, 0)
    if rest:
        return input.squeeze([axis - sum(each < axis for each in left) for axis in rest])
    return input if left else None


def _squeeze_(input: torch.Tensor, dim: Any = None) -> None:
    _squeeze(input, dim)


_OTHERS: dict[Any, Callable[..., Any]] = {
    **composed.FUNCTIONS,
    torch.linspace: _linspace,
    F.one_hot: _one_hot,
    torch.squeeze: _squeeze,
    torch.Tensor.squeeze: _squeeze,
    torch.Tensor.squeeze_: _squeeze_,
    torch.take_along_dim: _take_along_dim,
    torch.Tensor.take_along_dim: _take_along_dim,
}
