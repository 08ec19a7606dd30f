"""A report in the terminal, in colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.table import Table
from rich.text import Text

from niwaki.report.columns import WIDTH, fitting, reasons_in_words
from niwaki.report.plain import comparison, totals, wrapped

if TYPE_CHECKING:
    from niwaki.report.report import Report

_COLORS = {"int8": "green", "sparse int8": "bold green", "float32": "yellow"}
_LIGHTS = {"green": "bold green", "yellow": "bold yellow", "red": "bold red", "": "bold"}


def rendered(report: Report, console: Console, options: ConsoleOptions) -> RenderableType:
    """What `rich` prints of a report: as much as the terminal is wide."""
    width = min(options.max_width, console.width)
    parts: list[RenderableType] = []
    # Text, not markup: a layer's name may hold brackets.
    if not report.said_nothing:
        origin, verdict = report.network.origin, report.verdict
        if origin is not None:
            parts.append(Text(f"{origin.name}, {origin.date.replace('T', ' ')}", "dim"))
        parts.append(Text(wrapped(verdict.sentence, width), _LIGHTS[verdict.light]))
        parts += [Text(wrapped(f"Warning: {each}", width), "yellow") for each in report.network.warnings]
        parts += [Text(""), Text(comparison(report, width)), Text("")]
    parts.append(_table(report, width))
    parts += [Text(line, "dim") for line in reasons_in_words(tuple(report), width)]
    if not report.said_nothing:
        parts += [Text(wrapped(f"{name}: {value}", width), "dim") for name, value in report.facts()]
    return Group(*parts)


def _table(report: Report, width: int) -> Table:
    """The layers, schemes in colours, their sum below."""
    columns = fitting(report, max(WIDTH, width) - 4)
    table = Table(show_footer=True, header_style="bold", footer_style="bold", row_styles=("", "dim"), box=None)
    for column, footer in zip(columns, totals(report, columns), strict=True):
        justify: Literal["left", "right"] = "right" if column.right else "left"
        table.add_column(column.name, footer=footer, justify=justify, no_wrap=column.name != "layer", overflow="fold")
    for row in report:
        texts = [Text(column.text(row)) for column in columns]
        names = [column.name for column in columns]
        texts[names.index("kept as")].stylize(_COLORS.get(row.scheme, ""))
        table.add_row(*texts)
    return table
