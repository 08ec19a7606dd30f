"""Work on layers that the processes of a group share: each does a part, and all have all of it in the end.

What is shared follows from the network as it is, layer by layer, so who does it makes no difference to the result. What
follows from other results (pruning a layer after those before it) every process does, and comes to the same.

Processes talk by exchanges, in which each gives something and gets what all have given. Within `shared` they make the
same ones in the same order; one that fails says so instead of the next, and at the end there is one more, so that none
waits for a process that has stopped.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils import _pytree as pytree

from niwaki.errors import NiwakiError, first_sentence
from niwaki.quantization.inputs import Batch
from niwaki.runs.checkpoint import digest_of
from niwaki.runs.group import Group, LostError

Found = TypeVar("Found")
_FAILED = "failed"
_group: ContextVar[Group | None] = ContextVar("niwaki_group", default=None)


class _StoppedError(NiwakiError):
    """Raised in all processes at once, so none has to be told."""


@contextlib.contextmanager
def shared(group: Group) -> Iterator[None]:
    """Within it, work is dealt out to all processes of the group, which all come here.

    Raises:
        NiwakiError: another process has failed within it, or is gone.
    """
    token = _group.set(group)
    try:
        yield
        _exchange("end", None)
    except (_StoppedError, LostError):
        raise
    except Exception as error:
        with contextlib.suppress(_StoppedError, LostError):  # one that fails as well says so itself
            _exchange(_FAILED, first_sentence(error))
        raise
    finally:
        _group.reset(token)


def _exchange(kind: str, value: Any) -> list[Any]:
    """What all processes give, by their ranks. All call it with the same kind, or one of them with _FAILED."""
    group = _group.get()
    assert group is not None
    given = group.gather((kind, value))
    for rank, (other, said) in enumerate(given):
        if other == _FAILED:
            raise _StoppedError(f"niwaki: process {rank} has failed, so all stop: {said}.")
    for rank, (other, _) in enumerate(given):
        if other != given[0][0]:
            raise _StoppedError(
                f"niwaki: process {rank} is elsewhere than process 0; processes that share work make the same calls "
                "with the same arguments."
            )
    return [each for _, each in given]


def _check_alike(kind: str, value: str, told: str) -> None:
    """Raises NiwakiError in all processes, where one has another value than the first; `told` has places for both."""
    values = _exchange(kind, value)
    other = next((rank for rank, each in enumerate(values) if each != values[0]), None)
    if other is not None:
        raise _StoppedError(told.format(rank=other, value=values[other], first=values[0]))


def known_to_all(found: Found | None) -> Found | None:
    """What a checkpoint of any process holds, where processes share their work; else what is given."""
    if _group.get() is None:
        return found
    return next((each for each in _exchange("checkpoint", found) if each is not None), None)


def known_to_first(find: Callable[[], Found]) -> Found:
    """What the first process finds, for which the others wait."""
    group = _group.get()
    assert group is not None
    found: Found = _exchange("first", find() if group.rank == 0 else None)[0]
    return found


def check_result(model: nn.Module) -> nn.Module:
    """The network, which is that of all processes, where they share their work.

    Raises:
        NiwakiError: in all processes, where one has come to another network.
    """
    if _group.get() is not None:
        _check_alike(
            "result", _digest(model, []),
            "niwaki: process {rank} came to another network than process 0, so what it computed with, or an argument, "
            "differs; give all processes the same.",
        )  # fmt: skip
    return model


class Dealt:
    """Pieces of work, in an order, dealt out one by one; all to this process where it shares with none.

    Args:
        model: the network that the work is on.
        batches: the inputs.
        options: what else the work depends on, dataclasses and plain values.

    Raises:
        NiwakiError: in all processes, where one has another network, other inputs or options, or computes otherwise.
    """

    def __init__(self, model: nn.Module, batches: Sequence[Batch], *options: Any) -> None:
        group = _group.get()
        self._shared = group is not None
        self._all, self._own = (1, 0) if group is None else (group.size, group.rank)
        self._dealt = 0
        if not self._shared:
            return
        _check_alike(
            "computing", _computing(),
            "niwaki: process {rank} computes with {value}, process 0 with {first}; only where they compute alike do "
            "processes come to the same network.",
        )  # fmt: skip
        _check_alike(
            "inputs", _digest(model, batches),
            "process {rank} has another network or other calibration inputs than process 0; give all the same.",
        )  # fmt: skip
        _check_alike(
            "options", digest_of(*options),
            "process {rank} was called with other options than process 0; give all the same.",
        )  # fmt: skip

    def mine(self) -> bool:
        """Whether the next piece is for this process. Asked once for each piece, in the same order everywhere."""
        self._dealt += 1
        return (self._dealt - 1) % self._all == self._own

    def run(self, work: Callable[[], None], found: dict[str, Found]) -> dict[str, Found]:
        """Does the work, and waits for that of the others.

        Args:
            work: puts what this process finds into `found`.
            found: by the names of the pieces.

        Returns:
            What all processes have found.

        Raises:
            NiwakiError: it failed in another process.
        """
        work()
        if not self._shared:
            return found
        return {name: each for part in _exchange("found", found) for name, each in part.items()}


def _computing() -> str:
    """What the last bits of a sum depend on."""
    threads = torch.get_num_threads()
    kernels = torch.backends.cpu.get_cpu_capability()
    return f"torch {torch.__version__}, {kernels} and {threads} thread{'s' * (threads > 1)}"


def _digest(model: nn.Module, batches: Sequence[Batch]) -> str:
    digest = hashlib.sha256()
    inputs = [leaf for batch in batches for leaf in pytree.tree_leaves((batch.args, batch.kwargs))]
    for name, value in (*model.state_dict().items(), *(("", leaf) for leaf in inputs)):
        digest.update(name.encode())
        if isinstance(value, torch.Tensor):
            digest.update(repr((value.dtype, tuple(value.shape))).encode())
            digest.update(value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        else:
            digest.update(repr(value).encode())
    return digest.hexdigest()
