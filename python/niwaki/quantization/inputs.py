"""Calibration as users have it: tensors, (image, label) loaders, dicts, with a transform or without."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree

from niwaki.errors import first_sentence


@dataclass(frozen=True)
class Batch:
    """One call of the network.

    Attributes:
        number: counted from 0.
        args, kwargs: what the network is called with.
    """

    number: int
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __str__(self) -> str:
        leaves = pytree.tree_leaves((self.args, self.kwargs))
        shapes = ", ".join(
            f"{str(x.dtype).removeprefix('torch.')} {list(x.shape)}" for x in leaves if isinstance(x, torch.Tensor)
        )
        return f"calibration item {self.number} ({shapes})"

    def copy(self) -> Batch:
        """The same with tensors of its own, for networks that write to their inputs."""
        args, kwargs = pytree.tree_map_only(torch.Tensor, lambda x: x.detach().clone(), (self.args, self.kwargs))
        return Batch(self.number, args, kwargs)


def check_calibration(calibration: Any) -> Iterable[Any]:
    """The items of what the user gave. A tensor, or a dict of tensors, is one item.

    Raises:
        TypeError: it is nothing that one could walk through.
    """
    wanted = "an iterable of tensors, of tuples that begin with the input, or of dicts"
    if isinstance(calibration, (torch.Tensor, Mapping)):
        return [calibration]
    if isinstance(calibration, (str, bytes, torch.nn.Module)) or not isinstance(calibration, Iterable):
        raise TypeError(f"calibration must be {wanted}, not {type(calibration).__name__}.")
    return calibration


def batches(calibration: Iterable[Any], transform: Callable[[Any], Any] | None) -> Iterator[Batch]:
    """The calls that the items stand for.

    Raises:
        TypeError, ValueError: an item is of a wrong type, empty, not finite or not on the CPU; or there are none.
    """
    number = -1
    for number, item in enumerate(calibration):
        yield _batch(number, item, transform)
    if number < 0:
        raise ValueError("calibration is empty; give at least one input, better some hundred typical ones.")


def _batch(number: int, item: Any, transform: Callable[[Any], Any] | None) -> Batch:
    where = f"calibration item {number}"
    if transform is not None:
        try:
            item = transform(item)
        except Exception as error:
            raise ValueError(f"{where}: transform failed: {first_sentence(error)}.") from error
    if isinstance(item, (tuple, list)):
        if not item:
            raise ValueError(f"{where} is an empty {type(item).__name__}; its first element must be the input.")
        item = item[0]
    if isinstance(item, torch.Tensor):
        batch = Batch(number, (item,), {})
    elif isinstance(item, Mapping):
        if not item or not all(isinstance(key, str) for key in item):
            raise ValueError(f"{where}: a dict must hold the network's arguments by name.")
        batch = Batch(number, (), dict(item))
    else:
        raise TypeError(
            f"{where} is {type(item).__name__}; it must be a tensor, a tuple that begins with the input, or a dict. "
            "Use transform= to convert it."
        )
    tensors = [x for x in pytree.tree_leaves((batch.args, batch.kwargs)) if isinstance(x, torch.Tensor)]
    if not tensors:
        raise TypeError(f"{where} holds no tensor. Use transform= to convert it.")
    for x in tensors:
        if x.device.type != "cpu":
            raise ValueError(f"{where} is on device '{x.device}'; niwaki works on CPUs, so move it with .cpu().")
        if x.numel() == 0:
            raise ValueError(f"{where} is empty: its shape is {list(x.shape)}.")
        if x.is_floating_point() and not bool(torch.isfinite(x).all()):
            raise ValueError(f"{where} holds NaN or infinity; leave it out or repair it.")
    return batch
