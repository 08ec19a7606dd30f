"""The table of layers: its columns, and in which order they join it where there is room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from niwaki.report.rows import LayerReport
from niwaki.runtime.narrow import by_reason
from niwaki.runtime.text import format_bytes


@dataclass(frozen=True)
class Column:
    """A column of the table.

    Attributes:
        name: in its head.
        text: a layer's cell.
        value: what the page sorts by.
        right: whether it is aligned to the right.
        hint: what the column means, for the page.
    """

    name: str
    text: Callable[[LayerReport], str]
    value: Callable[[LayerReport], float | str | None]
    right: bool = True
    hint: str = ""


def _percent(value: float | None, digits: int = 1) -> str:
    return "" if value is None else f"{value:.{digits}%}"


def _share(row: LayerReport) -> float | None:
    return row.bytes / row.float_bytes if row.float_bytes else None


COLUMNS = (
    Column("layer", lambda row: row.name, lambda row: row.name, False),
    Column("op", lambda row: row.op, lambda row: row.op, False),
    Column("kept as", lambda row: row.scheme, lambda row: row.scheme, False, "how its weights lie in the file"),
    Column("bits", lambda row: str(row.bits), lambda row: row.bits, hint="of a weight"),
    Column("zeros", lambda row: f"{row.zeros:.1%}", lambda row: row.zeros, hint="share of the weights"),
    Column("in file", lambda row: format_bytes(row.bytes), lambda row: row.bytes, hint="weights, scales and biases"),
    Column("outputs", lambda row: _percent(row.output_error), lambda row: row.output_error,
           hint="change of the layer's outputs, with all layers before it as they are now, over their norm"),
    Column("of float32", lambda row: _percent(_share(row)), _share, hint="size in the file over that in float32"),
    Column("fitted", lambda row: _percent(row.fitted_error), lambda row: row.fitted_error,
           hint="the same change on inputs that weights and ranges follow from; far smaller: more inputs would help"),
    Column("sensitivity", lambda row: "" if row.sensitivity is None else f"{row.sensitivity:.2f}",
           lambda row: row.sensitivity, hint="how far the network's outputs would move if the layer's were lost"),
    Column("weights", lambda row: _percent(row.error, 2), lambda row: row.error,
           hint="change of the weights over their norm"),
)  # fmt: skip
# In this order columns join the table, as long as it fits; the first ones are always there.
ALWAYS = ("layer", "kept as", "bits", "zeros", "in file")
IF_THEY_FIT = ("outputs", "op", "fitted", "of float32", "sensitivity", "weights")


def places(names: Sequence[str]) -> list[int]:
    """Where columns stand, by their names."""
    return [next(i for i, column in enumerate(COLUMNS) if column.name == name) for name in names]


def reasons(rows: Sequence[LayerReport]) -> list[tuple[str, list[str]]]:
    """Why layers are as they are: each reason once, with the names of those that it holds for, in their order."""
    return by_reason((row.name, row.reason) for row in rows)
