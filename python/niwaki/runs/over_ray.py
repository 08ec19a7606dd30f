"""Work that the one who asks shares with actors on a cluster of Ray: all make the same call, on the same network.

The caller is process 0: progress, checkpoints and `evaluate` are its own. What processes give each other passes through
one actor more, the meeting. An actor that is lost with its machine ends the work, in one sentence; none waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from niwaki.errors import NiwakiError, first_sentence
from niwaki.runs.cluster import check_room, connected, cpus_of
from niwaki.runs.dealt import shared
from niwaki.runs.group import LostError

Share = Callable[[Any, Any, dict[str, Any]], None]
"""Makes the call in an actor: with the network, the calibration and the other options."""

BEGIN_SECONDS = 60.0
"""So long actors have to begin. A CPU that other work holds gives none; what has begun then does the work."""

_log = logging.getLogger("niwaki")


class Meeting:
    """What processes give each other, exchange by exchange. Its methods run at once in one thread.

    Args:
        size: how many meet.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._given: dict[int, dict[int, bytes]] = {}
        self._full: dict[int, asyncio.Event] = {}
        self._left: dict[int, int] = {}

    async def exchange(self, number: int, rank: int, given: bytes) -> list[bytes]:
        """What all give in the exchange of this number, once all have."""
        found = self._given.setdefault(number, {})
        full = self._full.setdefault(number, asyncio.Event())
        found[rank] = given
        if len(found) == self._size:
            full.set()
        await full.wait()
        self._left[number] = self._left.get(number, 0) + 1
        if self._left[number] == self._size:  # all have it
            del self._given[number], self._full[number], self._left[number]
        return [found[each] for each in range(self._size)]


class RayGroup:
    """A group that meets by an actor.

    Args:
        meeting: a handle of the actor.
        rank, size: of this process, and of the group.
        watched: what the other processes promise to return, each by its rank; without it, none is watched.
    """

    def __init__(self, meeting: Any, rank: int, size: int, watched: Sequence[Any] = ()) -> None:
        self.rank, self.size = rank, size
        self._meeting, self._watched, self._number = meeting, list(watched), 0

    def gather(self, given: Any) -> list[Any]:
        """As in Group."""
        import ray

        met = self._meeting.exchange.remote(self._number, self.rank, pickle.dumps(given))
        self._number += 1
        try:
            waiting = [met, *self._watched]
            while met in waiting:  # one that has returned has met all others before
                done, waiting = ray.wait(waiting, num_returns=1)
                ray.get([each for each in done if each is not met])
            return [pickle.loads(each) for each in ray.get(met)]
        except ray.exceptions.RayError as error:
            raise LostError(
                f"niwaki: an actor on the cluster is lost ({first_sentence(error)}); make the same call again. With a "
                "checkpoint, what is done is kept."
            ) from error


class Member:
    """An actor that makes the call, too."""

    def begun(self) -> None:
        """Returns when it is there."""

    def share(self, content: bytes, meeting: Any, rank: int, size: int, threads: int) -> None:
        """Makes the call. What goes wrong in it has been told to all processes when it returns."""
        torch.set_num_threads(threads)
        with contextlib.suppress(Exception), shared(RayGroup(meeting, rank, size)):
            import ray

            call, model, calibration, options = ray.cloudpickle.loads(content)
            call(model, calibration, options)


@contextlib.contextmanager
def shared_over_ray(
    address: str, call: Share, model: Any, calibration: Any, options: dict[str, Any], most: int
) -> Iterator[None]:
    """Within it, work is shared with actors of the cluster, each on as many threads as this process.

    Args:
        address: of the cluster; "auto" finds the one of this machine, "local" starts one.
        call: makes the same call in an actor.
        model, calibration, options: for it; they are sent to each actor.
        most: actors that have something to do.

    Raises:
        ImportError: Ray is missing.
        NiwakiError: there is no cluster, or no machine of it has a CPU for each thread; what is to be sent can't be; or
            an actor is lost or has failed.
    """
    threads = torch.get_num_threads()
    with connected(address, threads, "ray=") as ray:
        check_room(ray.nodes(), threads)
        try:
            content = ray.put(ray.cloudpickle.dumps((call, model, calibration, options)))
        except Exception as error:  # whatever a user's class raises there
            raise NiwakiError(
                f"niwaki: the network, the calibration or an option can't be sent to other machines "
                f"({first_sentence(error)}); they have to be such as pickle takes."
            ) from error
        members = _members(ray, threads, most)
        try:
            size = len(members) + 1
            meeting = ray.remote(Meeting).options(num_cpus=0, max_concurrency=4 * size).remote(size)
            watched = [
                member.share.remote(content, meeting, rank, size, threads) for rank, member in enumerate(members, 1)
            ]
            with shared(RayGroup(meeting, 0, size, watched)):
                yield
        finally:
            for member in members:
                ray.kill(member)


def _members(ray: Any, threads: int, most: int) -> list[Any]:
    """Actors that have begun, at most so many: one for so many CPUs, those of this process left out."""
    here = ray.get_runtime_context().get_node_id()
    rooms = [cpus_of(node) // threads - (node["NodeID"] == here) for node in ray.nodes() if node["Alive"]]
    count = max(1, min(most, sum(max(0, room) for room in rooms)))
    kind = ray.remote(Member).options(num_cpus=threads, scheduling_strategy="SPREAD")
    members = [kind.remote() for _ in range(count)]
    begun = [member.begun.remote() for member in members]
    done, _ = ray.wait(begun, num_returns=count, timeout=BEGIN_SECONDS)
    found, failed = [], None
    for member, each in zip(members, begun, strict=True):
        try:
            if each in done:
                ray.get(each)
                found.append(member)
                continue
        except ray.exceptions.RayError as error:  # its machine has just gone, or has no niwaki
            failed = error
        ray.kill(member)
    if failed is not None and not found:
        raise NiwakiError(f"no actor can begin on the cluster: {first_sentence(failed)}.") from failed
    if len(found) < count:
        _log.warning(
            "niwaki: %d of %d actors have not begun within %.0f s, and are left out: no CPU is free for them, or their "
            "machine is gone.",
            count - len(found), count, BEGIN_SECONDS,
        )  # fmt: skip
    return found
