"""Tables that fit into a terminal: columns are left out, names cut, and what every line would say is said once."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterable, Sequence

from niwaki.runtime.text import align, shortened

WIDTH = 80
# Names are cut to this, at the shortest, so that another column fits.
_NARROWEST, _GAP, _NAMED = 16, 2, 3
# So many of the columns that may join are worth it.
_WORTH_IT = 2


def narrow_table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    total: Sequence[str] | None,
    *,
    always: Collection[int],
    more: Sequence[int],
    right: Collection[int] = (),
    named: int = 0,
    width: int = WIDTH,
) -> str:
    """A table of at most `width` characters in a line.

    Args:
        header, rows, total, right: as in `niwaki.runtime.text.align`; without a total, None.
        always: columns that are there in any case; that with the names is.
        more: columns that join, in this order, as long as all fits; those without any text do not. For the first two,
            names may be cut.
        named: the column with names, which are cut in the middle where the rest needs the room.
        width: characters of a line, a few more where not even `always` fits.
    """
    lines = [header, *rows, *([total] if total else [])]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    names = max(len(total[named]) if total else 0, min(widths[named], _NARROWEST))
    chosen = {*always} - {named}

    def taken(columns: Collection[int]) -> int:
        """Characters of a line beside the names."""
        return sum(widths[column] + _GAP for column in columns)

    for place, column in enumerate(more):
        least = names if place < _WORTH_IT else widths[named]
        if any(row[column] for row in rows) and least + taken({*chosen, column}) <= width:
            chosen.add(column)
    room = max(names, width - taken(chosen))
    order = sorted({*chosen, named})
    cells = [[shortened(line[column], room) if column == named else line[column] for column in order] for line in lines]
    last = cells.pop() if total else None
    return align(cells[0], cells[1:], last, right=[place for place, column in enumerate(order) if column in right])


def wrapped(text: str, width: int = WIDTH) -> list[str]:
    """A line of text as lines of at most `width` characters; words that are longer stay whole."""
    return textwrap.wrap(text, width, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False) or [text]


def said_once(reasons: Iterable[tuple[str, str]], width: int = WIDTH) -> list[str]:
    """Reasons as lines of text, each once, behind the names that it holds for.

    Args:
        reasons: names and why they are as they are; empty reasons are left out.
        width: characters of a line.
    """
    lines = []
    for reason, names in by_reason(reasons):
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        text = f"{', '.join(names[:_NAMED])}{more}: {reason}"
        lines += textwrap.wrap(text, width, subsequent_indent="  ", break_on_hyphens=False) or [text]
    return lines


def by_reason(reasons: Iterable[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    """Each reason once, with the names that it holds for, in their order."""
    found: dict[str, list[str]] = {}
    for name, reason in reasons:
        if reason:
            found.setdefault(reason, []).append(name)
    return list(found.items())
