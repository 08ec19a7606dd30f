"""Reports as one self-contained HTML page: the table, and plots as inline SVG."""

from __future__ import annotations

import importlib.resources
import io
import os
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from niwaki.report.files import write_text
from niwaki.report.text import format_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from niwaki.report.rows import Report

COLORS = {"int8": "#4c9f70", "sparse int8": "#1f5c3a", "float32": "#c9a227", "torch": "#b5533c", "before": "#d5dcd7"}


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
        header, rows, total, right: the table, as in `niwaki.report.text.align`.

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


def style(axes: Any) -> None:
    """Takes away the box around a plot and draws a light grid behind it."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#aab4ad")
    axes.tick_params(colors="#4a554e", labelsize=9)
    axes.set_axisbelow(True)
    axes.grid(color="#e6ebe7", linewidth=0.8)


def _plot_sizes(report: Report) -> Figure:
    figure, axes = new_figure(10, 3.2)
    layers = range(len(report))
    axes.bar(layers, [row.float_bytes / 1e3 for row in report], width=0.9, color=COLORS["before"], label="float32")
    for scheme in report.schemes:
        chosen = [index for index, row in enumerate(report) if row.scheme == scheme]
        sizes = [report[index].bytes / 1e3 for index in chosen]
        axes.bar(chosen, sizes, width=0.9, color=COLORS.get(scheme, "#888888"), label=f"now: {scheme}")
    axes.set_xlabel("layer, in the order of the network")
    axes.set_ylabel("kB")
    axes.set_title("Size of each layer", loc="left", fontsize=11)
    axes.legend(frameon=False, fontsize=9)
    return figure


def _plot_errors(report: Report) -> Figure:
    figure, axes = new_figure(10, 2.6)
    measured = [(index, row.error, row.scheme) for index, row in enumerate(report) if row.error is not None]
    for scheme in dict.fromkeys(scheme for _, _, scheme in measured):
        points = [(index, 100 * error) for index, error, own in measured if own == scheme]
        axes.scatter(*zip(*points, strict=True), s=22, color=COLORS.get(scheme, "#888888"), label=scheme)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("layer, in the order of the network")
    axes.set_ylabel("% of the weights' norm")
    axes.set_title("Error of each layer's weights", loc="left", fontsize=11)
    axes.legend(frameon=False, fontsize=9)
    return figure


def write_page(report: Report, path: str | os.PathLike[str], title: str) -> None:
    """Report.to_html."""
    figures = [_plot_sizes(report)] if len(report) else []
    if any(row.error is not None for row in report):
        figures.append(_plot_errors(report))
    rows = [
        (
            row.name,
            row.op,
            row.scheme,
            f"{row.zeros:.1%}",
            f"{row.bytes:,}",
            f"{row.float_bytes:,}",
            "" if row.error is None else f"{row.error:.2%}",
            row.reason,
        )
        for row in report
    ]
    render_page(
        path,
        title=title,
        note="Sizes are those of weights, scales and biases. Errors are relative, of the weights.",
        facts=[
            ("size", format_bytes(report.bytes)),
            ("in float32", format_bytes(report.float_bytes)),
            ("of float32", f"{report.ratio:.1%}"),
            ("zeros", f"{report.zeros:.1%}"),
            *((scheme, f"{count} layers") for scheme, count in report.schemes.items()),
        ],
        figures=figures,
        header=("layer", "op", "scheme", "zeros", "bytes", "bytes in float32", "error", "reason"),
        rows=rows,
        total=("total", "", "", f"{report.zeros:.1%}", f"{report.bytes:,}", f"{report.float_bytes:,}", "", ""),
        right=(3, 4, 5, 6),
    )
