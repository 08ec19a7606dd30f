"""Progress bars on whatever takes long."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from niwaki._lazy import installed

Item = TypeVar("Item")
EVERY = 30.0
"""Seconds between lines, where stderr is no terminal."""


def track(items: Iterable[Item], what: str, enabled: bool = True) -> Iterator[Item]:
    """Yields the items; tells on stderr how far it is, if it is enabled.

    A bar on a terminal, or without rich, which running files does not need, a line that says how many are done. In a
    log or a notebook, a line from time to time.
    """
    import sys

    if not enabled:
        yield from items
        return
    if not sys.stderr.isatty():
        yield from _told(items, what)
        return
    if not installed("rich"):
        yield from _counted(items, what)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    total = _total(items)
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield from progress.track(items, total=total, description=what)


def _total(items: Iterable[Item]) -> int | None:
    """How many there are; None where nobody knows yet."""
    try:
        return len(items)  # type: ignore[arg-type]
    except TypeError:
        return None


def _counted(items: Iterable[Item], what: str) -> Iterator[Item]:
    """A line that is written over, and gone in the end."""
    import sys

    total, written = _total(items), ""
    try:
        for done, item in enumerate(items):
            written = f"{what}: {done}" + (f" of {total}" if total else "")
            print(f"\r{written}", end="", file=sys.stderr, flush=True)
            yield item
    finally:
        print("\r" + " " * len(written) + "\r", end="", file=sys.stderr, flush=True)


def _told(items: Iterable[Item], what: str) -> Iterator[Item]:
    """A line for each half minute; nothing where it does not take as long."""
    import sys

    total = _total(items)
    begin = said = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if now - said >= EVERY:
            said = now
            left = f" of {total:,}, about {(now - begin) / done * (total - done):,.0f} s left" if total and done else ""
            print(f"niwaki: {what}: {done:,}{left}", file=sys.stderr, flush=True)
        yield item
