"""Inputs, sizes and shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


def checked(x: torch.Tensor, name: str, dtype: torch.dtype, dims: Sequence[int | None]) -> torch.Tensor:
    """The input itself. Raises TypeError or ValueError where it is not of the type and the sizes that the file says.

    Args:
        x: what the caller gave.
        name: of the input.
        dtype: what it has to be.
        dims: its sizes; None for those that are free.
    """
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"Input '{name}' must be a tensor, not {type(x).__name__}.")
    if x.dtype != dtype:
        wanted, found = (str(each).removeprefix("torch.") for each in (dtype, x.dtype))
        raise TypeError(f"Input '{name}' must be {wanted}, not {found}; convert it with .to(torch.{wanted}).")
    fits = x.dim() == len(dims) and all(want is None or size == want for size, want in zip(x.shape, dims, strict=True))
    if not fits:
        wanted = ", ".join("any" if size is None else str(size) for size in dims)
        found = ", ".join(str(size) for size in x.shape)
        raise ValueError(
            f"Input '{name}' must have the shape [{wanted}], not [{found}]: the ONNX file allows no other."
        )
    return x


def tensor_of(sizes: Any, dtype: torch.dtype) -> torch.Tensor:
    """A tensor of nested lists of sizes."""
    if not isinstance(sizes, (list, tuple)):
        return torch.scalar_tensor(sizes, dtype=dtype)
    if not sizes:
        return torch.empty(0, dtype=dtype)
    return torch.stack([tensor_of(each, dtype) for each in sizes])


def numbers_of(x: torch.Tensor) -> list[Any]:
    """The elements of a tensor as numbers of Python: sizes that depend on values."""
    return x.reshape(-1).tolist()


def item(numbers: Sequence[Any], index: int) -> Any:
    """One of them."""
    return numbers[index]


def product(sizes: Sequence[Any]) -> Any:
    """The product of sizes."""
    total = 1
    for size in sizes:
        total = total * size
    return total


def expand(x: torch.Tensor, sizes: Sequence[Any]) -> torch.Tensor:
    """x repeated along axes of size 1, so that it broadcasts with a tensor of these sizes, and they with it."""
    return x.expand(torch.broadcast_shapes(x.shape, tuple(sizes)))


def truncated(a: Any, b: Any) -> Any:
    """a / b of integers, rounded towards zero, as C does."""
    if isinstance(a, int) and isinstance(b, int):
        return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    # Of sizes, which are not negative; for what else there may be, the sign decides.
    return a // b if b > 0 and a >= 0 else -(-a // b)


def sized(x: torch.Tensor, sizes: Sequence[Any]) -> torch.Tensor:
    """x in another shape. 0 stands for the size that x has there, -1 for what is left."""
    return x.reshape([x.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)])


def chosen(condition: Any, a: Any, b: Any) -> Any:
    """a where the condition on sizes holds, else b."""
    return a if condition else b


def reshaped(x: torch.Tensor, sizes: Sequence[Any]) -> torch.Tensor:
    """x in a shape that is computed. 0 stands for the size that x has there, -1 for what is left."""
    found = [x.shape[axis] if size == 0 and axis < x.dim() else size for axis, size in enumerate(sizes)]
    return x.reshape(found)


def flattened(x: torch.Tensor, axis: int) -> torch.Tensor:
    """x as a matrix: the axes before `axis`, and the others."""
    return x.reshape(product(x.shape[:axis]), product(x.shape[axis:]))


def squeezed(x: torch.Tensor, axes: Sequence[int]) -> torch.Tensor:
    """x without axes. Raises ValueError where one of them has more or fewer elements than one."""
    for axis in axes:
        if x.shape[axis] != 1:
            raise ValueError(f"An axis that the ONNX file takes away must have 1 element, not {x.shape[axis]}.")
    return torch.squeeze(x, tuple(axes))


def rounded_up(size: Any, count: int) -> Any:
    """size / count, rounded up."""
    return (size + count - 1) // count


def in_parts(x: torch.Tensor, step: Any, count: int, axis: int) -> list[torch.Tensor]:
    """x in `count` parts of `step` elements of an axis, of which the last may be smaller."""
    return [x.narrow(axis, step * index, step) for index in range(count - 1)] + [
        x.narrow(axis, step * (count - 1), x.shape[axis] - step * (count - 1))
    ]


def total(sizes: Sequence[Any]) -> Any:
    """The sum of sizes."""
    found = 0
    for size in sizes:
        found = found + size
    return found
