"""Draws docs/speed.svg, the picture of README.md, from the table in docs/comparison.md:

python docs/make_speed.py
"""

from __future__ import annotations

from pathlib import Path

DOCS = Path(__file__).resolve().parent
SETTING = "1, 1"
NETWORKS = ("resnet50, dense", "resnet50, 85 % of blocks", "mobilenet_v2, dense")
ENGINES = {"niwaki": "#2f7d4f", "OpenVINO": "#8073ac", "ONNX Runtime": "#4393c3", "DeepSparse": "#e08214"}
INK = "#6e7781"  # on white and on black
BAR, GAP, LEFT, WIDTH, SCALE = 18, 22, 110, 720, 30  # pixels; SCALE of them are a millisecond


def rows() -> dict[str, dict[str, float]]:
    """Milliseconds of each engine for the networks that are drawn, by name."""
    lines = [line for line in (DOCS / "comparison.md").read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    header = next(cells for cells in table if cells[0] == "network")
    found = {cells[0]: cells for cells in table if len(cells) == len(header) and cells[1] == SETTING}
    return {
        name: {
            engine: float(found[name][header.index(engine)].strip("*").split(" ")[0].strip("*")) for engine in ENGINES
        }
        for name in NETWORKS
    }


def picture() -> str:
    """The picture as SVG."""
    parts: list[str] = []
    y = 34
    for name, times in rows().items():
        parts.append(f'<text x="0" y="{y}" font-weight="600">{name}</text>')
        y += 10
        for engine, milliseconds in times.items():
            width = milliseconds * SCALE
            parts.append(f'<text x="{LEFT - 8}" y="{y + 13}" text-anchor="end" font-size="12">{engine}</text>')
            parts.append(
                f'<rect x="{LEFT}" y="{y}" width="{width:.0f}" height="{BAR - 4}" rx="2" fill="{ENGINES[engine]}"/>'
            )
            parts.append(f'<text x="{LEFT + width + 6:.0f}" y="{y + 12}" font-size="12">{milliseconds:.2f}</text>')
            y += BAR
        y += GAP
    head = '<text x="0" y="14">Milliseconds per image, int8, one image on one thread: shorter is faster</text>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y - GAP + 6}" width="{WIDTH}" '
        f'font-family="system-ui, sans-serif" font-size="13" fill="{INK}">\n' + "\n".join([head, *parts]) + "\n</svg>\n"
    )


if __name__ == "__main__":
    (DOCS / "speed.svg").write_text(picture(), encoding="utf-8")
