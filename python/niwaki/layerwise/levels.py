"""The values that a weight may take, in units of its scale: all whole numbers of some bits, or those of a codebook."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch


class Levels(Protocol):
    """A grid of whole numbers from -127 to 127 that holds 0."""

    @property
    def largest(self) -> int:
        """The greatest magnitude."""

    def nearest(self, x: torch.Tensor) -> torch.Tensor:
        """The level closest to each element of x."""

    def around(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The neighbouring levels with x between them; the last two, where x lies outside of all."""


@dataclass(frozen=True)
class Uniform:
    """All whole numbers from -largest to largest.

    Attributes:
        largest: 127 for 8 bits, 7 for 4.
    """

    largest: int = 127

    @staticmethod
    def of_bits(bits: int) -> Uniform:
        """The levels of signed numbers of so many bits, without the lowest."""
        return Uniform(2 ** (bits - 1) - 1)

    def nearest(self, x: torch.Tensor) -> torch.Tensor:
        return x.round().clamp_(-self.largest, self.largest)

    def around(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        low = x.floor().clamp_(-self.largest, self.largest - 1)
        return low, low + 1


class Book:
    """The entries of a codebook.

    Args:
        entries: float32 [E], whole numbers, rising, at least two.
    """

    def __init__(self, entries: torch.Tensor) -> None:
        self.entries = entries
        self._middles = (entries[1:] + entries[:-1]) / 2

    @property
    def largest(self) -> int:
        return int(self.entries.abs().max())

    def nearest(self, x: torch.Tensor) -> torch.Tensor:
        return self.entries[torch.bucketize(x.contiguous(), self._middles)]

    def around(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        high = torch.bucketize(x.contiguous(), self.entries).clamp_(1, len(self.entries) - 1)
        return self.entries[high - 1], self.entries[high]
