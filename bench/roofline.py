"""Each layer of ResNet-50 against what the machine can do: python bench/roofline.py [--case resnet50-block85]

A layer can't be faster than its multiplications on the int8 instruction (operands in registers, `_core.int8_limit`),
nor than the reading of its weights, which the rest of the network has pushed out of the inner caches since the last
image. The bound is the longer of the two; zeros that are skipped count in neither. Activations are left out: at batch 1
they stay in the L2 cache. Prints a table and writes a picture.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from peers.networks import build, calibration
from peers.table import put_into

import niwaki
from niwaki import _core
from niwaki.runs.progress import track
from niwaki.runtime.plan import PlanStep


@dataclass(frozen=True)
class Machine:
    """What all threads together reach: `macs` multiply-accumulates and `bytes` read, a second."""

    macs: float
    bytes: float


@dataclass(frozen=True)
class Layer:
    """A layer and its bounds in milliseconds."""

    step: PlanStep
    milliseconds: float
    arithmetic: float
    memory: float

    @property
    def work(self) -> float:
        """Multiply-accumulates that are left when zeros are skipped."""
        return kept_macs(self.step)

    @property
    def bound(self) -> float:
        return max(self.arithmetic, self.memory)


def kept_macs(step: PlanStep) -> float:
    """A sparse kernel has to do what is left, a dense one everything."""
    return step.macs * (1 - step.zeros) if step.scheme == "sparse int8" else float(step.macs)


def bounds(steps: Sequence[PlanStep], milliseconds: Sequence[float], machine: Machine) -> list[Layer]:
    """The layers that multiply, with their bounds."""
    return [
        Layer(step, ms, kept_macs(step) / machine.macs * 1e3, step.bytes / machine.bytes * 1e3)
        for step, ms in zip(steps, milliseconds, strict=True)
        if step.macs
    ]


def read_speed(size: int, threads: int, seconds: float) -> float:
    """Bytes a second that the threads read when they walk `size` bytes again and again, shared among them."""
    parts = np.array_split(np.zeros(size, np.uint8), threads)
    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            begin = time.perf_counter()
            list(pool.map(np.max, parts))
            best = max(best, size / (time.perf_counter() - begin))
    return best


def measure(case: str, threads: int, rounds: int, size: int) -> tuple[list[PlanStep], list[float], Machine]:
    """The steps of a compiled network at batch 1, the least milliseconds of each, and the machine's limits.

    The limits are measured between the rounds, and the best of them counts, as the best of each layer does: what else
    runs on the machine only takes away.
    """
    torch.set_num_threads(threads)
    small, _ = niwaki.compress(build(case), calibration(size))
    x = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    network = niwaki.compile(small, (x,), threads=threads)
    for _ in range(3):
        network(x)
    weights = network.plan.bytes
    times, macs, speeds = [], [], []
    for index in track(range(rounds), case):
        if index % 4 == 0:
            macs.append(_core.int8_limit(0.05))
            speeds.append(read_speed(weights, threads, 0.05))
            network(x)
        network(x)
        times.append([step.milliseconds or 0.0 for step in network.plan])
    least = [min(of_step) for of_step in zip(*times, strict=True)]
    return list(network.plan), least, Machine(max(macs) * threads, max(speeds))


def alike(layers: Sequence[Layer]) -> list[tuple[str, list[Layer]]]:
    """Layers of the same kernel and work in the blocks of one stage, under one name: "layer3.1-5.conv2".

    A stage's first block, which may have another stride, stands alone.
    """
    groups: dict[tuple, list[Layer]] = {}
    for layer in layers:
        parts = layer.step.name.split(".")
        first = len(parts) < 3 or parts[1] == "0"
        key = (layer.step.kernel, layer.step.macs, parts[0], parts[2:], layer.step.name if first else "")
        groups.setdefault(tuple(map(str, key)), []).append(layer)
    named = []
    for members in groups.values():
        name = members[0].step.name
        if len(members) > 1:
            stage, block, rest = name.split(".", 2)
            name = f"{stage}.{block}-{members[-1].step.name.split('.')[1]}.{rest}"
        named.append((name, members))
    return named


def markdown(layers: Sequence[Layer], rest: float) -> str:
    """The table, means over layers that are alike. `rest`: milliseconds of the steps that multiply nothing."""
    rows = [
        ["layer", "count", "kernel", "MMAC", "zeros", "weights kB", "bound ms", "by", "ms", "of bound"],
        ["---", "--:", "---", "--:", "--:", "--:", "--:", "---", "--:", "--:"],
    ]
    for name, members in alike(layers):
        step = members[0].step
        bound = statistics.mean(layer.bound for layer in members)
        milliseconds = statistics.mean(layer.milliseconds for layer in members)
        rows.append(
            [
                name,
                str(len(members)),
                step.kernel,
                f"{step.macs * 1e-6:.1f}",
                f"{statistics.mean(layer.step.zeros for layer in members):.0%}",
                f"{statistics.mean(layer.step.bytes for layer in members) * 1e-3:.0f}",
                f"{bound:.3f}",
                "arithmetic" if members[0].arithmetic >= members[0].memory else "memory",
                f"{milliseconds:.3f}",
                f"{bound / milliseconds:.0%}" if milliseconds else "",
            ]
        )
    bound, total = sum(layer.bound for layer in layers), sum(layer.milliseconds for layer in layers)
    macs, weights = sum(layer.step.macs for layer in layers), sum(layer.step.bytes for layer in layers)
    of_bound = f"{bound / total:.0%}" if total else ""
    sums = [f"{macs * 1e-6:.0f}", "", f"{weights * 1e-3:.0f}", f"{bound:.2f}", "", f"{total:.2f}", of_bound]
    rows.append(["all", str(len(layers)), "", *sums])
    rows.append(["what multiplies nothing", *[""] * 7, f"{rest:.2f}", ""])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def draw(layers: Sequence[Layer], machine: Machine, heading: str, path: Path) -> None:
    """Speed over intensity, both logarithmic, under the two roofs; the area of a dot is the layer's time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7.5, 4.5), layout="constrained")
    intensities = [layer.work / layer.step.bytes for layer in layers]
    span = np.geomspace(min(intensities) / 2, max(intensities) * 2, 200)
    axes.plot(span, np.minimum(machine.macs, span * machine.bytes) * 1e-9, color="black", linewidth=1)
    for kernel in dict.fromkeys(layer.step.kernel for layer in layers):
        chosen = [index for index, layer in enumerate(layers) if layer.step.kernel == kernel]
        axes.scatter(
            [intensities[index] for index in chosen],
            [layers[index].work / layers[index].milliseconds * 1e-6 for index in chosen],
            [400 * layers[index].milliseconds for index in chosen],
            alpha=0.5,
            label=kernel,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("multiply-accumulates per byte of weights (zeros that are skipped left out)")
    axes.set_ylabel("GMAC/s")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, markerscale=0.4)
    axes.set_title(heading, fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", default="resnet50-dense", help="as in bench/peers, for example resnet50-block85")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--size", type=int, default=224, help="of the image")
    parser.add_argument("--output", type=Path, metavar="FILE.png", help="default: docs/roofline-<case>.png")
    parser.add_argument("--page", type=Path, metavar="FILE.md", help="put the table between its marks in this file")
    options = parser.parse_args()
    output = options.output or Path(__file__).resolve().parents[1] / "docs" / f"roofline-{options.case}.png"

    steps, milliseconds, machine = measure(options.case, options.threads, options.rounds, options.size)
    weights = sum(step.bytes for step in steps)
    layers = bounds(steps, milliseconds, machine)
    rest = sum(ms for step, ms in zip(steps, milliseconds, strict=True) if not step.macs)
    heading = (
        f"{options.case} at {options.size} x {options.size}, batch 1, {_core.cpu_name()}, threads: {options.threads}\n"
        f"{machine.macs * 1e-9:.0f} GMAC/s, {machine.bytes * 1e-9:.1f} GB/s from {weights * 1e-6:.1f} MB"
    )
    text = f"{heading}\n\n{markdown(layers, rest)}"
    print(text)
    if options.page:
        marks = (f"<!-- roofline {options.case} -->", f"<!-- roofline {options.case}: end -->")
        page = put_into(options.page.read_text(encoding="utf-8"), text, marks)
        options.page.write_text(page, encoding="utf-8")
    draw(layers, machine, heading, output)


if __name__ == "__main__":
    main()
