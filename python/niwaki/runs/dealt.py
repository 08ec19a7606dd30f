"""Work on layers that processes of torch.distributed share: each does a part, and all have all of it in the end.

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
from torch import distributed, nn
from torch.utils import _pytree as pytree

from niwaki.errors import NiwakiError, first_sentence
from niwaki.quantization.inputs import Batch
from niwaki.runs.checkpoint import digest_of

Found = TypeVar("Found")
_FAILED = "failed"
_shared: ContextVar[bool] = ContextVar("niwaki_shared", default=False)


class _StoppedError(NiwakiError):
    """Raised in all processes at once, so none has to be told."""


def check_shared(what: str) -> None:
    """Raises NiwakiError where there are no processes to share work with; `what` is called, for the message."""
    if not (distributed.is_available() and distributed.is_initialized()):
        raise NiwakiError(
            f"{what}: distributed=True is for processes that torch.distributed.init_process_group has joined, such as "
            "those of torchrun; this one has not called it."
        )


@contextlib.contextmanager
def shared(enabled: bool) -> Iterator[None]:
    """Within it, work is dealt out to all processes of torch.distributed, which all come here, if it is enabled.

    Raises:
        NiwakiError: another process has failed within it.
    """
    if not enabled:
        yield
        return
    token = _shared.set(True)
    try:
        yield
        _exchange("end", None)
    except _StoppedError:
        raise
    except Exception as error:
        with contextlib.suppress(_StoppedError):  # one that fails as well says so itself
            _exchange(_FAILED, first_sentence(error))
        raise
    finally:
        _shared.reset(token)


def _exchange(kind: str, value: Any) -> list[Any]:
    """What all processes give, by their ranks. All call it with the same kind, or one of them with _FAILED."""
    given: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(given, (kind, value))
    for rank, (other, said) in enumerate(given):
        if other == _FAILED:
            raise _StoppedError(f"niwaki: process {rank} has failed, so all stop: {said}.")
    for rank, (other, _) in enumerate(given):
        if other != given[0][0]:
            raise _StoppedError(
                f"niwaki: process {rank} is elsewhere than process 0; with distributed=True all processes make the "
                "same calls with the same arguments."
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
    if not _shared.get():
        return found
    return next((each for each in _exchange("checkpoint", found) if each is not None), None)


def check_result(model: nn.Module) -> nn.Module:
    """The network, which is that of all processes, where they share their work.

    Raises:
        NiwakiError: in all processes, where one has come to another network.
    """
    if _shared.get():
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
        self._shared = _shared.get()
        self._all = distributed.get_world_size() if self._shared else 1
        self._own = distributed.get_rank() if self._shared else 0
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
            "process {rank} has another network or other calibration inputs than process 0; with distributed=True give "
            "all processes the same.",
        )  # fmt: skip
        _check_alike(
            "options", digest_of(*options),
            "process {rank} was called with other options than process 0; with distributed=True give all processes the "
            "same.",
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
