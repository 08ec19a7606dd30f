"""Parts: .parquet files that are there complete, or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from niwaki.errors import NiwakiError, first_sentence

KEY, ROWS, ERRORS, IDENTITY = b"niwaki.key", b"niwaki.rows", b"niwaki.errors", b"niwaki.identity"
GROUP_BYTES = 8 << 20
GROUP_ROWS = 1 << 16
"""What is gathered before it is written."""


@contextlib.contextmanager
def refusing(path: Path) -> Iterator[None]:
    """An error of the disk as one sentence."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise NiwakiError(
            f"'{path}' cannot be written ({first_sentence(error)}); what was done before is kept: make room or choose "
            "another place, and run the same command again."
        ) from error


@contextlib.contextmanager
def appearing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write, which appears under its name when it is complete and on the disk."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.unfinished")
    try:
        with refusing(path):
            file = open(unfinished, "wb")  # noqa: SIM115
        with contextlib.closing(file):
            yield file
            with refusing(path):
                file.flush()
                os.fsync(file.fileno())
        with refusing(path):
            os.replace(unfinished, path)
            _remember_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)


def _remember_folder(folder: Path) -> None:
    """Names of files, too, survive a loss of power then."""
    with contextlib.suppress(OSError):  # not every file system can
        place = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(place)
        finally:
            os.close(place)


class TableWriter:
    """Writes batches into a .parquet file, some megabytes at a time.

    Args:
        file: to write into.
        schema: of the batches.
        path: what messages call it.
    """

    def __init__(self, file: Any, schema: pa.Schema, path: Path) -> None:
        self._path = path
        words = [field.name for field in schema if not _is_numbers(field.type)]
        self._writer = pq.ParquetWriter(file, schema, compression="zstd", use_dictionary=words)
        self._schema = schema
        self._gathered: list[pa.RecordBatch] = []
        self._bytes = self._waiting = 0
        self.rows = self.errors = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Adds rows."""
        self._gathered.append(batch)
        self._bytes += batch.get_total_buffer_size()
        self._waiting += batch.num_rows
        self.rows += batch.num_rows
        self.errors += batch.num_rows - batch.column("error").null_count
        if self._bytes >= GROUP_BYTES or self._waiting >= GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        table = pa.Table.from_batches(self._gathered, self._schema)
        with refusing(self._path):
            self._writer.write_table(table, row_group_size=GROUP_ROWS)
        self._gathered, self._bytes, self._waiting = [], 0, 0

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:  # what it is writing will be deleted, and must not be written on to later
            with contextlib.suppress(Exception):
                self._writer.close()

    def close(self, words: dict[bytes, str]) -> None:
        """Ends the file, which says of itself these words, and how many rows and errors it has."""
        if self._gathered:
            self._flush()
        counts = {ROWS: str(self.rows), ERRORS: str(self.errors)}
        self._writer.add_key_value_metadata({key.decode(): value for key, value in (words | counts).items()})
        with refusing(self._path):
            self._writer.close()


def _is_numbers(kind: pa.DataType) -> bool:
    while pa.types.is_list(kind):
        kind = kind.value_type
    return bool(pa.types.is_floating(kind) or pa.types.is_int64(kind))


def words_of(path: Path) -> dict[bytes, bytes] | None:
    """What a .parquet file says of itself; None where it is none."""
    try:
        return dict(pq.read_metadata(path).metadata or {})
    except (OSError, pa.ArrowException):
        return None
