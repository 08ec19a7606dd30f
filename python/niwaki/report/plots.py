"""The figures of a compression report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from niwaki.report.html import new_figure, new_grid
from niwaki.report.interval import interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from niwaki.budget.options import Option
    from niwaki.report.report import Report
    from niwaki.report.rows import LayerReport

COLORS = {"int8": "#4c9f70", "sparse int8": "#1f5c3a", "float32": "#c9a227", "torch": "#b5533c", "before": "#d5dcd7"}
_LEAF, _WOOD, _SOFT = "#1f5c3a", "#b5533c", "#8a968e"
# Histograms of so many layers, those with the largest sensitivity.
_HISTOGRAMS = 12


def figures(report: Report) -> Iterator[Figure]:
    """The figures that the report has numbers for."""
    if report.network.curve or report.network.tried:
        yield plot_trade(report)
    elif report.network.accuracy is not None and report.network.file_bytes is not None:
        yield plot_accuracy(report)
    if len(report):
        yield plot_sizes(report)
    if any(row.error is not None or row.output_error is not None for row in report):
        yield plot_errors(report)
    if any(row.sensitivity is not None for row in report):
        yield plot_sensitivity(report)
    if any(row.options for row in report):
        yield plot_options(report)
    if any(row.weights is not None for row in report):
        yield plot_weights(report)


def plot_trade(report: Report) -> Figure:
    """Size against the predicted error of the outputs, and against accuracy where networks were evaluated."""
    network = report.network
    evaluated = [point for point in network.tried if point.accuracy is not None]
    figure, axes = new_grid(1, 2 if evaluated else 1, 10, 3.6)
    axes[0].plot(
        [p.bytes / 1e3 for p in network.curve], [p.loss for p in network.curve], color=_LEAF, label="predicted"
    )
    axes[0].scatter(
        [p.bytes / 1e3 for p in network.tried], [p.loss for p in network.tried], color=_SOFT, s=26, zorder=3,
        label="built",
    )  # fmt: skip
    axes[0].set_ylabel("change of the outputs, a norm")
    axes[0].set_title("Size against error", loc="left", fontsize=11)
    axes[0].set_ylim(bottom=0)
    if evaluated:
        # Not joined: what lies between two networks nobody knows, and they may differ by chance.
        for index, point in enumerate(evaluated):
            _accuracy(axes[1], point.bytes, point.accuracy, network.evaluated, _LEAF, "" if index else "built")
        if network.float_accuracy is not None:
            axes[1].axhline(network.float_accuracy, color=_WOOD, linewidth=1, linestyle="--", label="float32")
        axes[1].set_ylim(top=min(axes[1].get_ylim()[1], 100.5))
        axes[1].set_ylabel("accuracy, %" + (f" of {network.evaluated:,} inputs" if network.evaluated else ""))
        axes[1].set_title("Size against accuracy", loc="left", fontsize=11)
    for part in axes:
        if network.file_bytes is not None:
            part.axvline(network.file_bytes / 1e3, color="#c9a227", linewidth=1.2, label="this one")
        part.set_xlabel("kB of the file")
        part.legend(frameon=False, fontsize=9)
    return figure


def plot_accuracy(report: Report) -> Figure:
    """Size against accuracy of the network as it was and as it is."""
    network = report.network
    figure, axes = new_figure(10, 2.8)
    points = [
        (network.parameter_bytes, network.float_accuracy, "float32", COLORS["float32"]),
        (network.file_bytes, network.accuracy, "this one", _LEAF),
    ]
    for size, accuracy, label, color in points:
        if size is not None and accuracy is not None:
            _accuracy(axes, size, accuracy, network.evaluated, color, label)
    axes.set_xlim(left=0)
    axes.set_xlabel("kB of the file (of the parameters, in float32)")
    axes.set_ylabel("accuracy, %")
    axes.set_title("Size against accuracy", loc="left", fontsize=11)
    axes.legend(frameon=False, fontsize=9)
    return figure


def _accuracy(axes: Any, size: int, accuracy: float | None, count: int | None, color: str, label: str) -> None:
    """A point, with where the accuracy on all inputs lies, at 95 %, where it is known on how many it was measured."""
    assert accuracy is not None
    low, high = (accuracy, accuracy) if not count else (100 * end for end in interval(accuracy / 100, count))
    axes.errorbar(
        [size / 1e3], [accuracy], yerr=[[max(0.0, accuracy - low)], [max(0.0, high - accuracy)]], color=color, fmt="o",
        markersize=6, capsize=3, linewidth=1, zorder=3, label=label or None,
    )  # fmt: skip


def plot_options(report: Report) -> Figure:
    """The sensitivity analysis: what each layer costs at each share of zeros, and how long it takes."""
    rows = [row for row in report if row.options]
    timed = any(option.milliseconds > 0 for row in rows for option in row.options)
    figure, axes = new_grid(2 if timed else 1, 1, 10, 5.6 if timed else 3.2)
    _heat(figure, axes[0], rows, lambda option: 100 * option.error, "error of the\noutputs, %", log=True)
    axes[0].set_title("What zeros cost each layer, with its most bits", loc="left", fontsize=11)
    if timed:
        _heat(figure, axes[1], rows, lambda option: option.milliseconds, "milliseconds", log=False)
        axes[1].set_title("How long it takes with them", loc="left", fontsize=11)
    return figure


def _heat(
    figure: Figure, axes: Any, rows: Sequence[LayerReport], value: Callable[[Option], float], label: str, *, log: bool
) -> None:
    """Layers to the right, shares of zeros upwards, a value as a colour."""
    from matplotlib.colors import LogNorm

    most = [[o for o in row.options if o.bits == max(p.bits for p in row.options)] for row in rows]
    shares = sorted({round(option.share, 2) for options in most for option in options})
    # Layers have zeros of their own to begin with: each cell takes the nearest share that was measured.
    cells = [
        [value(min(options, key=lambda o: abs(o.share - share))) if options else 0.0 for options in most]
        for share in shares
    ]
    positive = [cell for line in cells for cell in line if cell > 0]
    scale = LogNorm(min(positive), max(positive)) if log and positive and min(positive) < max(positive) else None
    floor = min(positive, default=0.0)
    image = axes.imshow(
        [[max(cell, floor) for cell in line] for line in cells], aspect="auto", origin="lower", cmap="YlGn", norm=scale,
        interpolation="nearest",
    )  # fmt: skip
    axes.grid(visible=False)
    axes.set_yticks(range(len(shares)), [f"{share:.0%}" for share in shares], fontsize=7)
    axes.set_ylabel("zeros")
    every = max(1, -(-len(rows) // 40))
    shown = range(0, len(rows), every)
    axes.set_xticks(list(shown), [rows[i].name for i in shown], rotation=90, fontsize=7)
    figure.colorbar(image, ax=axes, pad=0.01).set_label(label, fontsize=8)


def plot_sizes(report: Report) -> Figure:
    """Bytes of each layer, before and now."""
    figure, axes = new_figure(10, 3.2)
    layers = range(len(report))
    axes.bar(layers, [row.float_bytes / 1e3 for row in report], width=0.9, color=COLORS["before"], label="float32")
    for scheme in report.schemes:
        chosen = [index for index, row in enumerate(report) if row.scheme == scheme]
        sizes = [report[index].bytes / 1e3 for index in chosen]
        axes.bar(chosen, sizes, width=0.9, color=COLORS.get(scheme, "#888888"), label=f"now: {scheme}")
    axes.set_ylabel("kB")
    axes.set_title("Size of each layer", loc="left", fontsize=11)
    axes.legend(frameon=False, fontsize=9)
    _name_layers(axes, report)
    return figure


def plot_errors(report: Report) -> Figure:
    """Errors of each layer's weights and outputs."""
    figure, axes = new_figure(10, 2.8)
    for field, color, marker, label in (
        ("error", _SOFT, "o", "of the weights"),
        ("output_error", _LEAF, "D", "of the outputs, with all layers before"),
    ):
        points = [(i, 100 * getattr(row, field)) for i, row in enumerate(report) if getattr(row, field) is not None]
        if points:
            axes.scatter(*zip(*points, strict=True), s=22, color=color, marker=marker, label=label)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("%")
    axes.set_title("Error of each layer", loc="left", fontsize=11)
    axes.legend(frameon=False, fontsize=9)
    _name_layers(axes, report)
    return figure


