"""The innermost loops of the Arm kernels, found in what the compiler made: what arm_cycles.py looks at."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]

# Products that one instruction makes.
PRODUCTS = {"usmmla": 32, "sdot": 16, "usdot": 16, "sudot": 16, "smull": 8, "smull2": 8, "smlal": 8, "smlal2": 8}
BRANCH = re.compile(r"(?:b|b\.\w+|cbn?z|tbn?z)\s(?:.*,\s*)?([0-9a-f]+) <")


@dataclass(frozen=True)
class Kernel:
    """A kind of kernel: the function that holds its loop, and what the loop is."""

    name: str
    function: str
    sizes: dict[str, int]  # by instruction set: the template's argument

    def tile(self, isa: str) -> str:
        size = self.sizes[isa]
        outputs = {"dense": 4 if isa == "neon" else 8, "wide": 16}.get(self.name)
        pixels = size if self.name == "wide" else 4 * size
        return f"{pixels} pixel{'s' if pixels > 1 else ''} x {outputs or 1} output{'s' if outputs else ''}"


KERNELS = (
    Kernel("dense", "dense_part", {"neon": 2, "dotprod": 3, "i8mm": 3}),
    Kernel("sparse", "sparse_tile", {"neon": 8, "dotprod": 16, "i8mm": 16}),
    Kernel("sparse", "sparse_tile", {"neon": 4, "dotprod": 8, "i8mm": 8}),
    Kernel("sparse", "sparse_tile", {"neon": 1, "dotprod": 1, "i8mm": 1}),
    Kernel("wide", "wide_tile", {"neon": 2, "dotprod": 6, "i8mm": 6}),
    Kernel("wide", "wide_tile", {"neon": 1, "dotprod": 1, "i8mm": 1}),
)


@dataclass(frozen=True)
class Loop:
    """One turn of a loop without branches inside: its instructions as objdump writes them."""

    lines: tuple[str, ...]

    @property
    def mnemonics(self) -> tuple[str, ...]:
        return tuple(line.split()[0] for line in self.lines)

    @property
    def products(self) -> int:
        return sum(PRODUCTS.get(word, 0) for word in self.mnemonics)


def functions(disassembly: str) -> dict[str, list[tuple[int, str]]]:
    """objdump's text as (address, instruction) by demangled function."""
    found: dict[str, list[tuple[int, str]]] = {}
    lines: list[tuple[int, str]] = []
    for line in disassembly.splitlines():
        if head := re.match(r"[0-9a-f]+ <(.*)>:$", line):
            lines = found.setdefault(head[1], [])
        elif instruction := re.match(r"\s*([0-9a-f]+):\s+(.*)$", line):
            lines.append((int(instruction[1], 16), instruction[2].replace("\t", " ")))
    return found


def loops(instructions: list[tuple[int, str]]) -> Iterable[Loop]:
    """The innermost loops of a function: from the target of a branch backwards to that branch, with none in between."""
    at = {address: index for index, (address, _) in enumerate(instructions)}
    for index, (_, text) in enumerate(instructions):
        branch = BRANCH.match(text)
        start = at.get(int(branch[1], 16)) if branch else None
        if start is None or start > index:
            continue
        body = [line for _, line in instructions[start : index + 1]]
        if not any(re.match(r"(b|bl|blr|ret|cbn?z|tbn?z|b\.\w+)\s", line) for line in body[:-1]):
            yield Loop(tuple(body))


def main_loop(disassembly: str, function: str, size: int) -> Loop:
    """The loop with the most products of function<size>.

    Raises:
        LookupError: there is no such function, or no loop with products in it.
    """
    wanted = f"{function}<{size}>"
    for name, instructions in functions(disassembly).items():
        if wanted in name and (found := [loop for loop in loops(instructions) if loop.products > 0]):
            return max(found, key=lambda loop: loop.products)
    raise LookupError(f"{wanted}: no loop that multiplies; is the build newer than this script expects?")


def disassemble(build: Path, isa: str, objdump: str) -> str:
    path = build / f"CMakeFiles/niwaki_core.dir/csrc/kernels/conv/arm_{isa}.cc.o"
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file; build for Arm first (make test-arm).")
    command = [objdump, "--disassemble", "--no-show-raw-insn", "--demangle", str(path)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
