"""Rows of .npy files. They are read where they are needed, with no more in memory than a batch."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from niwaki.errors import NiwakiError, first_sentence
from niwaki.prediction.batch import Batch, Group, Share, convert
from niwaki.prediction.picture import normalize

if TYPE_CHECKING:
    import pyarrow as pa

    from niwaki.prediction.engine import Engine, Port
    from niwaki.prediction.pictures import PictureConfig


@dataclass(frozen=True)
class ArrayFile:
    """A .npy file: where its elements begin, and what they are."""

    path: str
    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    rows_in_order: bool

    @classmethod
    def opened(cls, path: Path) -> ArrayFile:
        """Reads the head of a file. Raises NiwakiError where it is no array of rows."""
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except ValueError as error:
            if _is_empty(path):
                array = np.load(path, allow_pickle=False)
            else:
                raise NiwakiError(f"'{path}' cannot be read as a .npy file: {first_sentence(error)}.") from error
        except OSError as error:
            raise NiwakiError(f"'{path}' cannot be read: {first_sentence(error)}.") from error
        if not isinstance(array, np.ndarray) or array.ndim == 0:
            raise NiwakiError(f"'{path}' holds no array with a row for each input.")
        offset = array.offset if isinstance(array, np.memmap) else 0
        return cls(os.path.abspath(path), offset, array.dtype, array.shape, bool(array.flags.c_contiguous))

    def read(self, first: int, last: int) -> NDArray[Any]:
        """Rows [first, last). Not by a mapping: what was read through one stays in the process's memory."""
        shape = (last - first, *self.shape[1:])
        if not self.rows_in_order:
            return np.array(np.load(self.path, mmap_mode="r", allow_pickle=False)[first:last])
        size = int(np.prod(self.shape[1:], dtype=np.int64))
        try:
            with open(self.path, "rb") as file:
                file.seek(self.offset + first * size * self.dtype.itemsize)
                array = np.fromfile(file, self.dtype, size * (last - first))
        except OSError as error:
            raise NiwakiError(f"'{self.path}' cannot be read: {first_sentence(error)}.") from error
        if array.size != size * (last - first):
            raise NiwakiError(f"'{self.path}' has become shorter than it was.")
        return array.reshape(shape)


def _is_empty(path: Path) -> bool:
    """An array without elements cannot be mapped."""
    try:
        return bool(np.load(path, allow_pickle=False).size == 0)
    except (ValueError, OSError):
        return False


class ArraySource:
    """Rows of arrays, one .npy file for each input.

    Args:
        files: their paths, in the order of the inputs.
        engine: whose inputs they are.
        config: mean and std of uint8 pixels, where the file does not say them.
        limit: so many rows at most.

    Raises:
        NiwakiError: a file can't be read, or does not fit the network.
    """

    usual_part = 16384
    least_part = 1024
    beside: list[tuple[str, pa.DataType]] = []  # noqa: RUF012

    def __init__(self, files: Sequence[Path], engine: Engine, config: PictureConfig, limit: int | None = None) -> None:
        self.files = [ArrayFile.opened(path) for path in files]
        self.ports = engine.inputs
        self.mean, self.std = tuple(config.mean or engine.mean), tuple(config.std or engine.std)
        counts = {file.shape[0] for file in self.files}
        if len(counts) > 1:
            raise NiwakiError(
                "the .npy files have different numbers of rows: " + ", ".join(map(str, sorted(counts))) + "."
            )
        (self.rows,) = counts
        self.rows = self.rows if limit is None else min(self.rows, limit)
        for file, port in zip(self.files, self.ports, strict=True):
            self._check(file, port)
        engine.check([file.shape[1:] for file in self.files])

    def _check(self, file: ArrayFile, port: Port) -> None:
        fits = len(file.shape) == len(port.dims) and all(
            length == dim for length, dim in zip(file.shape[1:], port.dims[1:], strict=True) if isinstance(dim, int)
        )
        if not fits:
            raise NiwakiError(f"'{file.path}': its rows {list(file.shape[1:])} do not fit input {port}.")
        if file.dtype == np.uint8 and port.dtype == np.float32 and not self._pixels(file.dtype, port):
            raise NiwakiError(
                f"'{file.path}' holds uint8, and the network takes float32 without saying how pixels become that; give "
                "its mean and std (--mean, --std)."
            )
        try:
            convert(np.zeros(0, file.dtype), port) if not self._pixels(file.dtype, port) else None
        except ValueError as error:
            raise NiwakiError(f"'{file.path}': {error}.") from error

    def _pixels(self, dtype: np.dtype[Any], port: Port) -> bool:
        """Whether pixels are meant, which have to be normalized."""
        images = port.dtype == np.float32 and len(port.dims) == 4
        return bool(dtype == np.uint8 and images and self.mean and len(self.mean) == len(self.std) == port.dims[1])

    def identity(self) -> str:
        digest = hashlib.sha256(repr((self.mean, self.std)).encode())
        for file in self.files:
            status = os.stat(file.path)
            digest.update(repr((status.st_size, status.st_mtime_ns, file.dtype.str, file.shape)).encode())
            with open(file.path, "rb") as content:
                digest.update(content.read(1 << 20))
        return digest.hexdigest()

    def share(self, first: int, last: int) -> Share:
        return Share(first, last)

    def batches(self, share: Share, rows: int) -> Iterator[Batch]:
        for first in range(share.first, share.last, rows):
            last = min(first + rows, share.last)
            arrays: list[NDArray[Any]] = []
            errors: dict[int, str] = {}
            for file, port in zip(self.files, self.ports, strict=True):
                array = file.read(first, last)
                if self._pixels(file.dtype, port):
                    arrays.append(normalize(array, self.mean, self.std))
                    continue
                try:
                    arrays.append(convert(array, port))
                except ValueError:  # a number that does not fit: in which rows?
                    errors |= _unfit(array, port)
                    arrays.append(array)
            places = np.array([place for place in range(last - first) if place not in errors], np.int64)
            if errors:
                arrays = [convert(array[places], port) for array, port in zip(arrays, self.ports, strict=True)]
            yield Batch(first, last - first, [Group(places, arrays)] if len(places) else [], errors)


def _unfit(array: NDArray[Any], port: Port) -> dict[int, str]:
    errors = {}
    for place, row in enumerate(array):
        try:
            convert(row, port)
        except ValueError as error:
            errors[place] = str(error)
    return errors
