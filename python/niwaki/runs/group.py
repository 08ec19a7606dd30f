"""Who shares a piece of work: processes that give each other what they have, all at once."""

from __future__ import annotations

from typing import Any, Protocol

from torch import distributed

from niwaki.errors import NiwakiError


class Group(Protocol):
    """Processes with numbers from 0, seen from one of them."""

    @property
    def rank(self) -> int:
        """The number of this process."""

    @property
    def size(self) -> int:
        """How many there are."""

    def gather(self, given: Any) -> list[Any]:
        """What all give, by their numbers; all call it equally often.

        Raises:
            LostError: one of them is no longer there.
        """


class LostError(NiwakiError):
    """A process has gone without a word."""


class TorchGroup:
    """The processes of torch.distributed.

    Args:
        what: is called, for the message.

    Raises:
        NiwakiError: there are none.
    """

    def __init__(self, what: str) -> None:
        if not (distributed.is_available() and distributed.is_initialized()):
            raise NiwakiError(
                f"{what}: distributed=True is for processes that torch.distributed.init_process_group has joined, such "
                "as those of torchrun; this one has not called it."
            )
        self.rank, self.size = distributed.get_rank(), distributed.get_world_size()

    def gather(self, given: Any) -> list[Any]:
        """As in Group."""
        found: list[Any] = [None] * self.size
        distributed.all_gather_object(found, given)
        return found
