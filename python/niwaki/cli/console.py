"""What the commands share: errors that need no traceback, notes and progress bars on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Generic, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Item = TypeVar("Item")


class UsageError(Exception):
    """Something that the person at the shell can put right; the text is one sentence that says how."""


def note(text: str) -> None:
    """Says something on stderr, where it does not get into the way of --json."""
    print(f"niwaki: {text}", file=sys.stderr)


def track(items: Iterable[Item], what: str, total: int) -> Iterator[Item]:
    """Yields the items and shows a progress bar with the time left, if stderr is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield from progress.track(items, total=total, description=what)


class Tracked(Generic[Item]):
    """A sequence's items, with a progress bar each time one walks through them."""

    def __init__(self, items: Sequence[Item], what: str) -> None:
        self._items = items
        self._what = what

    @property
    def first(self) -> Item:
        return self._items[0]

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Item]:
        return track(self._items, self._what, len(self._items))
