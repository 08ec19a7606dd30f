"""How the share of zeros grows while a network is trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule(ABC):
    """When to prune, and what part of the final share.

    Attributes:
        start: the step at which pruning begins, counted from 0.
        end: the step at which the final share is reached.
        every: steps between two prunings, at least 1. The network recovers in between.
    """

    start: int
    end: int
    every: int = 1

    def __post_init__(self) -> None:
        for field in ("start", "end", "every"):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{type(self).__name__}: {field} is a number of steps, not {value!r}.")
        if self.start < 0 or self.every < 1:
            raise ValueError(f"{type(self).__name__}: start is at least 0 and every at least 1.")
        if self.end < self.start:
            raise ValueError(
                f"{type(self).__name__}: end ({self.end}) lies before start ({self.start}); give the later step as end."
            )

    def due(self, step: int) -> bool:
        """Whether to prune after this step."""
        return self.start <= step <= self.end and ((step - self.start) % self.every == 0 or step == self.end)

    def share(self, step: int) -> float:
        """Part of the final share, 0 to 1, after this step."""
        if step < self.start:
            return 0.0
        if step >= self.end:
            return 1.0
        return self._curve((step - self.start) / (self.end - self.start))

    @abstractmethod
    def _curve(self, time: float) -> float:
        """Part of the final share, 0 to 1, when `time`, 0 to 1, of the way from `start` to `end` is over."""


@dataclass(frozen=True)
class ConstantSchedule(Schedule):
    """All at once, at `start`; chosen anew up to `end`, which is `start` by default."""

    end: int = -1

    def __post_init__(self) -> None:
        if self.end == -1:
            object.__setattr__(self, "end", self.start)
        super().__post_init__()

    def _curve(self, time: float) -> float:
        return 1.0


@dataclass(frozen=True)
class LinearSchedule(Schedule):
    """The same number of zeros at each pruning."""

    def _curve(self, time: float) -> float:
        return time


@dataclass(frozen=True)
class CubicSchedule(Schedule):
    """Many zeros early, while there is much to spare, and few late: 1 - (1 - t)^3 (Zhu & Gupta, 2017)."""

    def _curve(self, time: float) -> float:
        return 1.0 - (1.0 - time) ** 3
