"""The demo's results: one table on the terminal, as a picture and as an HTML page."""

from __future__ import annotations

import platform
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from timing import Times

from niwaki import _core
from niwaki.report.html import Card, Grid, Page, style, write_page
from niwaki.runtime.text import format_bytes

# On the terminal, within 80 columns; accuracy is that on held-out pictures.
HEADER = ("network", "accuracy", "file", "share", "ms/image", "speed-up")
COLORS = {"torch float32": "#cfd6d1", "niwaki int8": "#7fb894"}
PRUNED = "#1f6b42"


@dataclass(frozen=True)
class Digit:
    """A held-out picture, what it is, and what two networks say.

    Attributes:
        pixels: [8, 8], -1 (paper) to 1 (ink).
        label: the digit that it is.
        before, now: what torch in float32 and what niwaki says.
    """

    pixels: torch.Tensor
    label: int
    before: int
    now: int

    def svg(self) -> str:
        """The picture as an SVG element."""
        squares = (
            f'<rect x="{x}" y="{y}" width="1.02" height="1.02" fill="rgb({tone},{tone},{tone})"/>'
            for y, line in enumerate(self.pixels.tolist())
            for x, value in enumerate(line)
            for tone in [round(255 * (1 - (value + 1) / 2))]
        )
        return f'<svg viewBox="0 0 8 8" role="img" shape-rendering="crispEdges">{"".join(squares)}</svg>'

    def lines(self) -> tuple[str, str]:
        """What is written below it."""
        return f"float32: {self.before}", f"niwaki: {self.now}"


def some_digits(images: torch.Tensor, labels: torch.Tensor, before: torch.Tensor, now: torch.Tensor) -> list[Digit]:
    """A dozen pictures: first those that the two networks answer in two ways, at most four.

    Args:
        images: [N, 1, 8, 8].
        labels, before, now: [N], digits: those that they are, and those that the networks say.
    """
    differ = (before != now).nonzero().flatten().tolist()[:4]
    alike = (before == now).nonzero().flatten().tolist()[: 12 - len(differ)]
    return [Digit(images[i, 0], int(labels[i]), int(before[i]), int(now[i])) for i in differ + alike]


@dataclass(frozen=True)
class Row:
    """One network in one form. `accuracy` is None where the weights are not trained."""

    network: str
    form: str
    accuracy: float | None
    bytes: int
    float_bytes: int
    times: Times

    def cells(self) -> tuple[str, ...]:
        """What the table says of it; where the machine was too busy, the speed-up as a range."""
        low, middle, high = self.times.speedup
        return (
            self.form,
            "not trained" if self.accuracy is None else f"{self.accuracy:.2%}",
            format_bytes(self.bytes),
            f"{self.bytes / self.float_bytes:.1%}",
            f"{self.milliseconds:.3f}" if self.milliseconds < 1 else f"{self.milliseconds:.1f}",
            _range(low, high) if self.times.doubtful and high > 1 else f"{middle:.1f}x",
        )

    @property
    def milliseconds(self) -> float:
        return self.times.milliseconds

    def claim(self, first: Row) -> str:
        """What it comes to beside float32: "21x faster, 14x smaller, +0.3 points"."""
        low, middle, high = self.times.speedup
        if self.times.doubtful and high > 1:
            found = [f"{_range(low, high)} faster"]
        else:
            found = [f"{middle:.1f}x faster" if middle < 10 else f"{middle:.0f}x faster"]
        smaller = self.float_bytes / self.bytes
        found.append(f"{smaller:.1f}x smaller" if smaller < 10 else f"{smaller:.0f}x smaller")
        if self.accuracy is not None and first.accuracy is not None:
            points = 100 * (self.accuracy - first.accuracy)
            found.append(f"{points:+.1f} points" if round(points, 1) else "as accurate")
        return ", ".join(found)


def _range(low: float, high: float) -> str:
    """Speed-ups between which half of the rounds lie: "10x to 12x"."""
    ends = dict.fromkeys(f"{value:.0f}x" for value in (low, high))
    return " to ".join(ends)


def machine(rows: Sequence[Row], threads: int) -> str:
    """Sentences about where and with what the numbers came about, and what they are worth."""
    waited = max(row.times.waited for row in rows)
    doubt = (
        f" The machine was not steady (other programs took {waited:.0%} of the time), and speed-ups are the middle "
        "half of what rounds found. Run it again when nothing else runs."
    )
    return (
        f"{_core.cpu_name()}, {_core.isa()}, {threads} thread{'s' * (threads != 1)}, batch 1. "
        f"niwaki {_core.__version__}, torch {torch.__version__}, Python {platform.python_version()}. "
        "Medians, timed turn and turn about." + doubt * any(row.times.doubtful for row in rows)
    )


