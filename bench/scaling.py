"""How the cost of ResNet-50 grows with the batch and with the image: python bench/scaling.py [--threads 2]

One compiled network runs at batches 1 to 64 and at image sizes 128 to 512, dense and with 85 % of its blocks zero.
Writes docs/scaling.png and prints the numbers. A cliff, where a little more work costs much more time, would show as a
jump between neighbours; the largest one is named.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peers.networks import build, calibration

import niwaki
from niwaki import _core
from niwaki.runs.progress import track
from niwaki.runtime.text import align

CASES = {"resnet50-dense": "dense", "resnet50-block85": "85 % of blocks zero"}
BATCHES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
SIZES = tuple(range(128, 513, 32))
SIZE = 224


@dataclass(frozen=True)
class Point:
    """A shape of the input, and what one call took."""

    batch: int
    size: int
    milliseconds: float

    @property
    def per_image(self) -> float:
        """Milliseconds."""
        return self.milliseconds / self.batch

    @property
    def per_pixel(self) -> float:
        """Nanoseconds per pixel of the input image."""
        return self.per_image * 1e6 / self.size**2


def measure(network: niwaki.Network, shapes: Sequence[tuple[int, int]], rounds: int, label: str) -> list[Point]:
    """Times a network at each (batch, size): the fastest of two calls in each of some rounds.

    Each round visits all shapes, so that a slow minute of the machine spoils none of them: what else runs only adds.
    """
    inputs = [torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(0)) for batch, size in shapes]
    times: list[list[float]] = [[] for _ in shapes]
    for _ in track(range(rounds), label):
        for x, of_shape in zip(inputs, times, strict=True):
            network(x)
            of_shape.append(min(_milliseconds(network, x) for _ in range(2)))
    return [Point(*shape, min(found)) for shape, found in zip(shapes, times, strict=True)]


def _milliseconds(network: niwaki.Network, x: torch.Tensor) -> float:
    begin = time.perf_counter()
    network(x)
    return (time.perf_counter() - begin) * 1e3


def worst_jump(points: Sequence[Point]) -> tuple[float, Point]:
    """The largest rise of the time per pixel from one point to the next, as a share, and the point where it ends."""
    rises = [(after.per_pixel / before.per_pixel - 1, after) for before, after in itertools.pairwise(points)]
    return max(rises, key=lambda rise: rise[0])


def draw(found: dict[str, tuple[list[Point], list[Point]]], heading: str, path: Path) -> None:
    """Two panels: milliseconds per image over the batch, nanoseconds per pixel over the image size."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for name, (batches, sizes) in found.items():
        left.plot([p.batch for p in batches], [p.per_image for p in batches], "o-", label=name)
        right.plot([p.size for p in sizes], [p.per_pixel for p in sizes], "o-", label=name)
    left.set_xscale("log", base=2)
    left.set_xticks(BATCHES, [str(batch) for batch in BATCHES], fontsize=8)
    left.minorticks_off()
    left.set_xlabel(f"batch, at {SIZE} x {SIZE}")
    left.set_ylabel("milliseconds per image")
    right.set_xlabel("height and width of the image, batch 1")
    right.set_ylabel("nanoseconds per pixel of the image")
    for panel in (left, right):
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    left.legend()
    figure.suptitle(heading, fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--output", type=Path, default=Path(__file__).resolve().parents[1] / "docs" / "scaling.png")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    found: dict[str, tuple[list[Point], list[Point]]] = {}
    for case, name in CASES.items():
        small, _ = niwaki.compress(build(case), calibration(SIZE))
        network = niwaki.compile(small, (torch.zeros(1, 3, SIZE, SIZE),), threads=options.threads)
        batches = measure(network, [(batch, SIZE) for batch in BATCHES], options.rounds, f"{name}, batches")
        sizes = measure(network, [(1, size) for size in SIZES], options.rounds, f"{name}, sizes")
        found[name] = (batches, sizes)
    threads = f"{options.threads} thread{'s' * (options.threads > 1)}"
    draw(found, f"ResNet-50 on {_core.cpu_name()}, {_core.isa()}, {threads}", options.output)

    header = ("batch", "size", *(f"{name}, {unit}" for name in found for unit in ("ms per image", "ns per pixel")))
    for part in (0, 1):
        rows = [
            (
                str(points[0].batch),
                str(points[0].size),
                *(cell for point in points for cell in (f"{point.per_image:.2f}", f"{point.per_pixel:.1f}")),
            )
            for points in zip(*(of_case[part] for of_case in found.values()), strict=True)
        ]
        print(align(header, rows, right=range(len(header))), end="\n\n")
    for name, parts in found.items():
        for part in parts:
            rise, point = worst_jump(part)
            print(f"{name}: the largest rise per pixel is {rise:+.1%}, to batch {point.batch} at size {point.size}")


if __name__ == "__main__":
    main()
