"""How many threads work on a call where the caller does not say."""

from __future__ import annotations

import os
import sys


def check_threads(threads: int | None) -> int:
    """The number of threads; where none is given, torch's own if torch is imported, else one for each CPU.

    The CPUs are those that this process may run on, which taskset and the like limit. Beside torch its own number is
    taken, so that torch.set_num_threads rules both.

    Raises:
        TypeError, ValueError: no integer, or below 1.
    """
    if threads is None:
        torch_threads = getattr(sys.modules.get("torch"), "get_num_threads", None)
        return torch_threads() if torch_threads is not None else available_cpus()
    if isinstance(threads, bool) or not isinstance(threads, int):
        raise TypeError(f"threads must be an int or None, not {type(threads).__name__}.")
    if threads < 1:
        raise ValueError(f"threads must be at least 1, not {threads}.")
    return threads


def available_cpus() -> int:
    """The CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
