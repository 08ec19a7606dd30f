"""Report.to_html: the page of a compression report."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from niwaki.report.html import render_page
from niwaki.report.plots import figures

if TYPE_CHECKING:
    from niwaki.report.report import Report

_NOTE = (
    "Bytes are those of weights, scales and biases as they lie in the file. Errors are relative norms: of the change "
    "of the weights, and of the outputs, with all layers before as they are now. Sensitivity is "
    "how far the network's outputs would move, relative to their norm, if the layer were lost."
)


def write_page(report: Report, path: str | os.PathLike[str], title: str, header: tuple[str, ...]) -> None:
    """Writes the page; see Report.to_html."""
    rows, total = report.cells()
    render_page(
        path,
        title=title,
        note=_NOTE,
        facts=[*report.facts(), *((scheme, f"{count} layers") for scheme, count in report.schemes.items())],
        figures=list(figures(report)),
        header=header,
        rows=rows,
        total=total,
        right=range(3, 10),
    )
