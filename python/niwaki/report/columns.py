"""The table of layers: its columns, and which of them fit into a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from niwaki.report.rows import LayerReport
from niwaki.runtime.text import format_bytes, shortened

WIDTH = 80
# Names of layers are cut to this where the table would be wider than the terminal.
_NARROWEST = 16
_NAMED = 3
_GAP = 2
_COUNT = len("999 layers")


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
_ALWAYS = ("layer", "kept as", "bits", "zeros", "in file")
_IF_THEY_FIT = ("outputs", "op", "fitted", "of float32", "sensitivity", "weights")


def fitting(rows: Sequence[LayerReport], width: int = WIDTH) -> tuple[Column, ...]:
    """The columns that say something and fit side by side, in their order."""
    chosen = {column.name: column for column in COLUMNS if column.name in _ALWAYS}
    others = {column.name: column for column in COLUMNS}
    for name in _IF_THEY_FIT:
        column = others[name]
        if not any(column.text(row) for row in rows):
            continue
        wider = {**chosen, name: column}
        least = min(_NARROWEST, max((len(row.name) for row in rows), default=0)) if name in ("outputs", "op") else None
        if _width(rows, list(wider.values()), least) <= width:
            chosen = wider
    return tuple(column for column in COLUMNS if column.name in chosen)


def _width(rows: Sequence[LayerReport], columns: Sequence[Column], name_width: int | None) -> int:
    total = _GAP * (len(columns) - 1)
    for column in columns:
        widest = max([len(column.name), *(len(column.text(row)) for row in rows)])
        if column.name == "layer":  # below the names, the last line says how many there are
            widest = max(widest if name_width is None else name_width, _COUNT)
        total += widest
    return total


def cells(
    rows: Sequence[LayerReport], columns: Sequence[Column], width: int = WIDTH
) -> tuple[list[tuple[str, ...]], int]:
    """The cells of all layers, and the width of the column of names, which are cut so that all fits."""
    names = [row.name for row in rows]
    room = width - _width(rows, columns, 0) + _COUNT
    widest = max(_NARROWEST, room)
    shown = [shortened(name, widest) for name in names]
    lines = [
        tuple(shown[index] if column.name == "layer" else column.text(row) for column in columns)
        for index, row in enumerate(rows)
    ]
    return lines, widest


def reasons(rows: Sequence[LayerReport]) -> list[tuple[str, list[str]]]:
    """Why layers are as they are: each reason once, with the names of those that it holds for, in their order."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if row.reason:
            found.setdefault(row.reason, []).append(row.name)
    return list(found.items())


def reasons_in_words(rows: Sequence[LayerReport], width: int = WIDTH) -> list[str]:
    """The same as lines of text."""
    lines = []
    for reason, names in reasons(rows):
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        text = f"{', '.join(names[:_NAMED])}{more}: {reason}"
        lines += textwrap.wrap(text, width, subsequent_indent="  ", break_on_hyphens=False) or [text]
    return lines
