"""One self-contained HTML page: a verdict, cards, figures as inline SVG, a graph, a table that can be sorted."""

from __future__ import annotations

import importlib.resources
import io
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from niwaki.report.files import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Colours of figures that follow the page's, which are others where people prefer a dark screen: page.css.
THEMED = {
    "#1f5c3a": "leaf", "#4c9f70": "int8", "#c9a227": "gold", "#b5533c": "wood", "#d5dcd7": "before", "#8a968e": "dots",
    "#9dbfac": "pale", "#4a554e": "soft", "#aab4ad": "axis", "#e6ebe7": "grid", "#1f2a24": "ink", "#6b776f": "soft",
    "#cfd6d1": "before", "#7fb894": "int8", "#1f6b42": "leaf",
}  # fmt: skip


@dataclass(frozen=True)
class Card:
    """A value that is shown large.

    Attributes:
        name: above it.
        value: the large words.
        detail: a line below.
    """

    name: str
    value: str
    detail: str = ""


@dataclass(frozen=True)
class Grid:
    """A table.

    Attributes:
        header, rows: cells as text.
        total: one more line at its end.
        right: places of the columns that are aligned to the right.
        values: what each cell is sorted by, as text; none, and the cells' own text is taken.
        hints: what the columns mean.
        anchors: an id for each row, where something leads to it.
        notes: for each row the number of the note below that holds for it; empty where none does.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    total: Sequence[str] | None = None
    right: Collection[int] = ()
    values: Sequence[Sequence[str]] | None = None
    hints: Sequence[str] = ()
    anchors: Sequence[str] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Page:
    """What a page shows, from above.

    Attributes:
        title: the heading.
        subtitle: a line below it.
        light: "green", "yellow", "red", or empty for none; shown beside the sentence.
        sentence: the verdict.
        warnings: sentences below it.
        compared: what was before and is now: name, before, now, words.
        cards: values that are shown large.
        pictures: small inline SVG elements, each with lines of text and whether these agree.
        pictures_title: over them.
        figures: matplotlib figures; they become inline SVG.
        graph: an SVG element that opens on demand.
        graph_title: what it is opened by.
        table, table_note: the table, and a sentence above it.
        notes: below the table, numbered from 1.
        facts: pairs of a name and a value, at the end.
    """

    title: str
    subtitle: str = ""
    light: str = ""
    sentence: str = ""
    warnings: Sequence[str] = ()
    compared: Sequence[tuple[str, str, str, str]] = ()
    cards: Sequence[Card] = ()
    pictures: Sequence[tuple[str, Sequence[str], bool]] = ()
    pictures_title: str = ""
    figures: Sequence[Figure] = ()
    graph: str = ""
    graph_title: str = ""
    table: Grid | None = None
    table_note: str = ""
    notes: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = field(default=())


def _need(package: str) -> ImportError:
    return ImportError(f"an HTML report needs {package}; install it with: pip install 'niwaki[report]'")


def write_page(page: Page, path: str | os.PathLike[str]) -> None:
    """Writes a page into a file, which needs no other file and no network.

    Raises:
        ImportError: jinja2 or matplotlib is missing.
        FileNotFoundError: there is no such folder.
    """
    write_text(path, render(page))


def render(page: Page) -> str:
    """The page as HTML."""
    try:
        import jinja2
    except ImportError as error:
        raise _need("jinja2") from error
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        loader=jinja2.FunctionLoader(_source),
    )  # fmt: skip
    files: Mapping[str, str] = {name: _source(f"page.{name}") for name in ("css", "js")}
    figures = [_svg(figure) for figure in page.figures]
    return environment.get_template("page.html.j2").render(page=page, figures=figures, **files)


def _source(name: str) -> str:
    return importlib.resources.files("niwaki.report").joinpath(name).read_text(encoding="utf-8")


def _svg(figure: Figure) -> str:
    """A figure as an <svg> element, without the XML prologue. The same figure gives the same text."""
    import matplotlib

    text = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "niwaki"}):
        figure.savefig(text, format="svg", metadata={"Date": None}, transparent=True)
    svg = text.getvalue()[text.getvalue().index("<svg") :]
    return re.sub(r"#[0-9a-f]{6}\b", lambda found: _themed(found.group()), svg)


def _themed(color: str) -> str:
    return f"var(--{THEMED[color]}, {color})" if color in THEMED else color


def new_figure(width: float, height: float) -> tuple[Figure, Any]:
    """A figure of width x height inches and its axes, in the look that all plots share. No global state is touched."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise _need("matplotlib") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    style(axes)
    return figure, axes


def new_grid(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[Any]]:
    """A figure with axes in rows and columns, in the same look; the axes row by row."""
    figure, first = new_figure(width, height)
    figure.delaxes(first)
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(rows * columns)]
    for part in axes:
        style(part)
    return figure, axes


def style(axes: Any) -> None:
    """Takes away the box around a plot and draws a light grid behind it."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#aab4ad")
    axes.tick_params(colors="#4a554e", labelsize=9)
    axes.set_axisbelow(True)
    axes.grid(color="#e6ebe7", linewidth=0.8)
