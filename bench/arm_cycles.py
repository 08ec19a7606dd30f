"""Cycles of the innermost loops of the Arm kernels, by LLVM's models of the cores, which llvm-mca runs.

    cmake --preset aarch64 && cmake --build --preset aarch64
    python bench/arm_cycles.py --page docs/arm.md

It wants llvm-mca of LLVM 17 or later (apt-get install llvm-19). A model knows how long instructions take and what they
wait for, with all data in the L1 cache and every branch foreseen. It is no board.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from arm_loops import KERNELS, ROOT, Loop, disassemble, main_loop
from peers.table import put_into

MARKS = ("<!-- cycles -->", "<!-- end -->")
LEAST_VERSION = 17  # has models of Neoverse N1 and V1 of their own
TURNS = 100


@dataclass(frozen=True)
class Core:
    """A core: its name, whose model of LLVM stands for it, and the best instruction set that it runs."""

    name: str
    model: str
    isa: str


# LLVM has no model of a Cortex-A72 but the A57's, and none of an A76, whose pipeline is that of Neoverse N1.
CORES = (
    Core("Cortex-A53", "cortex-a53", "neon"),
    Core("Cortex-A72", "cortex-a72", "neon"),
    Core("Cortex-A55", "cortex-a55", "dotprod"),
    Core("Cortex-A76, Neoverse N1", "neoverse-n1", "dotprod"),
    Core("Neoverse V1", "neoverse-v1", "i8mm"),
)


def assembly(loop: Loop) -> str:
    """The loop as an assembler reads it: branches go to its start, and objdump's remarks are gone."""
    lines = [re.sub(r"\s*//.*", "", line) for line in loop.lines]
    return "\n".join([".Lturn:", *(re.sub(r"[0-9a-f]+ <.*>$", ".Lturn", line) for line in lines)]) + "\n"


def cycles(report: str) -> float:
    """Of one turn, from llvm-mca's report on TURNS of them.

    Raises:
        LookupError: it is no such report.
    """
    if found := re.search(r"^Total Cycles:\s+(\d+)$", report, re.MULTILINE):
        return int(found[1]) / TURNS
    raise LookupError("llvm-mca's report has no line 'Total Cycles'")


def version(text: str) -> int:
    """LLVM's major version, from what `llvm-mca --version` says; 0 where it says none."""
    found = re.search(r"LLVM version (\d+)", text)
    return int(found[1]) if found else 0


def simulate(mca: str, core: Core, loop: Loop) -> float:
    command = [mca, "-mtriple=aarch64", f"-mcpu={core.model}", "-mattr=+dotprod,+i8mm", f"-iterations={TURNS}"]
    return cycles(subprocess.run(command, check=True, capture_output=True, text=True, input=assembly(loop)).stdout)


def markdown(rows: Iterable[tuple[str, str, str, Loop, float]]) -> str:
    """A table of (kernel, tile, core, loop, cycles of a turn)."""
    lines = [
        "| core | kernel | tile | products a turn | instructions | cycles | products a cycle |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    for kernel, tile, core, loop, count in rows:
        cells = (core, kernel, tile, loop.products, len(loop.lines), f"{count:.0f}", f"{loop.products / count:.1f}")
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "aarch64", help="default: build/aarch64")
    parser.add_argument("--objdump", default="aarch64-linux-gnu-objdump")
    parser.add_argument("--mca", default="llvm-mca-19", help="default: llvm-mca-19")
    parser.add_argument("--page", type=Path, metavar="FILE.md", help="put the table between its marks in this file")
    options = parser.parse_args(arguments)
    for tool, package in ((options.objdump, "g++-aarch64-linux-gnu"), (options.mca, "llvm-19; --mca names another")):
        if shutil.which(tool) is None:
            print(f"{tool} is not installed: it comes with {package}.", file=sys.stderr)
            return 1
    said = subprocess.run([options.mca, "--version"], check=False, capture_output=True, text=True).stdout
    if version(said) < LEAST_VERSION:
        print(
            f"{options.mca} is of LLVM {version(said)}, which lacks models: {LEAST_VERSION} or later is needed.",
            file=sys.stderr,
        )
        return 1
    try:
        texts = {core.isa: disassemble(options.build, core.isa, options.objdump) for core in CORES}
        rows = []
        for core in CORES:
            for kernel in KERNELS:
                loop = main_loop(texts[core.isa], kernel.function, kernel.sizes[core.isa])
                rows.append((kernel.name, kernel.tile(core.isa), core.name, loop, simulate(options.mca, core, loop)))
    except (FileNotFoundError, LookupError) as error:
        print(error, file=sys.stderr)
        return 1
    text = markdown(rows)
    print(text, end="")
    if options.page:
        options.page.write_text(put_into(options.page.read_text(encoding="utf-8"), text, MARKS), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
