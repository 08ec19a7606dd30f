"""Report.to_html: the page of a compression report."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from niwaki.report.columns import COLUMNS, reasons
from niwaki.report.drawing import draw
from niwaki.report.html import Grid, Page, write_page
from niwaki.report.plain import totals
from niwaki.report.plots import figures
from niwaki.runtime.text import counted

if TYPE_CHECKING:
    from niwaki.report.report import Report

_NOTE = (
    "A click on the name of a column sorts by it; what a column means is said where the pointer rests on its name. "
    "Numbers behind a name lead to the notes below the table."
)
_TITLE = "niwaki compression report"


def write_report(report: Report, path: str | os.PathLike[str], title: str | None) -> None:
    """Writes the page; see Report.to_html."""
    write_page(page_of(report, title), path)


def page_of(report: Report, title: str | None = None) -> Page:
    """What the page of a report shows."""
    known = report.network
    origin, verdict = known.origin, report.verdict
    if title is None:
        title = _TITLE if origin is None else f"{origin.name}, compressed"
    subtitle = "" if origin is None else origin.date.replace("T", " ")
    said = not report.said_nothing
    return Page(
        title=title,
        subtitle=subtitle,
        light=verdict.light,
        sentence=verdict.sentence if said else "",
        warnings=known.warnings,
        compared=[(line.name, line.before, line.now, line.words) for line in verdict.lines] if said else (),
        graph=draw(known.graph, {row.name: (row.scheme, anchor(i)) for i, row in enumerate(report)}),
        graph_title=f"The network: {counted(len(known.graph), 'step')}",
        table=_table(report),
        table_note=_NOTE,
        notes=[reason for reason, _ in reasons(tuple(report))],
        figures=list(figures(report)),
        facts=report.facts() if said else (),
    )


def anchor(index: int) -> str:
    """The id of a layer's row."""
    return f"layer-{index + 1}"


def _table(report: Report) -> Grid:
    """The columns that say something, of all layers."""
    columns = [column for column in COLUMNS if any(column.text(row) for row in report)] or list(COLUMNS[:1])
    numbers = {reason: number for number, (reason, _) in enumerate(reasons(tuple(report)), 1)}
    values = [[column.value(row) for column in columns] for row in report]
    return Grid(
        header=[column.name for column in columns],
        rows=[[column.text(row) for column in columns] for row in report],
        total=totals(report, columns),
        right=[index for index, column in enumerate(columns) if column.right],
        values=[["" if value is None else str(value) for value in row] for row in values],
        hints=[column.hint for column in columns],
        anchors=[anchor(index) for index in range(len(report))],
        notes=[str(numbers[row.reason]) if row.reason else "" for row in report],
    )
