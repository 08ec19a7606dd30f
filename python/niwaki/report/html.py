"""One self-contained HTML page: a heading, facts, figures as inline SVG, and a table."""

from __future__ import annotations

import importlib.resources
import io
import os
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from niwaki.report.files import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _need(package: str) -> ImportError:
    return ImportError(f"an HTML report needs {package}; install it with: pip install 'niwaki[report]'")


def render_page(
    path: str | os.PathLike[str],
    *,
    title: str,
    note: str,
    facts: Sequence[tuple[str, str]],
    figures: Sequence[Figure],
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    total: Sequence[str] | None = None,
    right: Collection[int] = (),
) -> None:
    """Writes one HTML page: a heading, a few large facts, figures, and a table.

    Args:
        path: the file to write.
        title: the heading.
        note: a sentence below the heading.
        facts: pairs of a name and a value, shown large.
        figures: matplotlib figures; they become inline SVG.
        header, rows, total, right: the table, as in `niwaki.runtime.text.align`.

    Raises:
        ImportError: jinja2 or matplotlib is missing.
    """
    try:
        import jinja2
    except ImportError as error:
        raise _need("jinja2") from error
    source = importlib.resources.files("niwaki.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True).from_string(
        source
    )
    page = template.render(
        title=title,
        note=note,
        facts=facts,
        figures=[_svg(figure) for figure in figures],
        header=header,
        rows=rows,
        total=total,
        right=right,
    )
    write_text(path, page)


def _svg(figure: Figure) -> str:
    """A figure as an <svg> element, without the XML prologue. The same figure gives the same text."""
    import matplotlib

    text = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "niwaki"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


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
