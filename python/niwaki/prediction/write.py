"""Writes the answers of a part, and keeps those who wait informed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from niwaki.prediction.part import KEY, TableWriter, appearing

if TYPE_CHECKING:
    from niwaki.prediction.batch import Share
    from niwaki.prediction.job import Worker

Tick = Callable[[int, int], None]
"""Called with the rows that were just done, and how many of them have an error."""


def write_part(worker: Worker, share: Share, path: Path, tick: Tick) -> None:
    """Answers the rows of a part into a file.

    Raises:
        NiwakiError: it can't be read or written, or the job is strict and a row went wrong.
    """
    with appearing(path) as file:
        _write(worker, share, file, path, tick)


def part_as_bytes(worker: Worker, share: Share) -> bytes:
    """The same into memory: what the file would hold."""
    sink = pa.BufferOutputStream()
    _write(worker, share, sink, Path("memory"), lambda rows, errors: None)
    return bytes(sink.getvalue())


def _write(worker: Worker, share: Share, file: Any, path: Path, tick: Tick) -> None:
    with TableWriter(file, worker.schema, path) as writer:
        for batch in worker.answers(share):
            before = writer.errors
            writer.write(batch)
            tick(batch.num_rows, writer.errors - before)
        writer.close({KEY: worker.job.key})