def print_table(rows: Sequence[Row], console: Console, threads: int) -> None:
    table = Table(
        title="niwaki demo", caption=machine(rows, threads), title_justify="left", caption_justify="left",
        box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False,
    )  # fmt: skip
    for index, name in enumerate(HEADER):
        table.add_column(name, justify="right" if index else "left", no_wrap=True)
    for network, group in _groups(rows):
        table.add_section()
        table.add_row(f"[bold]{network}[/bold]")
        for row in group:
            form, *cells = row.cells()
            table.add_row(" " + form, *cells)
    console.print(table)


def _groups(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    names = dict.fromkeys(row.network for row in rows)
    return [(name, [row for row in rows if row.network == name]) for name in names]


def draw(rows: Sequence[Row], note: str) -> Figure:
    """Bars of time, size and accuracy, one line of plots for each network."""
    groups = _groups(rows)
    figure = Figure(figsize=(13, 2.5 * len(groups) + 0.6), dpi=130, facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.12, hspace=0.06)
    grid = figure.subplots(len(groups), 3, squeeze=False)
    for line, (network, group) in zip(grid, groups, strict=True):
        _bars(
            line[0],
            group,
            [row.milliseconds for row in group],
            [row.cells()[4] + " ms  " + row.cells()[5] for row in group],
        )
        _bars(
            line[1], group, [row.bytes / 1e6 for row in group], [f"{row.cells()[2]}  {row.cells()[3]}" for row in group]
        )
        line[0].set_title(network, loc="left", fontsize=12, fontweight="bold", pad=22)
        line[0].text(
            0, 1.04, "time per image, shorter is better", transform=line[0].transAxes, fontsize=9, color="#4a554e"
        )
        line[1].text(0, 1.04, "file, shorter is better", transform=line[1].transAxes, fontsize=9, color="#4a554e")
        line[1].set_yticklabels([])
        if any(row.accuracy is None for row in group):
            line[2].axis("off")
            text = "Seeded weights, not trained:\nhere to show speed and size."
            line[2].text(0, 0.5, text, transform=line[2].transAxes, fontsize=10, color="#6b776f", va="center")
            continue
        shares = [100 * row.accuracy for row in group if row.accuracy is not None]
        _bars(line[2], group, shares, [row.cells()[1] for row in group])
        line[2].text(0, 1.04, "accuracy on held-out digits", transform=line[2].transAxes, fontsize=9, color="#4a554e")
        line[2].set_yticklabels([])
    figure.supxlabel("\n".join(textwrap.wrap(note, 170)), x=0.01, ha="left", fontsize=8.5, color="#6b776f")
    return figure


def _bars(axes, group: Sequence[Row], values: Sequence[float], labels: Sequence[str]) -> None:
    style(axes)
    axes.grid(visible=False)
    axes.spines["bottom"].set_visible(False)
    axes.set_xticks([])
    bars = axes.barh(range(len(group)), values, height=0.66, color=[COLORS.get(row.form, PRUNED) for row in group])
    axes.bar_label(bars, labels, padding=5, fontsize=10, color="#1f2a24")
    axes.set_yticks(range(len(group)), [row.form for row in group], fontsize=10)
    axes.tick_params(length=0)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.42 * max(values))


def write(rows: Sequence[Row], folder: Path, threads: int, digits: Sequence[Digit] = ()) -> tuple[Path, Path]:
    """Writes demo.png and demo.html into the folder and returns their paths.

    Args:
        rows: the networks.
        folder: that the files go into.
        threads: that the networks ran on.
        digits: pictures with the answers of two of them, for the page.
    """
    note = machine(rows, threads)
    figure = draw(rows, note)
    picture, page = folder / "demo.png", folder / "demo.html"
    figure.savefig(picture)
    cards = []
    for network, (first, *others) in _groups(rows):
        detail = "" if first.accuracy is not None else "weights are not trained: for speed and size"
        cards += [Card(f"{network}, {row.form}", row.claim(first), detail) for row in others]
    write_page(
        Page(
            title="niwaki demo",
            subtitle=note,
            cards=cards,
            pictures=[(digit.svg(), digit.lines(), digit.before == digit.now) for digit in digits],
            pictures_title="Some held-out digits, and what both networks say",
            figures=[figure],
            table=Grid(
                ("network", "form", *HEADER[1:]), [(row.network, *row.cells()) for row in rows], right=range(2, 7)
            ),
        ),
        page,
    )
    return picture, page
