"""How many threads the layers of niwaki.nn use."""

from __future__ import annotations

import torch

_threads: int | None = None


def set_threads(threads: int | None) -> None:
    """Sets the number of threads for layers of niwaki.nn, in the whole process.

    Args:
        threads: at least 1; None (how it begins) follows torch.get_num_threads().

    Raises:
        TypeError, ValueError: not an integer, or below 1.
    """
    global _threads
    if threads is not None:
        if isinstance(threads, bool) or not isinstance(threads, int):
            raise TypeError(f"threads must be an integer or None, not {type(threads).__name__}.")
        if threads < 1:
            raise ValueError(f"threads must be at least 1, not {threads}.")
    _threads = threads


def get_threads() -> int:
    """The number of threads that layers of niwaki.nn use."""
    return _threads if _threads is not None else torch.get_num_threads()
