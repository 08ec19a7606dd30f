"""The comparison as a picture: bars of milliseconds per image, a panel for each setting."""

from __future__ import annotations

from pathlib import Path

from peers.cases import ENGINES, Case
from peers.table import shown

COLOURS = {
    "niwaki": "#1b7837",
    "onnxruntime": "#4393c3",
    "openvino": "#8073ac",
    "deepsparse": "#e08214",
    "torch-int8": "#878787",
    "torch-fp32": "#c4c4c4",
}


def draw(result: dict, path: Path) -> None:
    """Writes a PNG. Bars of torch in float32, which takes many times as long as the rest, may run out of the picture;
    their numbers stay inside."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    settings = list(dict.fromkeys((row["batch"], row["threads"]) for row in result["rows"]))
    engines = shown(result)
    most = max(sum((row["batch"], row["threads"]) == setting for row in result["rows"]) for setting in settings)
    figure, panels = pyplot.subplots(
        1, len(settings), figsize=(5.2 * len(settings), 1.6 + 0.78 * most), squeeze=False, layout="constrained"
    )
    for panel, setting in zip(panels[0], settings, strict=True):
        rows = [row for row in result["rows"] if (row["batch"], row["threads"]) == setting]
        height = 0.85 / len(engines)
        compared = [
            entry["ms_per_image"] for row in rows for key, entry in row["engines"].items() if key != "torch-fp32"
        ]
        widest = 1.15 * max(compared, default=1.0)
        for index, engine in enumerate(engines):
            places = [place for place, row in enumerate(rows) if engine in row["engines"]]
            times = [rows[place]["engines"][engine]["ms_per_image"] for place in places]
            positions = [place + (index - (len(engines) - 1) / 2) * height for place in places]
            panel.barh(positions, times, height, label=ENGINES[engine], color=COLOURS[engine])
            for position, ms in zip(positions, times, strict=True):
                panel.text(min(ms, widest) + 0.01 * widest, position, f"{ms:.1f}", va="center", fontsize=6)
        panel.set_yticks(range(len(rows)), [Case.parse(row["case"]).title for row in rows], fontsize=8)
        panel.invert_yaxis()
        panel.set_xlim(0, 1.12 * widest)
        panel.spines[["top", "right"]].set_visible(False)
        panel.set_xlabel("milliseconds per image")
        batch, threads = setting
        panel.set_title(f"batch {batch}, {threads} thread{'s' * (threads > 1)}", fontsize=10)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8, frameon=False)
    figure.suptitle(f"{result['machine']['cpu']}: shorter is faster", fontsize=11)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
