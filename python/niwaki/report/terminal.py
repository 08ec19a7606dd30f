"""A report in the terminal, in colours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.text import Text

from niwaki.report.plain import comparison, table, wrapped
from niwaki.runtime.narrow import said_once

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
    reasons = said_once(((row.name, row.reason) for row in report), width)
    parts += [Text(line, "dim") for line in ["", *reasons, ""]]
    if not report.said_nothing:
        parts += [Text(wrapped(f"{name}: {value}", width), "dim") for name, value in report.facts()]
    return Group(*parts)


def _table(report: Report, width: int) -> Text:
    """The layers, schemes in colours, their sum below."""
    lines = table(report, width).splitlines()
    text = Text()
    for index, line in enumerate(lines):
        bold = index == 0 or index == len(lines) - 1
        text.append(line + "\n" * (index < len(lines) - 1), "bold" if bold else "")
    start = lines[0].index("kept as") if "kept as" in lines[0] else 0
    # Where a line begins in the text, its layer's scheme is so many characters on.
    place = len(lines[0]) + len(lines[1]) + 2
    for row, line in zip(report, lines[2:], strict=False):
        text.stylize(_COLORS.get(row.scheme, ""), place + start, place + start + len(row.scheme))
        place += len(line) + 1
    return text
