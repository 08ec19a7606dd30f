"""Times networks turn and turn about, so that a machine's ups and downs hit all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

Network = Callable[[torch.Tensor], torch.Tensor]
# Where other programs take so much of the time, or half of the rounds' ratios lie so far apart, a ratio says little.
_BUSY, _APART = 0.1, 1.5


@dataclass(frozen=True)
class Times:
    """What a network took, beside another one that it is compared with.

    Attributes:
        milliseconds: per image, the median over rounds of the fastest call of each.
        speedup: the other one's time over this one's, round by round: lower quartile, median, upper quartile.
        waited: the share of the time in which other programs kept the CPU from it, 0 to 1.
    """

    milliseconds: float
    speedup: tuple[float, float, float]
    waited: float

    @property
    def doubtful(self) -> bool:
        """Whether the machine was too busy to tell how much faster one is."""
        return self.waited > _BUSY or self.speedup[2] > _APART * self.speedup[0]


@torch.inference_mode()
def measure(
    networks: Mapping[str, Network], x: torch.Tensor, rounds: int, calls: int, after_round: Callable[[], None]
) -> dict[str, Times]:
    """Times each network, beside the first.

    Args:
        networks: what to time, by name.
        x: the input, [N, ...].
        rounds: how often each has its turn.
        calls: calls in a turn, after one that is not counted.
        after_round: called after each round, for a progress bar.
    """
    taken: dict[str, list[float]] = {name: [] for name in networks}
    waits: list[float] = []
    for _ in range(rounds):
        for name, network in networks.items():
            network(x)
            begin, used = time.perf_counter(), time.thread_time()
            taken[name].append(min(_milliseconds(network, x) for _ in range(calls)) / len(x))
            waits.append(1 - (time.thread_time() - used) / (time.perf_counter() - begin))
        after_round()
    # Both clocks are read one after the other: of the shortest turns, a little is lost between them.
    waited = min(1.0, max(0.0, statistics.mean(waits)))
    first = next(iter(taken.values()))
    return {
        name: Times(statistics.median(own), _quartiles([a / b for a, b in zip(first, own, strict=True)]), waited)
        for name, own in taken.items()
    }


def _quartiles(values: list[float]) -> tuple[float, float, float]:
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return low, middle, high


def _milliseconds(network: Network, x: torch.Tensor) -> float:
    begin = time.perf_counter()
    network(x)
    return (time.perf_counter() - begin) * 1e3
