"""Networks that are fed signals in pieces, and keep what they need of the past."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from niwaki import _core
from niwaki.runtime.arrays import Library, default_library, to_numpy
from niwaki.runtime.described import Described
from niwaki.runtime.image import ImageConfig
from niwaki.runtime.signature import Signature, ports_of

if TYPE_CHECKING:
    from niwaki.runtime.network import Network, Runner

_BATCH = "batch"


class Stream(Described):
    """One signal that goes through a network in pieces. Made by `Network.stream`.

    Called as the network, with a piece, it returns the part of the network's answer that belongs to it. The parts, one
    after the other, are to the bit what the network makes of the whole signal; what it gives once for a signal, such as
    the last hidden state, is that of the signal so far. After an error the stream is where it was before the call.

    A stream belongs to one thread at a time; `another` begins a second one over the same packed weights.
    """

    def __init__(self, network: Network, runner: Runner, states: tuple[str, ...]) -> None:
        self._network = network
        self._runner = runner
        self._states = states
        self._library: Library | None = None  # of the last results
        self._lock = threading.Lock()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the next piece.

        Args:
            args, kwargs: as for the network; along time, inputs are as long as a piece.

        Returns:
            New tensors or arrays, nested like the network's results; see `Network`.

        Raises:
            TypeError, ValueError: as for the network; a piece of another size than agreed; or another thread is at it.
        """
        if not self._lock.acquire(blocking=False):
            raise ValueError("the stream is busy: another thread feeds it; give each signal a stream of its own.")
        try:
            results, self._library = self._network.run_in(self._runner, args, kwargs)
            return results
        finally:
            self._lock.release()

    def reset(self) -> None:
        """Begins a new signal.

        Raises:
            ValueError: a piece is on its way through it.
        """
        with self._idle():
            self._session.reset_state()

    def state(self) -> dict[str, Any]:
        """What it keeps of the past, by name: copies. `restore` goes on from there, in any stream of the network.

        They are torch tensors where the last piece was one, else numpy arrays.
        """
        with self._idle():
            library = self._library or default_library()
            return {name: library.from_numpy(self._session.get_state(name)) for name in self._states}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on where `state` was taken, whichever library its arrays are of.

        Raises:
            ValueError: names, types or shapes are not those of this stream's state, which then stays as it was.
        """
        if set(state) != set(self._states):
            raise ValueError(
                f"the state of another network: it has {', '.join(sorted(state)) or 'nothing'}, "
                f"and the stream keeps {', '.join(self._states) or 'nothing'}."
            )
        with self._idle():
            before = {name: self._session.get_state(name) for name in self._states}
            try:
                for name, value in state.items():
                    self._session.set_state(name, np.asarray(to_numpy(value), order="C"))
            except (TypeError, ValueError):
                for name, kept in before.items():
                    self._session.set_state(name, kept)
                raise

    def another(self) -> Stream:
        """A stream at the beginning of another signal. Weights are shared."""
        return Stream(self._network, self._network.new_runner(), self._states)

    @property
    def _session(self) -> _core.Session:
        (session,) = self._runner.sessions
        assert session is not None
        return session

    def _whole(self) -> Network:
        return self._network

    def save(self, path: str | os.PathLike[str], *, image: ImageConfig | None = None) -> None:
        """Writes a file whose runs take pieces: each session of the C library is then a signal, which
        niwaki_session_reset begins anew, and `niwaki.load(path).stream()` a stream. See `Network.save`."""
        self._network.save(path, image=image)

    def __repr__(self) -> str:
        pieces = ", ".join(map(str, self.inputs))
        return f"<niwaki.Stream: {pieces} -> {', '.join(self.outputs)}, keeps {len(self._states)} states>"

    def _idle(self) -> _Idle:
        return _Idle(self._lock)


class _Idle:
    """That no piece is on its way."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            raise ValueError("the stream is busy: another thread feeds it; wait for its call to end.")

    def __exit__(self, *exc: object) -> None:
        self._lock.release()


def streamed_graph(graph: _core.Graph, piece: int, along: str | None, sizes: Mapping[str, int]) -> _core.Graph:
    """The graph that takes pieces of a signal. See `Network.stream`, whose errors are its own."""
    if isinstance(piece, bool) or not isinstance(piece, int):
        raise TypeError(f"piece must be an int, not {type(piece).__name__}.")
    names = [size["name"] for size in graph.sizes]
    if along is None:
        left = [name for name in names if name != _BATCH and name not in sizes]
        if len(left) != 1:
            raise ValueError(
                f"the network's free sizes are {', '.join(names) or 'none'}: say along which the signal runs, as "
                f"stream(piece, along='{left[0] if left else 'length'}'), and what the others are."
            )
        (along,) = left
    others = {_BATCH: 1} if _BATCH in names and along != _BATCH else {}
    return graph.streamed(along, piece, {**others, **sizes})


def streamed_signature(signature: Signature, graph: _core.Graph) -> Signature:
    """How the network of pieces is called."""
    return replace(signature, inputs=ports_of(graph), sizes=())