def plot_sensitivity(report: Report) -> Figure:
    """Sensitivity of each layer as bars, and its zeros as points."""
    figure, axes = new_figure(10, 3.0)
    bars = [row.sensitivity or 0.0 for row in report]
    axes.bar(range(len(report)), bars, width=0.8, color="#9dbfac", label="sensitivity")
    axes.set_ylabel("change of the outputs\nif the layer were lost")
    axes.set_title("Sensitivity of each layer, and the zeros it got", loc="left", fontsize=11)
    _name_layers(axes, report)
    other = axes.twinx()
    other.scatter(range(len(report)), [100 * row.zeros for row in report], s=20, color=_WOOD, label="zeros")
    other.set_ylim(0, 100)
    other.set_ylabel("% zeros", color=_WOOD)
    other.tick_params(colors=_WOOD, labelsize=9)
    other.spines[["top", "right", "left"]].set_visible(False)
    handles = [part.get_legend_handles_labels() for part in (axes, other)]
    # Above the plot: bars and points may be anywhere in it.
    axes.legend(
        handles[0][0] + handles[1][0], handles[0][1] + handles[1][1], fontsize=9, ncols=2, frameon=False,
        loc="lower right", bbox_to_anchor=(1, 1),
    )  # fmt: skip
    return figure


