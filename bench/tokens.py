"""What a token costs in sequences of 8 to 512 tokens: python bench/tokens.py

A text encoder of MiniLM-L6's sizes (bench/encoder.py), int8, dense and with 85 % of its blocks zero, batch 1, one
thread. Each network is compiled once, for all lengths. Writes docs/cost-per-token.png and .json and names the largest
rise from one length to the next.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from encoder import build, inputs

import niwaki
from niwaki import _core
from niwaki.runs.progress import track
from niwaki.runtime.text import align

FORMS = {"int8": 0.0, "int8, 85 % of blocks zero": 0.85}
# Multiples of 16, the tokens in a 512-bit vector of sums, half of that, and lengths that are a token longer.
LENGTHS = (8, 16, 17, 24, 32, 33, 48, 64, 65, *range(80, 129, 16), 129, *range(144, 257, 16), 257, *range(272, 513, 16))
WARM, TIMED = 4, 2  # calls
Points = dict[int, float]


def compressed(zeros: float) -> niwaki.Network:
    """The network of a form. It is compiled for 128 tokens; the others are sizes that it takes, too."""
    calibration = [inputs(tokens, batch=2, seed=tokens) for tokens in (24, 64, 128, 200)]
    small, _ = niwaki.compress(build(zeros), calibration, progress=False)
    return niwaki.compile(small, inputs(128), threads=1)


def measure(networks: Mapping[str, niwaki.Network], lengths: Sequence[int], rounds: int) -> dict[str, Points]:
    """Milliseconds of a call at each length that came before: medians over rounds.

    Each round visits all lengths of all networks, so that a slow minute of the machine hits all alike. The time is that
    of this thread on its CPU: what waits while others run does not count.
    """
    taken: dict[str, dict[int, list[float]]] = {name: {tokens: [] for tokens in lengths} for name in networks}
    arguments = {tokens: inputs(tokens) for tokens in lengths}
    for _ in track(range(rounds), "lengths"):
        for tokens, (name, network) in itertools.product(lengths, networks.items()):
            for _ in range(WARM):  # plans this length, fills the caches, and branches are learnt
                network(*arguments[tokens])
            for _ in range(TIMED):
                begin = time.thread_time()
                network(*arguments[tokens])
                taken[name][tokens].append((time.thread_time() - begin) * 1e3)
    return {name: {tokens: statistics.median(times) for tokens, times in of.items()} for name, of in taken.items()}


def worst_rise(points: Points) -> tuple[float, int]:
    """The largest rise of the time per token from a length to the next longer one, as a share, and the longer one."""
    costs = [(points[tokens] / tokens, tokens) for tokens in sorted(points)]
    rises = [(after / before - 1, tokens) for (before, _), (after, tokens) in itertools.pairwise(costs)]
    return max(rises, key=lambda rise: rise[0])


def draw(found: Mapping[str, Points], heading: str, path: Path) -> None:
    """Microseconds per token over the length."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4), layout="constrained")
    for name, points in found.items():
        axes.plot(list(points), [1e3 * points[tokens] / tokens for tokens in points], "o-", markersize=4, label=name)
    axes.set_xscale("log", base=2)
    ticks = [2**power for power in range(3, 10)]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("tokens in the sequence")
    axes.set_ylabel("microseconds per token")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend()
    axes.set_title(heading, fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--output", type=Path, default=Path(__file__).resolve().parents[1] / "docs/cost-per-token.png")
    parser.add_argument("--files", type=Path, help="folder with the networks of an earlier run; or they are put there")
    options = parser.parse_args()
    torch.set_num_threads(1)

    networks: dict[str, niwaki.Network] = {}
    for name, zeros in FORMS.items():
        path = options.files / f"minilm-{zeros:.0%}.niwaki" if options.files else None
        if path and path.is_file():
            networks[name] = niwaki.load(path, threads=1)
            continue
        networks[name] = compressed(zeros)
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            networks[name].save(path)
    found = measure(networks, LENGTHS, options.rounds)
    cpu = f"{_core.cpu_name()}, {_core.isa()}, one thread"
    draw(found, f"MiniLM-L6 on {cpu}", options.output)
    table = {name: {str(tokens): round(taken, 4) for tokens, taken in points.items()} for name, points in found.items()}
    text = json.dumps({"cpu": cpu, "rounds": options.rounds, "milliseconds": table}, indent=1)
    options.output.with_suffix(".json").write_text(text + "\n", encoding="utf-8")

    header = ("tokens", *(f"{name}, {unit}" for name in found for unit in ("ms", "us per token")))
    rows = [
        (str(tokens), *(c for p in found.values() for c in (f"{p[tokens]:.2f}", f"{1e3 * p[tokens] / tokens:.1f}")))
        for tokens in LENGTHS
    ]
    print(align(header, rows, right=range(len(header))), end="\n\n")
    for name, points in found.items():
        rise, tokens = worst_rise(points)
        print(f"{name}: the largest rise per token from a length to the next is {rise:+.1%}, to {tokens}")


if __name__ == "__main__":
    main()
