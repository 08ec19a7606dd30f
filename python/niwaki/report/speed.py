"""How long a call takes beside the float32 network."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from niwaki.capture import evaluating
from niwaki.quantization.inputs import Batch

# Turns of each network; fewer where these take longer than so many seconds.
_ROUNDS, _SECONDS = 11, 2.0
# Quartiles of the rounds that lie further apart than this make a ratio worth little.
_APART = 1.5


@dataclass(frozen=True)
class Speed:
    """A network beside what it was, timed turn and turn about on one machine.

    Attributes:
        milliseconds, float_milliseconds: of a call with one input, medians: now, and in float32 with torch.
        threads: that both work with.
        speedup: the float32 network's time over this one's, round by round: lower quartile, median, upper quartile.
    """

    milliseconds: float
    float_milliseconds: float
    threads: int
    speedup: tuple[float, float, float]

    @property
    def steady(self) -> bool:
        """Whether the rounds agree."""
        return self.speedup[2] <= _APART * self.speedup[0]


def measure_speed(model: nn.Module, network: Callable[..., Any], example: Batch, threads: int) -> Speed:
    """Times a network beside what it was.

    Args:
        model: the float32 network; it runs in torch as it is, in eval mode.
        network: compiled for so many threads.
        example: a call with one input.
        threads: torch gets as many for the while.
    """
    first: list[float] = []
    second: list[float] = []
    with _threads(threads), evaluating(model):
        # Caches fill and kernels are chosen: not counted, unless a call takes so long that this is little beside it.
        slow = [_milliseconds(each, example) for each in (model, network)]
        if sum(slow) > 1e3 * _SECONDS:
            first, second = slow[:1], slow[1:]
        end = time.perf_counter() + _SECONDS
        for _ in range(0 if first else _ROUNDS):
            first.append(_milliseconds(model, example))
            second.append(_milliseconds(network, example))
            if time.perf_counter() > end:
                break
    ratios = [a / b for a, b in zip(first, second, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    return Speed(statistics.median(second), statistics.median(first), threads, (low, middle, high))


def _milliseconds(network: Callable[..., Any], example: Batch) -> float:
    begin = time.perf_counter()
    network(*example.args, **example.kwargs)
    return (time.perf_counter() - begin) * 1e3


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