def plot_weights(report: Report) -> Figure:
    """Histograms of the weights that are not zero, before and now."""
    with_weights = [(i, row) for i, row in enumerate(report) if row.weights is not None]
    chosen = sorted(with_weights, key=lambda pair: -(pair[1].sensitivity or 0.0))[:_HISTOGRAMS]
    rows = [row for _, row in sorted(chosen, key=lambda pair: pair[0])]
    columns = min(4, len(rows))
    lines = -(-len(rows) // columns)
    figure, axes = new_grid(lines, columns, 10, 0.5 + 1.8 * lines)
    for part, row in zip(axes, rows, strict=False):
        _histogram(part, row)
    for part in axes[len(rows) :]:
        part.set_visible(False)
    axes[0].legend(frameon=False, fontsize=8)
    what = "Weights other than zero" + ("" if len(with_weights) <= _HISTOGRAMS else ", of the most sensitive layers")
    figure.suptitle(what, x=0.01, ha="left", fontsize=11)
    return figure


def _histogram(axes: Any, row: LayerReport) -> None:
    assert row.weights is not None
    found = row.weights
    width = (found.high - found.low) / len(found.before)
    edges = [found.low + width * i for i in range(len(found.before) + 1)]
    axes.stairs(found.before, edges, fill=True, color=COLORS["before"], label="float32")
    axes.stairs(found.after, edges, color=COLORS.get(row.scheme, _LEAF), linewidth=1.3, label="now")
    axes.set_title(f"{row.name}  {row.zeros:.0%} zeros", fontsize=8, loc="left")
    axes.tick_params(labelsize=7)
    axes.set_yticks([])


def _name_layers(axes: Any, report: Report) -> None:
    """Names below the axis, as many as can be read."""
    every = max(1, -(-len(report) // 40))
    shown = range(0, len(report), every)
    axes.set_xticks(list(shown), [report[i].name for i in shown], rotation=90, fontsize=7)
    axes.set_xlim(-0.7, len(report) - 0.3)
