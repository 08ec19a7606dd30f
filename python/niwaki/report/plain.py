"""A report as plain text: the verdict, the layers, and what else there is to know, within the width of a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from niwaki.report.columns import ALWAYS, COLUMNS, IF_THEY_FIT, Column, places
from niwaki.runtime.narrow import WIDTH, narrow_table, said_once
from niwaki.runtime.text import align, counted, format_bytes

if TYPE_CHECKING:
    from niwaki.report.report import Report

# What the words of a comparison have at least.
_NARROW = 20


def text_of(report: Report, width: int = WIDTH) -> str:
    """The whole report in lines of at most `width` characters, where no single word is longer."""
    parts = [] if report.said_nothing else [heading(report, width)]
    parts.append(table(report, width))
    why = said_once(((row.name, row.reason) for row in report), width)
    if why:
        parts.append("\n".join(why))
    if not report.said_nothing:
        parts.append("\n".join(wrapped(f"{name}: {value}", width) for name, value in report.facts()))
    return "\n\n".join(parts)


def heading(report: Report, width: int = WIDTH) -> str:
    """The verdict, what there is to warn of, and what was before and is now."""
    origin, verdict = report.network.origin, report.verdict
    lines = [] if origin is None else [f"{origin.name}, {origin.date.replace('T', ' ')}"]
    lines.append(wrapped(verdict.sentence, width))
    lines += [wrapped(f"Warning: {sentence}", width) for sentence in report.network.warnings]
    return "\n".join([*lines, "", comparison(report, width)])


def comparison(report: Report, width: int = WIDTH) -> str:
    """What was before and is now, a line for each, the words behind it wrapped."""
    lines = report.verdict.lines
    firsts = [(line.name, line.before, line.now) for line in lines]
    taken = sum(max(len(row[i]) for row in [*firsts, ("", "float32", "now")]) + 2 for i in range(3))
    rows = []
    for first, line in zip(firsts, lines, strict=True):
        pieces = textwrap.wrap(line.words, max(_NARROW, width - taken)) or [""]
        rows.append((*first, pieces[0]))
        rows += [("", "", "", piece) for piece in pieces[1:]]
    return align(("", "float32", "now", ""), rows)


def table(report: Report, width: int = WIDTH) -> str:
    """The layers, with their sum below."""
    return narrow_table(
        [column.name for column in COLUMNS],
        [[column.text(row) for column in COLUMNS] for row in report],
        totals(report, COLUMNS),
        always=places(ALWAYS),
        more=places(IF_THEY_FIT),
        right=[index for index, column in enumerate(COLUMNS) if column.right],
        width=width,
    )


def totals(report: Report, columns: Sequence[Column]) -> tuple[str, ...]:
    """The last line of the table, of all layers."""
    known = {
        "layer": counted(len(report), "layer"),
        "zeros": f"{report.zeros:.1%}",
        "in file": format_bytes(report.bytes),
        "of float32": f"{report.ratio:.1%}",
    }
    return tuple(known.get(column.name, "") for column in columns)


def wrapped(text: str, width: int = WIDTH) -> str:
    """A text in lines; those after the first are set in."""
    return "\n".join(textwrap.wrap(text, width, subsequent_indent="  ", break_on_hyphens=False)) or text
