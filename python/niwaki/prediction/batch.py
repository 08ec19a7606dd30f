"""What sources hand over: rows as arrays, and a sentence for each row that went wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

    from niwaki.prediction.engine import Port


@dataclass(frozen=True)
class Group:
    """Rows whose arrays have the same shapes, so that they can run together.

    Attributes:
        places: of the rows in their batch.
        arrays: for each input of the network, [len(places), ...].
    """

    places: NDArray[np.int64]
    arrays: list[NDArray[Any]]


@dataclass(frozen=True)
class Batch:
    """Some rows, one after the other.

    Attributes:
        first: number of the first row.
        rows: how many there are.
        groups: their arrays.
        errors: what is wrong with those that are in no group: {place: sentence}.
        beside: columns that go into the answers as they are.
    """

    first: int
    rows: int
    groups: list[Group]
    errors: dict[int, str] = field(default_factory=dict)
    beside: dict[str, pa.Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Share:
    """Rows [first, last) of a source; `paths` where a row is a file. It travels to other processes."""

    first: int
    last: int
    paths: tuple[str, ...] = ()


class Source(Protocol):
    """Where rows come from. It can be pickled, and does not carry the paths of files then: shares do.

    Attributes:
        rows: how many there are.
        beside: names and types of the columns that go along.
        usual_part, least_part: rows of a part, about, of a large and of a small job, where answers are small.
    """

    rows: int
    usual_part: int
    least_part: int

    @property
    def beside(self) -> list[tuple[str, pa.DataType]]: ...

    def identity(self) -> str:
        """A digest that is another one after the inputs have changed."""

    def share(self, first: int, last: int) -> Share:
        """Some of the rows."""

    def batches(self, share: Share, rows: int) -> Iterator[Batch]:
        """Reads them, at most `rows` at a time.

        Raises:
            NiwakiError: they can't be read at all. What is wrong with a row stands in the batch's errors.
        """


def convert(array: NDArray[Any], port: Port) -> NDArray[Any]:
    """An array with the dtype of an input. Floats may be rounded to float32; whole numbers have to fit.

    Raises:
        ValueError: they don't, or floats are expected and whole numbers given, or the other way round.
    """
    if array.dtype == port.dtype:
        return array
    found, wanted = array.dtype.kind, port.dtype.kind
    if found == "f" and wanted == "f":
        with np.errstate(over="ignore"):
            return array.astype(port.dtype)
    if found in "iu" and wanted in "iu":
        limits = np.iinfo(port.dtype)
        if array.size and (int(array.min()) < limits.min or int(array.max()) > limits.max):
            raise ValueError(f"input {port}: a number lies outside of {limits.min} to {limits.max}")
        return array.astype(port.dtype)
    if array.dtype.newbyteorder("=") == port.dtype:
        return array.astype(port.dtype)
    raise ValueError(f"input {port}: elements are {array.dtype}, which is no {port.dtype}; convert them first")
