"""Times networks turn and turn about, so that a machine's ups and downs hit all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch

Network = Callable[[torch.Tensor], torch.Tensor]


@torch.inference_mode()
def measure(
    networks: Mapping[str, Network], x: torch.Tensor, rounds: int, calls: int, after_round: Callable[[], None]
) -> dict[str, float]:
    """Milliseconds per image of each network: the median over rounds of the fastest of some calls.

    Args:
        networks: what to time, by name.
        x: the input, [N, ...].
        rounds: how often each has its turn.
        calls: calls in a turn, after one that is not counted.
        after_round: called after each round, for a progress bar.
    """
    times: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(rounds):
        for name, network in networks.items():
            network(x)
            times[name].append(min(_milliseconds(network, x) for _ in range(calls)) / len(x))
        after_round()
    return {name: statistics.median(of_rounds) for name, of_rounds in times.items()}


def _milliseconds(network: Network, x: torch.Tensor) -> float:
    begin = time.perf_counter()
    network(x)
    return (time.perf_counter() - begin) * 1e3
