"""Tables and sizes as plain text, and tables as notebooks show them."""

from __future__ import annotations

import html
from collections.abc import Collection, Sequence


def format_bytes(count: float) -> str:
    """A size for people, in decimal units: "912 B", "12.3 kB", "25.6 MB"."""
    for limit, unit in ((1e3, "B"), (1e6, "kB"), (1e9, "MB")):
        if count < limit:
            value = count / (limit / 1e3)
            return f"{count:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
    return f"{count / 1e9:.2f} GB"


def counted(count: int, what: str) -> str:
    """A number of things: "1 layer", "2 layers", "1,024 inputs"."""
    return f"{count:,} {what}{'s' * (count != 1)}"


def shortened(text: str, width: int) -> str:
    """At most `width` characters of a text, at least 3, with "..." in the middle where some are left out.

    Names of layers differ at their ends, and what they belong to stands at their beginnings.
    """
    if len(text) <= width:
        return text
    left = (width - 3) // 3
    return f"{text[:left]}...{text[len(text) - (width - 3 - left) :]}"


def align(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    total: Sequence[str] | None = None,
    *,
    right: Collection[int] = (),
) -> str:
    """A table with a rule under its header and over its last line.

    Args:
        header: the names of the columns.
        rows: cells, as many as the header has.
        total: one more line at the end, set off by a rule.
        right: indices of the columns that are aligned to the right, as numbers are.

    Returns:
        Lines without trailing spaces, joined by newlines.
    """
    lines = [header, *rows, *([total] if total else [])]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]

    def render(line: Sequence[str]) -> str:
        cells = (
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        return "  ".join(cells).rstrip()

    rule = "  ".join("-" * width for width in widths)
    text = [render(header), rule, *map(render, rows)]
    if total:
        text += [rule, render(total)]
    return "\n".join(text)


def html_table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    total: Sequence[str] | None = None,
    *,
    right: Collection[int] = (),
    caption: str = "",
) -> str:
    """The same as an HTML table, with a caption over it; all texts are escaped."""

    def line(cells: Sequence[str], tag: str) -> str:
        shown = (
            f'<{tag} style="text-align: {"right" if column in right else "left"}">{html.escape(cell)}</{tag}>'
            for column, cell in enumerate(cells)
        )
        return f"<tr>{''.join(shown)}</tr>"

    return "".join(
        (
            "<table>",
            f'<caption style="text-align: left">{html.escape(caption)}</caption>' if caption else "",
            f"<thead>{line(header, 'th')}</thead>",
            f"<tbody>{''.join(line(row, 'td') for row in rows)}</tbody>",
            f"<tfoot>{line(total, 'th')}</tfoot>" if total else "",
            "</table>",
        )
    )
