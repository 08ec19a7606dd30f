"""Calibration as users have it: tensors, loaders of inputs and labels, dicts, with a transform or without.

How an item becomes a call of the network:

- A tensor is its one argument.
- A dict, or a Hugging Face BatchEncoding, holds arguments by name. Entries named after labels are left out.
- A tuple or list holds arguments by position. Parts beyond those that `forward` takes are labels and the like, and are
  left out. Where `forward` could take the last part as an option, and it looks like labels (one number for each input),
  the network is run: if it runs only without that part, those are labels; if it runs both ways, nobody can tell, and
  the user is asked.
- What `transform` returns is what the network is called with, whole.
- A niwaki.EntryPoints has calibration for each of its entries, {name: items}, each as above; items of the entries are
  taken side by side, and entries with fewer begin anew. Or items are dicts themselves, {name: item}.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils import _pytree as pytree

from niwaki.capture import evaluating
from niwaki.errors import first_sentence
from niwaki.modules.entries import EntryPoints
from niwaki.quantization.side_by_side import side_by_side

_OF_NUMPY = "make it a tensor with torch.from_numpy(array).float()"
_LABELS = ("label", "labels", "label_ids")


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
        shapes = ", ".join(f"{str(x.dtype).removeprefix('torch.')} {list(x.shape)}" for x in self.tensors)
        return f"calibration item {self.number} ({shapes})"

    @property
    def tensors(self) -> list[torch.Tensor]:
        """All tensors that it holds, in order."""
        return [x for x in pytree.tree_leaves((self.args, self.kwargs)) if isinstance(x, torch.Tensor)]

    @property
    def inputs(self) -> int:
        """How many inputs it holds, counted along the first dimension of its first tensor."""
        first = self.tensors[0]
        return first.shape[0] if first.dim() else 1

    def copy(self) -> Batch:
        """The same with tensors of its own, for networks that write to their inputs."""
        return self.mapped(lambda x: x.detach().clone())

    def mapped(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        """The same with other tensors."""
        args, kwargs = pytree.tree_map_only(torch.Tensor, change, (self.args, self.kwargs))
        return Batch(self.number, args, kwargs)


def check_calibration(calibration: Any, model: nn.Module | None = None) -> Iterable[Any]:
    """The items of what the user gave. A tensor, or a dict of tensors, is one item.

    Args:
        calibration: what the user gave.
        model: the network; one with several entry points has calibration for each of them, by name.

    Raises:
        TypeError: it is nothing that one could walk through.
    """
    wanted = "an iterable of tensors, of tuples that begin with the input, or of dicts"
    if isinstance(model, EntryPoints):
        wanted = (
            'a dict of such for each entry point, {"' + model.entries[0] + '": items, ...}, or an iterable of dicts'
        )
        if isinstance(calibration, Mapping):
            model.check_names(calibration, "calibration")
            return side_by_side({name: check_calibration(calibration[name]) for name in model.entries})
    elif isinstance(calibration, (torch.Tensor, Mapping)):
        return [calibration]
    if isinstance(calibration, np.ndarray):
        raise TypeError(f"calibration is a numpy array; {_OF_NUMPY}.")
    if isinstance(calibration, (str, bytes, nn.Module, torch.Tensor)) or not isinstance(calibration, Iterable):
        raise TypeError(f"calibration must be {wanted}, not {type(calibration).__name__}.")
    return calibration


def batches(calibration: Iterable[Any], transform: Callable[[Any], Any] | None, model: nn.Module) -> Iterator[Batch]:
    """The calls of a network that the items stand for.

    Args:
        calibration: the items, as `check_calibration` returns them. Those that are a Batch already stay as they are.
        transform: called with each item; returns what the network is called with.
        model: the network.

    Raises:
        TypeError, ValueError: an item is of a wrong type, empty, not finite or not on the CPU, or nobody can tell what
            its parts are; or there are none.
    """
    reader = _JointReader(model, transform) if isinstance(model, EntryPoints) else _Reader(model, transform)
    number = -1
    for number, item in enumerate(calibration):
        yield reader.read(number, item)
    if number < 0:
        raise ValueError("calibration is empty; give at least one input, better some hundred typical ones.")


def _transformed(item: Any, where: str, transform: Callable[[Any], Any] | None) -> Any:
    if transform is None:
        return item
    try:
        return transform(item)
    except Exception as error:
        raise ValueError(f"{where}: transform failed: {first_sentence(error)}.") from error


class _JointReader:
    """Turns items for all entries of a network, {name: item}, into calls of all of them."""

    def __init__(self, model: EntryPoints, transform: Callable[[Any], Any] | None) -> None:
        self._model = model
        self._transform = transform
        # What a transform returns is taken whole.
        whole = None if transform is None else _same
        self._readers = {name: _Reader(model[name], whole, f" of entry point '{name}'") for name in model.entries}

    def read(self, number: int, item: Any) -> Batch:
        if isinstance(item, Batch):
            return item
        where = f"calibration item {number}"
        item = _transformed(item, where, self._transform)
        if not isinstance(item, Mapping):
            raise TypeError(f"{where} is {type(item).__name__}; it must be a dict with an item for each entry point.")
        self._model.check_names(item, where)
        read = {name: reader.read(number, item[name]) for name, reader in self._readers.items()}
        calls = {name: call.kwargs or call.args for name, call in read.items()}
        return Batch(number, (), dict(self._model.arguments(calls)))


def _same(item: Any) -> Any:
    return item


class _Reader:
    """Turns items into calls of one network."""

    def __init__(self, model: nn.Module, transform: Callable[[Any], Any] | None, of: str = "") -> None:
        self._model, self._of = model, of
        self._transform = transform
        self._required, self._most, self._names = _positions(model)
        # What was found out by running the network, by the parts' kinds: one kind of item is asked about once.
        self._known: dict[tuple[Any, ...], bool] = {}

    def read(self, number: int, item: Any) -> Batch:
        if isinstance(item, Batch):
            return item
        where = f"calibration item {number}{self._of}"
        item = _transformed(item, where, self._transform)
        batch = self._call(number, where, item)
        _check(where, batch)
        try:
            bound = inspect.signature(self._model.forward).bind(*batch.args, **batch.kwargs)
        except TypeError as error:
            raise ValueError(f"{where}: the network cannot be called with it: {error}.") from None
        # In the order of forward, which that of graphs follows.
        order = [name for name in bound.arguments if name in batch.kwargs]
        named = {name: batch.kwargs[name] for name in [*order, *batch.kwargs]}
        return Batch(batch.number, batch.args, named)

    def _call(self, number: int, where: str, item: Any) -> Batch:
        whole = self._transform is not None
        if isinstance(item, (tuple, list)):
            if not item:
                raise ValueError(f"{where} is an empty {type(item).__name__}; its first element must be the input.")
            parts = tuple(item) if whole else self._arguments(number, where, tuple(item))
            # Loaders give (dict, label), too: such a dict holds arguments by name.
            if whole or len(parts) > 1 or not isinstance(parts[0], Mapping):
                return Batch(number, parts, {})
            item = parts[0]
        if isinstance(item, torch.Tensor):
            return Batch(number, (item,), {})
        if isinstance(item, Mapping):
            if not item or not all(isinstance(key, str) for key in item):
                raise ValueError(f"{where}: a dict must hold the network's arguments by name.")
            if self._takes_whole(number, item):
                return Batch(number, (item,), {})
            return Batch(number, (), {key: value for key, value in item.items() if whole or key not in _LABELS})
        if isinstance(item, np.ndarray):
            raise TypeError(f"{where} is a numpy array; {_OF_NUMPY}, or give transform=torch.from_numpy.")
        raise TypeError(
            f"{where} is {type(item).__name__}; it must be a tensor, a tuple that begins with the input, or a dict. "
            "Use transform= to convert it."
        )

    def _takes_whole(self, number: int, item: Mapping[str, Any]) -> bool:
        """Whether a dict is the one argument that forward wants: it has none of these names, and runs with that."""
        parameters = inspect.signature(self._model.forward).parameters.values()
        if self._required != 1 or any(each.kind is each.VAR_KEYWORD or each.name in item for each in parameters):
            return False
        if (names := tuple(item)) not in self._known:
            self._known[names] = self._runs(Batch(number, (item,), {}))
        return self._known[names]

    def _arguments(self, number: int, where: str, parts: tuple[Any, ...]) -> tuple[Any, ...]:
        """The parts of a tuple that the network is called with."""
        parts = parts[: self._most]
        if len(parts) <= self._required or len(parts) == 1 or not _like_labels(parts[-1], parts[0]):
            return parts
        kinds = tuple((x.dtype, x.dim()) if isinstance(x, torch.Tensor) else type(x) for x in parts)
        if kinds not in self._known:
            self._known[kinds] = self._is_label(number, where, parts)
        return parts[:-1] if self._known[kinds] else parts

    def _is_label(self, number: int, where: str, parts: tuple[Any, ...]) -> bool:
        with_it, without = (self._runs(Batch(number, some, {})) for some in (parts, parts[:-1]))
        if with_it and without:
            count = len(parts)
            name = self._names[count - 1] if count <= len(self._names) else "an argument"
            raise ValueError(
                f"{where} is a tuple of {count}, and its last part may be labels or '{name}' of forward; say which: "
                f"transform=lambda item: item[:{count - 1}] leaves it out, transform=lambda item: item gives it to the "
                "network."
            )
        return not with_it

    def _runs(self, batch: Batch) -> bool:
        try:
            with evaluating(self._model):
                copied = batch.copy()
                self._model(*copied.args)
        except Exception:
            return False
        return True


def _positions(model: nn.Module) -> tuple[int, int, list[str]]:
    """How many arguments forward needs by position, how many it takes, and their names."""
    try:
        parameters = list(inspect.signature(model.forward).parameters.values())
    except (TypeError, ValueError):
        return 1, 1, []
    by_position = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = sum(p.default is p.empty for p in by_position)
    most = 1 << 30 if any(p.kind is p.VAR_POSITIONAL for p in parameters) else len(by_position)
    return required, max(most, 1), [p.name for p in by_position]


def _like_labels(part: Any, first: Any) -> bool:
    """Whether a part could be labels: a number or word, one for each input or one alone."""
    if not isinstance(part, torch.Tensor):
        return not any(isinstance(leaf, torch.Tensor) for leaf in pytree.tree_leaves(part))
    if part.dtype == torch.bool or part.dim() > 1:
        return False
    tensors = [x for x in pytree.tree_leaves(first) if isinstance(x, torch.Tensor)]
    inputs = tensors[0].shape[0] if tensors and tensors[0].dim() else 1
    return part.numel() in (1, inputs)


def _check(where: str, batch: Batch) -> None:
    if any(isinstance(leaf, np.ndarray) for leaf in pytree.tree_leaves((batch.args, batch.kwargs))):
        raise TypeError(f"{where} holds a numpy array; {_OF_NUMPY}.")
    if not batch.tensors:
        raise TypeError(f"{where} holds no tensor. Use transform= to convert it.")
    for x in batch.tensors:
        if x.device.type != "cpu":
            raise ValueError(f"{where} is on device '{x.device}'; niwaki works on CPUs, so move it with .cpu().")
        if x.numel() == 0:
            raise ValueError(f"{where} is empty: its shape is {list(x.shape)}.")
        if x.is_floating_point() and x.dtype != torch.float32:
            kind = str(x.dtype).removeprefix("torch.")
            raise ValueError(f"{where} is {kind}; niwaki computes in float32, so convert it with .float().")
        if x.is_floating_point() and not bool(torch.isfinite(x).all()) and not _is_mask(x):
            raise ValueError(f"{where} holds NaN or infinity; leave it out or repair it.")


def _is_mask(x: torch.Tensor) -> bool:
    """Nothing but 0 and -inf: what is added to scores to leave some of them out."""
    return bool(((x == 0) | (x == -torch.inf)).all())
