"""Rows of a .parquet file: a column of numbers or lists for each input of the network."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from niwaki.errors import NiwakiError, first_sentence
from niwaki.prediction.batch import Batch, Group, Share, convert

if TYPE_CHECKING:
    from pathlib import Path

    from niwaki.prediction.engine import Engine, Port


class TableSource:
    """Rows of a .parquet file.

    Args:
        path: of the file. Columns named like the network's inputs hold numbers (for [batch]) or lists, nested as the
            input's dims are; flat lists do where all dims but the first are fixed.
        engine: of the network.
        keep: columns that go into the answers as they are.
        limit: so many rows at most.

    Raises:
        NiwakiError: the file can't be read, or lacks a column.
    """

    usual_part = 16384
    least_part = 1024

    def __init__(self, path: Path, engine: Engine, keep: Sequence[str] = (), limit: int | None = None) -> None:
        self.path = os.path.abspath(path)
        self.ports = engine.inputs
        self.keep = tuple(keep)
        with self._opened() as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
        self.rows = rows if limit is None else min(rows, limit)
        for port in self.ports:
            if port.name not in schema.names:
                raise NiwakiError(
                    f"'{path}' has no column for input {port}; name one so. It has: {', '.join(schema.names)}."
                )
        for name in self.keep:
            if name not in schema.names:
                raise NiwakiError(f"'{path}' has no column '{name}' to keep; it has: {', '.join(schema.names)}.")
        self._kept = [(name, schema.field(name).type) for name in self.keep]
        self._cursor: _Cursor | None = None

    @property
    def beside(self) -> list[tuple[str, pa.DataType]]:
        return self._kept

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cursor": None}

    def _opened(self) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self.path, pre_buffer=False, buffer_size=1 << 20)
        except (OSError, pa.ArrowException) as error:
            raise NiwakiError(f"'{self.path}' cannot be read as a .parquet file: {first_sentence(error)}.") from error

    def identity(self) -> str:
        status = os.stat(self.path)
        digest = hashlib.sha256(repr((status.st_size, status.st_mtime_ns)).encode())
        with open(self.path, "rb") as file:
            digest.update(file.read(1 << 20))
            file.seek(max(0, status.st_size - (1 << 20)))
            digest.update(file.read())
        return digest.hexdigest()

    def share(self, first: int, last: int) -> Share:
        return Share(first, last)

    def batches(self, share: Share, rows: int) -> Iterator[Batch]:
        names = list(dict.fromkeys([port.name for port in self.ports] + list(self.keep)))
        try:
            if self._cursor is None or not self._cursor.can_reach(share.first):
                self._cursor = _Cursor(self._opened(), names, share.first, rows)
            self._cursor.skip_to(share.first)
            for first in range(share.first, share.last, rows):
                count = min(rows, share.last - first)
                table = self._cursor.take(count)
                groups, errors = grouped([table.column(port.name) for port in self.ports], self.ports)
                beside = {name: _one(table.column(name)) for name in self.keep}
                yield Batch(first, count, groups, errors, beside)
        except (OSError, pa.ArrowException) as error:
            self._cursor = None
            raise NiwakiError(f"'{self.path}' cannot be read: {first_sentence(error)}.") from error


class _Cursor:
    """A place in a file from which one reads on. Rows are decoded in their order; to skip some is to decode them."""

    def __init__(self, file: pq.ParquetFile, names: list[str], first: int, rows: int) -> None:
        counts = [file.metadata.row_group(index).num_rows for index in range(file.metadata.num_row_groups)]
        self.begins = np.cumsum([0, *counts])
        group = int(np.searchsorted(self.begins, first, side="right")) - 1
        self.place = int(self.begins[group])
        groups = list(range(group, len(counts)))
        self.iterator = file.iter_batches(batch_size=rows, row_groups=groups, columns=names, use_threads=False)
        self.left: pa.Table | None = None

    def can_reach(self, first: int) -> bool:
        """Whether reading on from here is the shortest way."""
        groups = np.searchsorted(self.begins, [self.place, first], side="right")
        return self.place <= first and bool(groups[1] - groups[0] <= 1)

    def skip_to(self, first: int) -> None:
        while self.place < first:
            self.take(min(first - self.place, 1024))

    def take(self, rows: int) -> pa.Table:
        """The next rows."""
        parts: list[pa.Table] = []
        missing = rows
        while missing:
            table = self.left if self.left is not None else pa.Table.from_batches([next(self.iterator)])
            parts.append(table.slice(0, missing))
            self.left = table.slice(missing) if table.num_rows > missing else None
            missing -= parts[-1].num_rows
        self.place += rows
        return pa.concat_tables(parts)


def _one(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    return combined if isinstance(combined, pa.Array) else pa.concat_arrays(combined.chunks)


def grouped(columns: Sequence[pa.ChunkedArray], ports: Sequence[Port]) -> tuple[list[Group], dict[int, str]]:
    """Columns as arrays: rows with the same shapes together, and what is wrong with the others."""
    arrays = [_one(column) for column in columns]
    rows = len(arrays[0])
    try:
        whole = [_dense(array, port) for array, port in zip(arrays, ports, strict=True)]
        return [Group(np.arange(rows), whole)], {}
    except ValueError:
        pass  # they differ, or some are wrong: row by row
    errors: dict[int, str] = {}
    found: dict[tuple[tuple[int, ...], ...], list[tuple[int, list[NDArray[Any]]]]] = {}
    for row in range(rows):
        try:
            values = [_dense(array.slice(row, 1), port) for array, port in zip(arrays, ports, strict=True)]
        except ValueError as error:
            errors[row] = f"{str(error)[:1].upper()}{str(error)[1:]}."
            continue
        found.setdefault(tuple(value.shape for value in values), []).append((row, values))
    groups = []
    for members in found.values():
        places = np.array([row for row, _ in members], np.int64)
        groups.append(
            Group(places, [np.concatenate(each) for each in zip(*(values for _, values in members), strict=True)])
        )
    return groups, errors


def _dense(array: pa.Array, port: Port) -> NDArray[Any]:
    """Rows of numbers or nested lists as one array with the dtype and the rank of an input.

    Raises:
        ValueError: lists have different lengths, something is missing, or it does not fit the input.
    """
    shape = [len(array)]
    while pa.types.is_list(array.type) or pa.types.is_large_list(array.type) or pa.types.is_fixed_size_list(array.type):
        if array.null_count:
            raise ValueError(f"input {port}: the list is missing (null)")
        if pa.types.is_fixed_size_list(array.type):
            length = array.type.list_size
        else:
            lengths = np.diff(array.offsets.to_numpy())
            length = int(lengths[0]) if len(lengths) else 0
            if (lengths != length).any():
                raise ValueError(f"input {port}: lists within a row have different lengths")
        shape.append(length)
        array = array.flatten()
    if array.null_count:
        raise ValueError(f"input {port}: a number is missing (null)")
    if not (pa.types.is_primitive(array.type) and not pa.types.is_temporal(array.type)):
        raise ValueError(f"input {port}: {array.type} is neither a number nor a list of numbers")
    values: NDArray[Any] = array.to_numpy(zero_copy_only=False).reshape(shape)
    fixed = [dim for dim in port.dims[1:] if isinstance(dim, int)]
    if len(shape) == 2 and len(port.dims) > 2 and len(fixed) == len(port.dims) - 1 and np.prod(fixed) == shape[1]:
        values = values.reshape(shape[0], *fixed)
    if values.ndim != len(port.dims):
        raise ValueError(f"input {port}: a row has {values.ndim - 1} dims {list(values.shape[1:])}")
    return convert(values, port)
