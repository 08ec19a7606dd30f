"""How many threads work on a call where the caller does not say."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

_SYSTEM = Path("/")
"""Where the system tells of quotas, in /proc and /sys."""


def check_threads(threads: int | None) -> int:
    """The number of threads; where none is given, torch's own if torch is imported, else one for each CPU.

    The CPUs are those that this process may run on, which taskset and the like limit. Beside torch its own number is
    taken, so that torch.set_num_threads rules both. Neither is more than a container's quota of CPU time feeds.

    Raises:
        TypeError, ValueError: no integer, or below 1.
    """
    if threads is None:
        torch_threads = getattr(sys.modules.get("torch"), "get_num_threads", None)
        return available_cpus() if torch_threads is None else min(torch_threads(), _quota() or sys.maxsize)
    if isinstance(threads, bool) or not isinstance(threads, int):
        raise TypeError(f"threads must be an int or None, not {type(threads).__name__}.")
    if threads < 1:
        raise ValueError(f"threads must be at least 1, not {threads}.")
    return threads


def available_cpus() -> int:
    """The CPUs that this process may run on, and whose time its quota pays for."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, _quota() or allowed)


def _quota() -> int | None:
    """CPUs whose time Linux's control groups give this process, rounded up; None where they set no limit.

    Those are what `docker run --cpus` and Kubernetes set. Each group counts, up to the root.
    """
    found: list[float] = []
    for line in _words(_SYSTEM / "proc/self/cgroup").splitlines():
        _, kinds, place = (line + "::").split(":")[:3]
        if not place or (kinds and "cpu" not in kinds.split(",")):
            continue
        group = Path(place.lstrip("/"))
        for mount in ("",) if not kinds else (kinds, "cpu"):
            for each in (group, *group.parents):
                found += _limit(_SYSTEM / "sys/fs/cgroup" / mount / each)
    return max(1, math.ceil(min(found))) if found else None


def _limit(group: Path) -> list[float]:
    """The CPUs of a group, if it has a limit: in one file in version 2 of control groups, in two in version 1."""
    words = [_words(group / name) for name in ("cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us")]
    numbers = [float(word) for word in " ".join(words).split() if word.isdecimal()]  # no limit is "max", or -1
    return [numbers[0] / numbers[1]] if len(numbers) == 2 and min(numbers) > 0 else []


def _words(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""
