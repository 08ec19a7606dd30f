"""A .niwaki file that takes numpy arrays and gives numpy arrays: all that `niwaki.predict` knows of running networks.

It needs neither torch nor the code of the network.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from niwaki import _core
from niwaki.errors import NiwakiError

Arrays = list[NDArray[Any]]


@dataclass(frozen=True)
class Port:
    """An input or output: name, dtype, and for each dim a number, the name of a free size, or None where unknown."""

    name: str
    dtype: np.dtype[Any]
    dims: tuple[int | str | None, ...]

    def __str__(self) -> str:
        return f"'{self.name}' ({self.dtype} [{', '.join('?' if dim is None else str(dim) for dim in self.dims)}])"


class Engine:
    """A network of a file, ready to run on rows: each input and output has a row per item in its first dim.

    Attributes:
        inputs, outputs: what the network takes and gives. Where it returns a dict, outputs have the names in it.
        mean, std: of each channel, if the file says how pixels become its input; else empty.
        hints: of the free sizes by their names, what the example had that it was compiled with.
        largest: rows that a run may have at most.

    Args:
        path: of the file.
        entry: which entry point of a file that has several.
        threads: that work on a run.

    Raises:
        NiwakiError: the file can't be read, has several entry points and none was named, or does not keep rows apart.
    """

    def __init__(self, path: str | os.PathLike[str], entry: str | None = None, threads: int = 1) -> None:
        self.path = os.fspath(path)
        graph = _entry(self.path, entry)
        self.inputs = tuple(_port(port, port["name"]) for port in graph.input_ports)
        names = _names(graph)
        self.outputs = tuple(_port(port, names[port["name"]]) for port in graph.output_ports)
        self.mean, self.std = (
            tuple(map(float, filter(None, graph.metadata.get(key, "").split(","))))
            for key in ("image.mean", "image.std")
        )
        self.hints = {str(size["name"]): int(size["hint"]) for size in graph.sizes}
        self._check_rows(graph)
        least, most = self._limits(graph)
        self._least, self.largest = least, most
        self._session = _core.Session(_core.Model(graph, threads=threads), threads)
        self._apart = most == 1

    def _check_rows(self, graph: _core.Graph) -> None:
        if not self.inputs:
            raise NiwakiError(f"{self.path}: the network has no inputs, so there is nothing to predict from.")
        if graph.states:
            raise NiwakiError(
                f"{self.path} is a stream, whose answers follow from what came before; predict needs a network for "
                "whole inputs."
            )
        first = self.inputs[0].dims[:1]
        for port in (*self.inputs, *self.outputs):
            if not port.dims or (port.dims[0] is not None and port.dims[:1] != first):
                raise NiwakiError(
                    f"{self.path}: {port} has no row for each input in its first dim, as {self.inputs[0]} has; predict "
                    "runs networks that answer row by row."
                )

    def _limits(self, graph: _core.Graph) -> tuple[int, int]:
        dim = self.inputs[0].dims[0]
        if isinstance(dim, int):
            if dim < 1:
                raise NiwakiError(f"{self.path}: {self.inputs[0]} takes no rows.")
            return dim, dim
        for size in graph.sizes:
            if size["name"] == dim:
                return max(int(size["low"]), 1), int(size["high"])
        return 1, 2**63 - 1

    def run(self, arrays: Sequence[NDArray[Any]]) -> Arrays:
        """Runs the network.

        Args:
            arrays: for each input an array of its dtype, with the same number of rows, at most `largest`.

        Returns:
            New arrays, one for each output, with as many rows. A network that takes only larger batches is given the
            last row again and again, and these answers are left out.

        Raises:
            ValueError: the network cannot take such sizes or values.
            NiwakiError: the answers of a row depend on the rows beside it. Found out at the first run with two rows.
        """
        outputs = self._padded(arrays)
        if not self._apart and len(arrays[0]) > 1:
            self._check_apart(arrays, outputs)
            self._apart = True
        return outputs

    def _padded(self, arrays: Sequence[NDArray[Any]]) -> Arrays:
        rows = len(arrays[0])
        if rows < self._least:
            arrays = [np.concatenate([array, np.repeat(array[-1:], self._least - rows, axis=0)]) for array in arrays]
        return [array[:rows] for array in self._run(arrays)]

    def _run(self, arrays: Sequence[NDArray[Any]]) -> Arrays:
        dense = [np.ascontiguousarray(array) for array in arrays]
        for array, port in zip(dense, self.inputs, strict=True):
            if array.dtype != port.dtype:
                raise ValueError(f"input {port}: an array of {array.dtype} was given.")
        rows = len(dense[0])
        shapes = self._session.output_shapes([array.shape for array in dense])
        for shape, port in zip(shapes, self.outputs, strict=True):
            if not shape or shape[0] != rows:
                raise NiwakiError(f"{self.path}: output {port} has the shape {list(shape)} for {rows} rows.")
        outputs: Arrays = [np.empty(shape, port.dtype) for shape, port in zip(shapes, self.outputs, strict=True)]
        self._session.run(
            [(array.ctypes.data, array.shape) for array in dense], [array.ctypes.data for array in outputs]
        )
        return outputs

    def _check_apart(self, arrays: Sequence[NDArray[Any]], outputs: Arrays) -> None:
        """The last row among copies of itself has the answers that it has among the others, or batches are wrong."""
        alone = self._padded([np.repeat(array[-1:], len(array), axis=0) for array in arrays])
        for port, one, other in zip(self.outputs, alone, outputs, strict=True):
            if one[-1].tobytes() != other[-1].tobytes():
                raise NiwakiError(
                    f"{self.path}: output {port} of a row depends on the rows beside it, so batches would change the "
                    "answers; use a batch of 1, if the network takes one."
                )

    def check(self, rows: Sequence[tuple[int, ...]]) -> None:
        """Says whether it takes rows of these shapes, one for each input. Raises NiwakiError where it does not."""
        try:
            self._session.output_shapes([(self._least, *shape) for shape in rows])
        except ValueError as error:
            raise NiwakiError(
                f"{self.path} does not take rows of {', '.join(map(str, map(list, rows)))}: {error}"
            ) from error

    def bytes_per_row(self, arrays: Sequence[NDArray[Any]]) -> int:
        """Bytes of all answers to a row, for inputs with rows like these. Raises ValueError where they don't fit."""
        shapes = self._session.output_shapes([(self._least, *array.shape[1:]) for array in arrays])
        pairs = zip(shapes, self.outputs, strict=True)
        return sum(int(np.prod(shape[1:], dtype=np.int64)) * port.dtype.itemsize for shape, port in pairs)


