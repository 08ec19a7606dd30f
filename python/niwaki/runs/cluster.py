"""Clusters of Ray, as predictions and compression use them: the connection, and who has room."""

from __future__ import annotations

import contextlib
import importlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from niwaki.errors import NiwakiError, first_sentence
from niwaki.runtime.threads import available_cpus

STORE_BYTES = 256 << 20
"""Shared memory of a cluster that is started here (`local`): what is sent passes through it."""


def check_room(nodes: Sequence[Mapping[str, Any]], threads: int) -> None:
    """Refuses more threads than any machine has CPUs: Ray would wait for ever for one that has."""
    most = max((cpus_of(node) for node in nodes if node["Alive"]), default=0)
    if most < threads:
        raise NiwakiError(
            f"an actor with {threads} threads takes as many CPUs of one machine, and no machine of the cluster has "
            f"more than {most}; ask for fewer threads, or start a larger machine first."
        )


def cpus_of(node: Mapping[str, Any]) -> int:
    """How many CPUs Ray gives away on a machine."""
    return int(node["Resources"].get("CPU", 0))


@contextlib.contextmanager
def connected(address: str, threads: int, what: str, parts: Sequence[str] = ()) -> Iterator[Any]:
    """A connection to a cluster; that of the process, if there is one already.

    Args:
        address: of the cluster; "auto" finds the one of this machine, "local" starts one, which ends with the work.
        threads: of each actor.
        what: needs Ray, for the message.
        parts: of Ray that are needed besides its core.

    Yields:
        The module ray.

    Raises:
        ImportError: Ray is missing.
        NiwakiError: there is no cluster.
    """
    try:
        import ray
        import ray.exceptions

        for part in parts:
            importlib.import_module(f"ray.{part}")
    except ImportError as error:
        raise ImportError(f"{what} needs Ray; install it with: pip install 'niwaki[ray]'") from error
    ours = not ray.is_initialized()
    if ours:
        options: dict[str, Any] = {"address": address}
        if address == "local":
            # Threads may be more than CPUs, as without Ray: Ray counts them, and the system shares the CPUs out.
            cpus = max(threads, available_cpus())
            options |= {"object_store_memory": STORE_BYTES, "include_dashboard": False, "num_cpus": cpus}
        try:
            ray.init(**options, logging_level=logging.ERROR, log_to_driver=False)
        except Exception as error:  # a machine that is too busy to start Ray in 30 s is told in a bare Exception
            ray.shutdown()
            busy = "; run it again when the machine has less to do" if "timed out" in str(error) else ""
            raise NiwakiError(f"there is no cluster of Ray at '{address}': {first_sentence(error)}{busy}.") from error
    try:
        yield ray
    finally:
        if ours:
            ray.shutdown()
