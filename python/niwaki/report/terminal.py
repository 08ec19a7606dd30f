"""A report in the terminal, in colours."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Literal

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from niwaki.report.report import Report

_COLORS = {"int8": "green", "sparse int8": "bold green", "float32": "yellow"}


def rich_table(report: Report, header: Sequence[str], right: Collection[int]) -> Table:
    """The table of a report: schemes in colours, the total below, what is known of the network as its caption."""
    caption = "; ".join(f"{name} {value}" for name, value in report.facts())
    table = Table(caption=caption, show_footer=True, header_style="bold", footer_style="bold", row_styles=("", "dim"))
    rows, total = report.cells()
    for column, (name, footer) in enumerate(zip(header, total, strict=True)):
        justify: Literal["left", "right"] = "right" if column in right else "left"
        table.add_column(name, footer=footer, justify=justify, no_wrap=name not in ("reason", "layer"), overflow="fold")
    for row, cells in zip(report, rows, strict=True):
        # Text, not markup: a layer's name may hold brackets.
        texts = [Text(cell) for cell in cells]
        texts[2].stylize(_COLORS.get(row.scheme, ""))
        table.add_row(*texts)
    return table
