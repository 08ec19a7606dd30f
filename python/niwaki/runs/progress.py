"""Progress bars on whatever takes long."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from niwaki._lazy import installed

Item = TypeVar("Item")


def track(items: Iterable[Item], what: str, enabled: bool = True) -> Iterator[Item]:
    """Yields the items; shows a progress bar on stderr, if it is enabled and stderr is a terminal.

    Without rich, which running files does not need, a line says how many are done.
    """
    import sys

    if not enabled or not sys.stderr.isatty():
        yield from items
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

    try:
        total: int | None = len(items)  # type: ignore[arg-type]
    except TypeError:
        total = None
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield from progress.track(items, total=total, description=what)


def _counted(items: Iterable[Item], what: str) -> Iterator[Item]:
    """A line that is written over, and gone in the end."""
    import sys

    total = f" of {len(items)}" if isinstance(items, Sized) else ""
    written = ""
    try:
        for done, item in enumerate(items):
            written = f"{what}: {done}{total}"
            print(f"\r{written}", end="", file=sys.stderr, flush=True)
            yield item
    finally:
        print("\r" + " " * len(written) + "\r", end="", file=sys.stderr, flush=True)
