"""How far it is, told on stderr: a bar on a terminal, elsewhere a line from time to time."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

EVERY = 30.0
"""Seconds between lines."""


class Meter:
    """Counts rows that are done. Used with `with`.

    Args:
        total: rows of the job.
        before: of them those that an earlier run has done.
        shown: whether to say anything.
    """

    def __init__(self, total: int, before: int, shown: bool) -> None:
        self.total, self.before, self.done, self.errors = total, before, 0, 0
        self._shown = shown
        self._bar: Any = None
        self._begin = self._said = time.monotonic()

    def __enter__(self) -> Meter:
        if not self._shown or not self.total:
            return self
        if self.before:
            print(f"niwaki: going on after {self.before:,} of {self.total:,} rows", file=sys.stderr)
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (
                TextColumn("predicting"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
                TextColumn("left"), TimeRemainingColumn(),
            )  # fmt: skip
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task("", total=self.total, completed=self.before, rate="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    @property
    def seconds(self) -> float:
        """Since it was made."""
        return time.monotonic() - self._begin

    def tick(self, rows: int, errors: int) -> None:
        """Counts rows, and how many of them have an error."""
        self.done += rows
        self.errors += errors
        if self._bar is not None:
            self._bar.update(self._task, advance=rows, rate=f"{self.done / max(self.seconds, 1e-9):,.0f} rows/s")
        elif self._shown and time.monotonic() - self._said >= EVERY:
            self._said = time.monotonic()
            rate = self.done / self.seconds
            left = (self.total - self.before - self.done) / rate if rate else 0.0
            wrong = f", {self.errors:,} with an error" if self.errors else ""
            print(
                f"niwaki: {self.before + self.done:,} of {self.total:,} rows, {rate:,.0f} rows/s{wrong}, "
                f"about {left:,.0f} s left",
                file=sys.stderr,
            )