def _entry(path: str, entry: str | None) -> _core.Graph:
    entries = dict(_core.load_entries(path))
    if entry is None and len(entries) == 1:
        return next(iter(entries.values()))
    if entry in entries and entry is not None:
        return entries[entry]
    names = ", ".join(filter(None, entries)) or "none"
    if entry is None:
        raise NiwakiError(f"{path} has several entry points: {names}; say which with entry (--entry NAME).")
    raise NiwakiError(f"{path} has no entry point '{entry}'; there are: {names}.")


def _port(port: dict[str, Any], name: str) -> Port:
    return Port(name, np.dtype(port["dtype"]), tuple(port["dims"]))


def _names(graph: _core.Graph) -> dict[str, str]:
    """What to call the outputs: by the keys of the dict that the module returned, else as the graph does."""
    names = {name: name for name in graph.outputs}
    try:
        saved = json.loads(graph.metadata["signature"])
        result, order = saved["result"], saved["outputs"]
        ((kind, content),) = result.items()
        if kind in ("record", "dict", "named"):
            pairs = content[1] if kind == "named" else content
            called = {order[part["output"]]: str(key) for key, part in pairs if "output" in part}
            if len(set(called.values())) == len(called) and not set(called.values()) & (set(names) - set(called)):
                names |= called
    except (KeyError, ValueError, TypeError, IndexError, AttributeError):
        pass  # a file from elsewhere
    return names
