"""Answers of a network as columns of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from niwaki.errors import NiwakiError

if TYPE_CHECKING:
    from niwaki.prediction.engine import Engine, Port


@dataclass(frozen=True, kw_only=True)
class ColumnConfig:
    """What of the answers is kept.

    Attributes:
        columns: names of outputs; None for all.
        top: instead of all scores of a classifier, the best so many: columns class and score for 1, else lists
            classes and scores, the best first; of equal ones, the first class.
        softmax: scores become probabilities that add up to 1.
        labels: names of the classes; then they are strings.
    """

    columns: tuple[str, ...] | None = None
    top: int | None = None
    softmax: bool = False
    labels: tuple[str, ...] | None = None


class Columns:
    """Makes columns of the outputs of a network.

    Attributes:
        fields: their names and types.
        places: which of the network's outputs they are made of.

    Raises:
        NiwakiError: an output is not there, or the options do not fit.
    """

    def __init__(self, engine: Engine, config: ColumnConfig) -> None:
        self.config = config
        names = [port.name for port in engine.outputs]
        wanted = names if config.columns is None else list(config.columns)
        for name in wanted:
            if name not in names:
                raise NiwakiError(f"{engine.path} has no output '{name}'; it has: {', '.join(names)}.")
        if len(set(wanted)) != len(wanted) or not wanted:
            raise NiwakiError("each output may be named once, and one at least.")
        self.places = [names.index(name) for name in wanted]
        self._ports = [engine.outputs[place] for place in self.places]
        if config.top is None:
            if config.softmax or config.labels is not None:
                raise NiwakiError("softmax and labels are for the classes of a classifier; give top (--top 1), too.")
            self.fields = [(port.name, _type(port)) for port in self._ports]
        else:
            self.fields = self._best_fields(engine.path, config)

    def _best_fields(self, path: str, config: ColumnConfig) -> list[tuple[str, pa.DataType]]:
        assert config.top is not None
        if len(self._ports) != 1:
            raise NiwakiError(
                f"{path} has several outputs: {', '.join(port.name for port in self._ports)}; say whose best scores "
                "are wanted (--columns NAME)."
            )
        (port,) = self._ports
        if len(port.dims) != 2 or port.dtype != np.float32:
            raise NiwakiError(f"output {port} is not the scores of classes [N, classes], so there are no best ones.")
        classes = port.dims[1]
        if isinstance(classes, int) and not 1 <= config.top <= classes:
            raise NiwakiError(
                f"output {port} has {classes} classes, so top has to be 1 to {classes}, not {config.top}."
            )
        if config.labels is not None and isinstance(classes, int) and len(config.labels) != classes:
            raise NiwakiError(f"output {port} has {classes} classes, and there are {len(config.labels)} labels.")
        kind = pa.int32() if config.labels is None else pa.string()
        if config.top == 1:
            return [("class", kind), ("score", pa.float32())]
        return [("classes", pa.list_(kind)), ("scores", pa.list_(pa.float32()))]

    def made(self, outputs: Sequence[NDArray[Any]]) -> tuple[list[pa.Array], dict[int, str]]:
        """Columns with a value for each row, and what is wrong with rows that have none, by place."""
        chosen = [outputs[place] for place in self.places]
        if self.config.top is None:
            return [_nested(array) for array in chosen], {}
        return self._best(chosen[0], self.config.top)

    def _best(self, scores: NDArray[Any], top: int) -> tuple[list[pa.Array], dict[int, str]]:
        classes = scores.shape[1]
        if top > classes or (self.config.labels is not None and len(self.config.labels) != classes):
            raise ValueError(f"the network gives scores for {classes} classes, fewer or more than asked for")
        order = np.argsort(-scores, axis=1, kind="stable")[:, :top] if top > 1 else scores.argmax(axis=1)[:, None]
        best = np.take_along_axis(scores, order, axis=1)
        if self.config.softmax:
            best = _probabilities(scores, best)
        wrong = np.isnan(scores).any(axis=1) | np.isnan(best).any(axis=1)
        errors = {int(row): "The network's scores are not numbers (NaN)." for row in np.flatnonzero(wrong)}
        labels = self.config.labels
        names = pa.array(order.ravel().astype(np.int32))
        if labels is not None:
            names = pa.array(labels, pa.string()).take(names)
        values = pa.array(best.astype(np.float32).ravel())
        if top == 1:
            return [names, values], errors
        offsets = pa.array(np.arange(len(scores) + 1, dtype=np.int32) * top)
        return [pa.ListArray.from_arrays(offsets, names), pa.ListArray.from_arrays(offsets, values)], errors

    def empty(self, rows: int) -> list[pa.Array]:
        """Columns of rows without an answer."""
        return [pa.nulls(rows, kind) for _, kind in self.fields]


def _probabilities(scores: NDArray[Any], best: NDArray[Any]) -> NDArray[Any]:
    with np.errstate(invalid="ignore"):
        highest = scores.max(axis=1, keepdims=True).astype(np.float64)
        total = np.exp(scores - highest).sum(axis=1, keepdims=True)
        return np.asarray(np.exp(best - highest) / total)


def _type(port: Port) -> pa.DataType:
    kind = pa.from_numpy_dtype(port.dtype)
    for _ in port.dims[1:]:
        kind = pa.list_(kind)
    return kind


def _nested(array: NDArray[Any]) -> pa.Array:
    """[N, ...] as N values, or lists of lists."""
    column = pa.array(np.ascontiguousarray(array).ravel())
    for depth in range(array.ndim - 1, 0, -1):
        count = int(np.prod(array.shape[:depth], dtype=np.int64))
        offsets = np.arange(count + 1, dtype=np.int64) * array.shape[depth]
        if offsets[-1] > np.iinfo(np.int32).max:
            raise NiwakiError("the answers of a batch are too large for a table; use a smaller batch.")
        column = pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), column)
    return column
