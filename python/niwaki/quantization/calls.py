"""Which layers a network calls, and whose weights it reads besides."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from niwaki.capture import evaluating
from niwaki.errors import first_sentence
from niwaki.modules.layer import named_layers
from niwaki.modules.names import CELLS, RECURRENT, named_tables
from niwaki.quantization.inputs import Batch

_CLOSE = 1e-6  # two answers of the same arithmetic


_AUTOCAST = "it computes in another type than float32 (torch.autocast)"
_REPLACED = "other weights are put in the place of its own where it is called (torch.func.functional_call)"


def layers_called(model: nn.Module, batch: Batch) -> tuple[set[int], set[int], dict[int, str]]:
    """ids of layers and embeddings that are called when the network runs; and of those whose parameters others read.

    Also why some of them, by their ids, are not what their weights say.

    Layers that are not called are dead, or their parent reads their weights. Code that only looks at a weight's type,
    to bring its inputs to it, reads nothing where it leaves them as they are for int8, too.
    """
    called: set[int] = set()
    otherwise: dict[int, str] = {}
    looked, read, answer = _run(model, batch, called, otherwise)
    if looked - read:
        seen_as_int8: set[int] = set()
        if not _same(model, batch, looked - read, seen_as_int8, answer):
            return called, read | looked, otherwise
        read |= seen_as_int8
    return called, read, otherwise


def _layers(model: nn.Module) -> list[nn.Module]:
    layers = [layer.module for _, layer in named_layers(model)] + [table for _, table in named_tables(model)]
    layers += [part for part in model.modules() if type(part) in (*RECURRENT, *CELLS)]
    return [layer for layer in layers if "forward" not in vars(layer)]


def _run(model: nn.Module, batch: Batch, called: set[int], otherwise: dict[int, str]) -> tuple[set[int], set[int], Any]:
    """Layers whose weight's type somebody looked at, those of which more was read, and the network's answer."""
    looked: set[int] = set()
    read: set[int] = set()

    def give(layer: nn.Module, name: str, value: Any) -> Any:
        if not name.startswith("weight") or not isinstance(value, torch.Tensor):
            read.add(id(layer))
            return value
        looked.add(id(layer))
        return _Watched.of(value, value.dtype, lambda: read.add(id(layer)))

    try:
        answer = _call(model, batch, called, otherwise, give)
    except Exception as error:
        raise ValueError(f"{batch}: the network cannot be run with it: {first_sentence(error)}.") from error
    return looked, read, answer


def _same(model: nn.Module, batch: Batch, looked: set[int], read: set[int], answer: Any) -> bool:
    """Whether the network gives this answer where the weights of these layers seem to be int8."""

    def give(layer: nn.Module, name: str, value: Any) -> Any:
        if not name.startswith("weight") or id(layer) not in looked:
            return value
        return _Watched.of(value, torch.int8, lambda: read.add(id(layer)))

    try:
        found = pytree.tree_leaves(_call(model, batch, set(), {}, give))
    except Exception:  # it does not take what it is given then
        return False
    wanted = pytree.tree_leaves(answer)
    return len(found) == len(wanted) and all(map(_close, found, wanted))


def _close(a: Any, b: Any) -> bool:
    if not isinstance(a, torch.Tensor) or not isinstance(b, torch.Tensor):
        return type(a) is type(b)
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return torch.allclose(a, b, rtol=_CLOSE, atol=_CLOSE * float(a.abs().max()) if a.numel() else 0.0, equal_nan=True)


def _call(
    model: nn.Module,
    batch: Batch,
    called: set[int],
    otherwise: dict[int, str],
    give: Callable[[nn.Module, str, Any], Any],
) -> Any:
    """The network's answer; `give` is asked for the parameters of layers that others than themselves want."""
    kinds = {layer: type(layer) for layer in _layers(model)}
    batch = batch.copy()
    try:
        # Not with hooks: nn.TransformerEncoderLayer reads its layers' weights, unless one of them has a hook.
        for layer, kind in kinds.items():
            layer.__class__ = _watched(kind, called, otherwise, dict(layer._parameters), give)
        with evaluating(model):
            return model(*batch.args, **batch.kwargs)
    finally:
        for layer, kind in kinds.items():
            layer.__class__ = kind


def _watched(
    kind: type[Any],
    called: set[int],
    otherwise: dict[int, str],
    own: Mapping[str, Any],
    give: Callable[[nn.Module, str, Any], Any],
) -> type[Any]:
    """The same class, which notes who calls a layer and asks `give` what others get of its parameters."""
    inside: list[int] = []

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        called.add(id(self))
        if torch.is_autocast_enabled("cpu"):
            otherwise[id(self)] = _AUTOCAST
        elif any(self._parameters.get(name) is not value for name, value in own.items()):
            otherwise[id(self)] = _REPLACED
        inside.append(id(self))
        try:
            return kind.forward(self, *args, **kwargs)
        finally:
            inside.pop()

    def get(self: Any, name: str) -> Any:
        value = kind.__getattr__(self, name)
        return give(self, name, value) if name in own and id(self) not in inside else value

    return type(kind.__name__, (kind,), {"forward": forward, "__getattr__": get})


class _Watched(torch.Tensor):
    """A weight that says it has a type, and tells when more is asked of it than its type, device and shape."""

    _dtype: torch.dtype
    _tell: Callable[[], None]

    @staticmethod
    def of(value: torch.Tensor, dtype: torch.dtype, tell: Callable[[], None]) -> _Watched:
        watched = value.detach().as_subclass(_Watched)
        watched._dtype, watched._tell = dtype, tell
        return watched

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        watched = [x for x in pytree.tree_leaves((args, kwargs or {})) if isinstance(x, _Watched)]
        if func == torch.Tensor.dtype.__get__:  # type: ignore[attr-defined]
            return watched[0]._dtype
        if func == torch.Tensor.is_floating_point:
            return watched[0]._dtype.is_floating_point
        if func not in _LOOKS:
            for each in watched:
                each._tell()
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))


_LOOKS = {
    torch.Tensor.device.__get__, torch.Tensor.shape.__get__, torch.Tensor.size, torch.Tensor.dim,  # type: ignore[attr-defined]
    torch.Tensor.is_cuda.__get__, torch.Tensor.ndim.__get__,  # type: ignore[attr-defined]
}  # fmt: skip
