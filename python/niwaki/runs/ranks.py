"""Processes that train one network together: they hold the same numbers, and stop together where one fails."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import distributed, nn

from niwaki.errors import NiwakiError, first_sentence


def together() -> bool:
    """Whether this process is one of several of torch.distributed."""
    return bool(distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1)


def follow_first(make: Callable[[], nn.Module]) -> nn.Module:
    """Makes a network in every process, with the weights, masks, scales and ranges of the first; all call it.

    What was measured on calibration inputs differs where each process has inputs of its own.

    Args:
        make: returns the network. It may fail in some processes and not in others.

    Raises:
        NiwakiError: `make` failed in another process, or the networks are not alike. No process waits for one that
            has stopped.
        Exception: what `make` raised in this process.
    """
    if not together():
        return make()
    network, failed = None, None
    try:
        network = make()
    except Exception as error:
        failed = error
    stop_together(failed)
    assert network is not None
    first = distributed.get_rank() == 0
    states = [network.state_dict() if first else None]
    distributed.broadcast_object_list(states, src=0)
    if not first and states[0] is not None:
        try:
            with torch.no_grad():
                network.load_state_dict(states[0])
        except (RuntimeError, ValueError, KeyError):
            failed = NiwakiError(
                "niwaki: the calibration inputs of this process chose another network than those of process 0; "
                "give all processes the same inputs."
            )
    stop_together(failed)
    return network


def stop_together(failed: Exception | None) -> None:
    """Raises in all processes where one has failed; all call it, this one with what it raised, if anything."""
    words: list[str | None] = [None] * distributed.get_world_size()
    distributed.all_gather_object(words, None if failed is None else first_sentence(failed))
    if failed is not None:
        raise failed
    for rank, said in enumerate(words):
        if said is not None:
            raise NiwakiError(f"niwaki: process {rank} has failed, so all stop: {said}.")
