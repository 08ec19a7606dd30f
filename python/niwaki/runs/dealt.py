"""Work on layers that processes of torch.distributed share: each does a part, and all have all of it in the end.

What is shared follows from the network as it is, layer by layer, so who does it makes no difference to the result. What
follows from other results (pruning a layer after those before it) every process does, and comes to the same.
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

from niwaki.errors import NiwakiError
from niwaki.quantization.inputs import Batch
from niwaki.runs.ranks import stop_together

Found = TypeVar("Found")
_shared: ContextVar[bool] = ContextVar("niwaki_shared", default=False)


def check_shared(what: str) -> None:
    """Raises NiwakiError where there are no processes to share work with; `what` is called, for the message."""
    if not (distributed.is_available() and distributed.is_initialized()):
        raise NiwakiError(
            f"{what}: distributed=True is for processes that torch.distributed.init_process_group has joined, such as "
            "those of torchrun; this one has not called it."
        )


@contextlib.contextmanager
def shared(enabled: bool) -> Iterator[None]:
    """Within it, work is dealt out to all processes of torch.distributed, which all come here, if it is enabled."""
    token = _shared.set(enabled)
    try:
        yield
    finally:
        _shared.reset(token)


class Dealt:
    """Pieces of work, in an order, dealt out one by one; all to this process where it shares with none.

    Args:
        model: the network that the work is on.
        batches: the inputs.

    Raises:
        NiwakiError: in all processes, where one has another network or other inputs.
    """

    def __init__(self, model: nn.Module, batches: Sequence[Batch]) -> None:
        self._all = distributed.get_world_size() if _shared.get() else 1
        self._own = distributed.get_rank() if self._all > 1 else 0
        self._dealt = 0
        if self._all > 1:
            digests: list[Any] = [None] * self._all
            distributed.all_gather_object(digests, _digest(model, batches))
            other = next((rank for rank, digest in enumerate(digests) if digest != digests[0]), None)
            if other is not None:
                raise NiwakiError(
                    f"process {other} has another network or other calibration inputs than process 0; with "
                    "distributed=True give all processes the same."
                )

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
            Exception: what it raised in this one.
        """
        if self._all == 1:
            work()
            return found
        failed = None
        try:
            work()
        except Exception as error:
            failed = error
        stop_together(failed)
        parts: list[Any] = [None] * self._all
        distributed.all_gather_object(parts, found)
        return {name: each for part in parts for name, each in part.items()}


def _digest(model: nn.Module, batches: Sequence[Batch]) -> str:
    digest = hashlib.sha256()
    inputs = [leaf for batch in batches for leaf in pytree.tree_leaves((batch.args, batch.kwargs))]
    for value in (*model.state_dict().values(), *inputs):
        if isinstance(value, torch.Tensor):
            digest.update(repr((value.dtype, tuple(value.shape))).encode())
            digest.update(value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        else:
            digest.update(repr(value).encode())
    return digest.hexdigest()
