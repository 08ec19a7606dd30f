"""docs/networks.md: what was found about each network."""

from __future__ import annotations

from pathlib import Path

from whole.models import SHALLOW
from whole.results import Row

INTRODUCTION = """\
# Networks

Written by `python bench/whole/run.py`, which says how each network was checked, from bench/whole/results.jsonl. The
column **checked** is the day of it: an older row was not run with what has changed since.

Networks as torch, torchvision, timm and transformers define them, with seeded weights, small where they can be, on
noise. Each is compressed with the default options, calibrated on twelve inputs, compiled, saved and loaded. Then it
answers for batches of 1 and 3 at the first of its sizes and at others that the module takes. What is compared:

- the file's answers with those of the compiled network, to the bit, for every instruction set of the machine and for
  1 and 2 threads (scalar kernels for networks of up to 8 million parameters);
- the compiled network with the float32 module, and with the compressed module.

**Whole** means that no operator stays in torch, so that the network has a file. **Free** are the sizes of the inputs
that may change after compiling. **Error** is ||y - y_float|| / ||y_float|| at the size of the calibration, the largest
of all results; of films, the float32 graph is compiled. It says little about trained networks
([accuracy.md](accuracy.md) does): weights drawn at random pass noise on from layer to layer, and in the deepest of them
0.5 % of noise in each layer is 15 % at the end. Sizes that are **refused** are those for which the network's own code
takes another way than for its example, such as windows that are as large as the image; compiled with an example of that
size, it answers.

Detectors give boxes and scores for all of their places; a YOLO's decoding is native. Which boxes are the same object
(non-maximum suppression) is outside: how many are left depends on values, which no size of a graph follows. Do it to
what the network returns, with `torchvision.ops.nms` or some lines of C.

"""
FAMILIES = """
## Families of timm

One network for each module of timm, the smallest whose weights can be made without another package: {whole} of {all}
are whole ({percent} %). Those of up to 4 million parameters are quantized with the quickest options, of the others the
float32 graph is compiled; each is compared with its module at the size of its example and at another one that it takes.
Of some that are large at any size, two layers of each kind are left ({shallow}).

"""


def is_whole(row: Row) -> bool:
    """Whether a network has a file."""
    return not row.get("failed") and not row["reasons"]


def verdict(row: Row) -> str:
    """'yes', or why not, in some words."""
    if row.get("failed"):
        return f"no: {_short(row['failed'])}"
    if row["reasons"]:
        return f"no: {_short(row['reasons'][0])}"
    return "yes" if not row["wrong"] else f"wrong: {_short(row['wrong'][0])}"


def write(rows: dict[str, Row], path: Path) -> None:
    """Writes the page."""
    text = INTRODUCTION
    groups = {name: name for name in ("torch", "transformers", "torchvision", "timm")}
    groups["own"] = "Networks of niwaki's own (bench/whole/own.py)"
    for group, heading in groups.items():
        text += f"## {heading}\n\n| network | whole | free | error | refused | checked |\n|---|---|---|---|---|---|\n"
        text += "".join(_line(row) for name, row in rows.items() if name.startswith(f"{group}/")) + "\n"
    members = [row for name, row in rows.items() if name.startswith("family/")]
    whole = sum(map(is_whole, members))
    percent = 100 * whole // max(1, len(members))
    text = text.rstrip("\n") + "\n"
    text += FAMILIES.format(whole=whole, all=len(members), percent=percent, shallow=", ".join(SHALLOW))
    text += "| network | million parameters | whole | free | refused | checked |\n|---|---|---|---|---|---|\n"
    for row in members:
        millions = f"{row.get('parameters', 0) / 1e6:.1f}"
        text += f"| {_name(row)} | {millions} | {verdict(row)} | {_free(row)} | {_refused(row)} | {_day(row)} |\n"
    path.write_text(text)


def _line(row: Row) -> str:
    return f"| {_name(row)} | {verdict(row)} | {_free(row)} | {_error(row)} | {_refused(row)} | {_day(row)} |\n"


def summary(row: Row) -> str:
    """What the page says of a network, in a line."""
    parts = {"free": _free(row), "error": _error(row), "refused": _refused(row)}
    return "; ".join([verdict(row), *(f"{name} {text}" for name, text in parts.items() if text)])


def _day(row: Row) -> str:
    return str(row.get("checked", ""))


def _error(row: Row) -> str:
    errors = [far for where, far, _ in row.get("errors", []) if not isinstance(far, str)][:2]
    return f"{max(errors):.1%}" if errors else ""


def _refused(row: Row) -> str:
    return ", ".join(sorted({problem.split(": ")[0].partition("size ")[2] for problem in row.get("refused", [])}))


def _name(row: Row) -> str:
    return str(row["name"]).partition("/")[2]


def _free(row: Row) -> str:
    sizes = row.get("sizes", {})
    named = [f"{name}{_limits(*limits)}" for name, limits in sizes.items()]
    return ", ".join(named)


def _limits(low: int, high: int | None) -> str:
    return f" up to {high}" if high is not None else f" from {low}" if low > 1 else ""


def _short(text: str) -> str:
    line = " ".join(text.split()).replace("|", "\\|")
    return line if len(line) <= 160 else line[:157] + "..."
