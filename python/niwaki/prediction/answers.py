"""From batches of inputs to tables of answers."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from niwaki.errors import NiwakiError
from niwaki.prediction.batch import Batch, Group, Source
from niwaki.prediction.columns import Columns
from niwaki.prediction.engine import Engine

Item = TypeVar("Item")
AHEAD = 2
"""Batches that wait for the network while it runs."""


def schema_of(source: Source, columns: Columns) -> pa.Schema:
    """The columns of the answers: row, what goes along, the outputs, error.

    Raises:
        NiwakiError: two of them have one name.
    """
    fields = [("row", pa.int64()), *source.beside, *columns.fields, ("error", pa.string())]
    names = [name for name, _ in fields]
    for name in names:
        if names.count(name) > 1:
            raise NiwakiError(f"two columns of the answers would be called '{name}'; leave one of them out.")
    return pa.schema(fields)


def answer(batch: Batch, engine: Engine, columns: Columns, schema: pa.Schema) -> pa.RecordBatch:
    """The answers to a batch, in the order of its rows; where a row has none, `error` says why."""
    errors = dict(batch.errors)
    parts: list[tuple[Any, list[pa.Array]]] = []
    for group in batch.groups:
        parts += _run(group, engine, columns, errors)
    missing = np.array(sorted(errors), np.int64)
    parts.append((missing, columns.empty(len(missing))))
    order = pa.array(np.argsort(np.concatenate([places for places, _ in parts]), kind="stable"))
    values = [
        _joined([arrays[index] for _, arrays in parts], order, kind) for index, (_, kind) in enumerate(columns.fields)
    ]
    rows = pa.array(np.arange(batch.first, batch.first + batch.rows))
    text = pa.array([errors.get(place) for place in range(batch.rows)], pa.string()) if errors else None
    beside = list(batch.beside.values())
    return pa.RecordBatch.from_arrays(
        [rows, *beside, *values, pa.nulls(batch.rows, pa.string()) if text is None else text], schema=schema
    )


def _joined(arrays: list[pa.Array], order: pa.Array, kind: pa.DataType) -> pa.Array:
    filled = [array for array in arrays if len(array)]
    if len(filled) == 1:
        return filled[0].take(order) if filled[0].null_count else filled[0]
    return pa.concat_arrays([array.cast(kind) for array in filled]).take(order) if filled else pa.nulls(0, kind)


def _run(group: Group, engine: Engine, columns: Columns, errors: dict[int, str]) -> list[tuple[Any, list[pa.Array]]]:
    """Answers to rows that fit together. What is wrong with a row goes into errors, and the others are run again."""
    try:
        made, wrong = columns.made(engine.run(group.arrays))
    except (ValueError, IndexError) as error:
        if len(group.places) == 1:
            errors[int(group.places[0])] = " ".join(str(error).split())
            return []
        found = []
        for index in range(len(group.places)):
            one = Group(group.places[index : index + 1], [array[index : index + 1] for array in group.arrays])
            found += _run(one, engine, columns, errors)
        return found
    if not wrong:
        return [(group.places, made)]
    errors |= {int(group.places[index]): text for index, text in wrong.items()}
    right = np.array([index for index in range(len(group.places)) if index not in wrong], np.int64)
    return [(group.places[right], [array.take(pa.array(right)) for array in made])]


@contextmanager
def ahead(items: Iterator[Item], count: int = AHEAD) -> Iterator[Iterator[Item]]:
    """The items, of which a thread makes up to `count` before they are asked for. At the end the thread is stopped."""
    waiting: queue.Queue[tuple[str, Any]] = queue.Queue(count)
    stop = threading.Event()

    def put(kind: str, value: Any) -> bool:
        while not stop.is_set():
            try:
                waiting.put((kind, value), timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put("item", item):
                    return
            put("end", None)
        except BaseException as error:  # for who waits for the item
            put("error", error)

    def taken() -> Iterator[Item]:
        while True:
            kind, value = waiting.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value

    thread = threading.Thread(target=work, name="niwaki-read", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        stop.set()
        thread.join()


def errors_in(batches: Sequence[pa.RecordBatch]) -> int:
    """How many rows have an error."""
    return sum(batch.num_rows - batch.column("error").null_count for batch in batches)
