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
    total: Sequence[str],
    *,
    always: Collection[int],
    more: Sequence[int],
    right: Collection[int] = (),
    width: int = WIDTH,
) -> str:
    """A table of at most `width` characters in a line.

    Args:
        header, rows, total, right: as in `niwaki.runtime.text.align`. The first column holds names, which are cut in
            the middle where the rest needs the room.
        always: columns that are there in any case; the first is.
        more: columns that join, in this order, as long as all fits; those without any text do not. For the first two,
            names may be cut.
        width: characters of a line, a few more where not even `always` fits.
    """
    lines = [header, *rows, total]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    names = max(len(total[0]), min(widths[0], _NARROWEST))
    chosen = {0, *always}
    for place, column in enumerate(more):
        least = names if place < _WORTH_IT else widths[0]
        if any(row[column] for row in rows) and _width(widths, {*chosen, column}, least) <= width:
            chosen.add(column)
    room = max(names, width - _width(widths, chosen, 0))
    order = sorted(chosen)
    cells = [[shortened(line[0], room), *(line[column] for column in order[1:])] for line in lines]
    return align(
        cells[0], cells[1:-1], cells[-1], right=[place for place, column in enumerate(order) if column in right]
    )


def _width(widths: Sequence[int], columns: Collection[int], names: int) -> int:
    return names + sum(widths[column] + _GAP for column in columns if column)


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
