"""Native sessions of single layers, made when a layer first runs and kept as long as its weight lives."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch.utils.weak import WeakIdKeyDictionary

from niwaki._core import Graph, Model, Session
from niwaki.nn.threads import get_threads

Stamp = tuple[tuple[int, int], ...]


@dataclass
class _Entry:
    stamp: Stamp
    model: Model
    # A session belongs to one thread; a thread that ends takes its sessions with it.
    sessions: threading.local = field(default_factory=threading.local)

    def session(self) -> Session:
        threads = get_threads()
        kept: tuple[int, Session] | None = getattr(self.sessions, "kept", None)
        if kept is None or kept[0] != threads:
            kept = (threads, Session(self.model, threads))
            self.sessions.kept = kept
        return kept[1]


_entries = WeakIdKeyDictionary()
_lock = threading.Lock()


def _stamp(tensors: tuple[torch.Tensor | None, ...], constants: tuple[int, ...]) -> Stamp | None:
    """Changes when a tensor is replaced or written to. None: cannot tell, as inference tensors do not count writes."""
    present = [tensor for tensor in tensors if tensor is not None]
    if any(tensor.is_inference() for tensor in present):
        return None
    return (*((tensor.data_ptr(), tensor._version) for tensor in present), (hash(constants), len(present)))


def session_for(
    weight: torch.Tensor,
    others: tuple[torch.Tensor | None, ...],
    constants: tuple[int, ...],
    build: Callable[[], Graph],
) -> Session:
    """This thread's session for the layer with this weight.

    Args:
        weight: the layer's weight; when it is freed, so is what was made for it.
        others: the layer's other tensors. A write to any of them is noticed, except through `.data` or another
            library's view.
        constants: the layer's other settings.
        build: makes the graph where there is no session yet, or its tensors have changed.
    """
    stamp = _stamp((weight, *others), constants)
    if stamp is None:
        return Session(Model(build()), get_threads())
    with _lock:
        entry: _Entry | None = _entries.get(weight)
        if entry is None or entry.stamp != stamp:
            entry = _Entry(stamp, Model(build()))
            _entries[weight] = entry
    return entry.session()
