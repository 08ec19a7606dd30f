"""`niwaki bench`: how fast a .niwaki file runs on this machine, as a whole and layer by layer."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from niwaki.cli.console import UsageError
from niwaki.runs.progress import track
from niwaki.runtime.noise import noise
from niwaki.runtime.plan import Plan, PlanStep

STEP_FIELDS = ("name", "op", "scheme", "kernel", "zeros", "bytes", "reason")

EXAMPLES = """\
examples:
  niwaki bench resnet50.niwaki --batch 1 --threads 2
  niwaki bench resnet50.niwaki --layers --sort ms           where does the time go?
  niwaki bench resnet50.niwaki --layers --sort gmacs        which layers are slow for what they do?
  NIWAKI_ISA=avx2 niwaki bench resnet50.niwaki              as on a machine without VNNI
"""


def add_parser(commands: Any) -> None:
    """Adds the command to the `niwaki` parser."""
    parser = commands.add_parser(
        "bench",
        help="time a .niwaki file on this machine",
        description="Time a .niwaki file on this machine, on noise: the answers do not matter for the speed.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument("file", metavar="FILE", help="a .niwaki file")
    parser.add_argument("--entry", metavar="NAME", help="which entry point of a file that has several")
    parser.add_argument("--batch", type=_count, default=1, metavar="N", help="images at a time (default: 1)")
    parser.add_argument("--threads", type=_count, default=1, metavar="N", help="default: 1")
    parser.add_argument(
        "--size",
        "--input-size",
        type=_size,
        metavar="N or HxW",
        help="height and width of the images (default: what the network was made for)",
    )
    parser.add_argument("--rounds", type=_count, default=50, metavar="N", help="calls to time (default: 50)")
    parser.add_argument(
        "--layers", action="store_true", help="show kernel, zeros, milliseconds and GMAC/s of each layer"
    )
    parser.add_argument(
        "--sort",
        choices=ORDERS,
        default="order",
        help="of --layers: as they run (order, the default), longest first (ms), or slowest first (gmacs)",
    )
    parser.add_argument(
        "--autotune", action="store_true", help="time the kernels that each layer could have, keep the fastest"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def _speed(step: PlanStep) -> tuple[bool, float]:
    """Least GMAC/s first; what multiplies nothing last, the longest first."""
    rate = step.gmacs_per_second
    return rate is None, -(step.milliseconds or 0.0) if rate is None else rate


ORDERS: dict[str, Callable[[PlanStep], Any] | None] = {
    "order": None,
    "ms": lambda step: -(step.milliseconds or 0.0),
    "gmacs": _speed,
}


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least 1")
    return int(text)


def _size(text: str) -> tuple[int, int]:
    parts = [_count(part) for part in text.lower().split("x")]
    if len(parts) > 2:
        raise argparse.ArgumentTypeError(f"'{text}' is not a size; write 224 or 192x256")
    return parts[0], parts[-1]


@dataclass(frozen=True)
class Waits:
    """Where threads had nothing to do in a step: milliseconds, those of all threads added up, medians of all calls.

    Attributes:
        alone: while one thread did what is not divided.
        begin: until they had their first task: they had not heard of the step yet, or the others were faster.
        end: after their last task, until the slowest thread was done.
    """

    alone: float
    begin: float
    end: float

    @property
    def all(self) -> float:
        return self.alone + self.begin + self.end


@dataclass(frozen=True)
class Timing:
    """What `measure` found: milliseconds of each call with the whole batch, and a plan with medians of all calls, and
    for each of its steps where threads waited."""

    shapes: list[tuple[int, ...]]
    isa: str
    milliseconds: list[float]
    plan: Plan
    activation_bytes: int
    waits: list[Waits]

    @property
    def median(self) -> float:
        return statistics.median(self.milliseconds)


def _entry(path: str, entry: str | None) -> Any:
    from niwaki import _core

    entries = dict(_core.load_entries(path))
    if entry is None and len(entries) == 1:
        return next(iter(entries.values()))
    if entry not in entries:
        names = ", ".join(filter(None, entries)) or "none"
        raise UsageError(
            f"{path} has several entry points: {names}; say which with --entry."
            if entry is None
            else f"{path} has no entry point '{entry}'; there are: {names}."
        )
    return entries[entry]


def measure(
    path: str,
    batch: int,
    threads: int,
    size: tuple[int, int] | None,
    rounds: int,
    *,
    entry: str | None = None,
    autotune: bool = False,
) -> Timing:
    """Times a file on seeded noise.

    Args:
        path: a .niwaki file.
        batch: images at a time.
        size: their height and width; None for what the network was made for.
        threads: for one call.
        rounds: calls to time, after three that are not.
        entry: which entry point of a file that has several.
        autotune: choose kernels by timing them for these images and threads.
    """
    from niwaki import _core

    graph = _entry(path, entry)
    inputs = noise(graph, batch, size)
    shapes = [array.shape for array in inputs]
    model = _core.Model.autotuned(graph, shapes, threads=threads) if autotune else _core.Model(graph)
    session = _core.Session(model, threads)
    outputs = [
        np.empty(shape, port["dtype"])
        for shape, port in zip(session.output_shapes(shapes), graph.output_ports, strict=True)
    ]
    addresses = [(array.ctypes.data, array.shape) for array in inputs]
    results = [array.ctypes.data for array in outputs]
    session.measure_waits(threads > 1)
    for _ in range(3):
        session.run(addresses, results)
    milliseconds, profiles, waits = [], [], []
    for _ in track(range(rounds), "timing"):
        begin = time.perf_counter()
        session.run(addresses, results)
        milliseconds.append((time.perf_counter() - begin) * 1e3)
        profiles.append(session.profile())
        waits.append(session.waits())
    plan = Plan(
        PlanStep(**{field: step[field] for field in STEP_FIELDS}, milliseconds=statistics.median(times), macs=macs)
        for step, macs, times in zip(model.steps(), session.macs(), zip(*profiles, strict=True), strict=True)
    )
    medians = [Waits(*map(statistics.median, zip(*of_step, strict=True))) for of_step in zip(*waits, strict=True)]
    return Timing(shapes, model.isa, milliseconds, plan, session.activation_bytes, medians)


def waiting(timing: Timing, threads: int) -> str:
    """For what the threads waited, of their time in all steps, and where most. Two or more threads."""
    taken = threads * sum(step.milliseconds or 0.0 for step in timing.plan)
    if not taken:
        return "No step took any time."
    alone, begin, end = (sum(getattr(each, of) for each in timing.waits) for of in ("alone", "begin", "end"))
    most = sorted(zip(timing.plan, timing.waits, strict=True), key=lambda pair: -pair[1].all)[:3]
    return (
        f"Threads waited {(alone + begin + end) / taken:.1%} of their time: {begin / taken:.1%} for their first task "
        f"of a step, {end / taken:.1%} for the slowest to end, {alone / taken:.1%} while one worked alone. "
        "Most in " + ", ".join(f"{step.name} ({waits.all / threads:.3f} ms)" for step, waits in most) + "."
    )


def layer_table(steps: Sequence[PlanStep], limit: float) -> str:
    """The steps as a table, a line each.

    Args:
        steps: in the order in which they are shown.
        limit: multiply-accumulates a second that all threads together can do densely. A sparse layer may pass it, since
            zeros count as done.
    """
    from niwaki.runtime.narrow import narrow_table, said_once

    total = sum(step.milliseconds or 0.0 for step in steps)
    macs = sum(step.macs for step in steps)

    def line(name: str, op: str, kernel: str, zeros: str, ms: float, count: int, reason: str) -> tuple[str, ...]:
        rate = count / ms * 1e-6 if count and ms else None
        return (
            name,
            op,
            kernel,
            zeros,
            f"{ms:.3f}",
            f"{ms / total:.1%}" if total else "",
            "" if rate is None else f"{rate:.1f}",
            "" if rate is None else f"{rate * 1e9 / limit:.0%}",
            reason,
        )

    rows = [
        line(
            step.name,
            step.op,
            step.kernel,
            f"{step.zeros:.1%}" if step.bytes else "",
            step.milliseconds or 0.0,
            step.macs,
            step.reason,
        )
        for step in steps
    ]
    header = ("layer", "op", "kernel", "zeros", "ms", "share", "GMAC/s", "of limit", "reason")
    footer = line("total", "", "", "", total, macs, "")
    table = narrow_table(header, rows, footer, always=(2, 4, 5, 6, 7), more=(3, 1), right=range(3, 8))
    reasons = said_once((step.name, step.reason) for step in steps)
    return "\n".join([table, *([""] if reasons else []), *reasons])


def run(arguments: argparse.Namespace) -> None:
    """Does what `niwaki bench` says."""
    timing = measure(
        arguments.file,
        arguments.batch,
        arguments.threads,
        arguments.size,
        arguments.rounds,
        entry=arguments.entry,
        autotune=arguments.autotune,
    )
    order = ORDERS[arguments.sort]
    layers = sorted(timing.plan, key=order) if order else list(timing.plan)
    rate = arguments.batch / timing.median * 1e3
    if arguments.json:
        result: dict[str, Any] = {
            "file": arguments.file,
            "shapes": timing.shapes,
            "threads": arguments.threads,
            "isa": timing.isa,
            "rounds": arguments.rounds,
            "autotune": arguments.autotune,
            "median_ms": timing.median,
            "min_ms": min(timing.milliseconds),
            "images_per_second": rate,
            "activation_bytes": timing.activation_bytes,
        }
        if arguments.layers:
            result["layers"] = Plan(layers).to_dict()["steps"]
            result["waits"] = {
                step.name: asdict(waits) for step, waits in zip(timing.plan, timing.waits, strict=True) if waits.all
            }
        print(json.dumps(result, indent=2))
        return
    if arguments.layers:
        from niwaki import _core

        print(layer_table(layers, _core.int8_limit() * arguments.threads), end="\n\n")
        if arguments.threads > 1:
            print(waiting(timing, arguments.threads))
    from niwaki.runtime.text import format_bytes

    threads = f"{arguments.threads} thread" + "s" * (arguments.threads > 1)
    shapes = ", ".join("x".join(map(str, shape)) for shape in timing.shapes)
    print(
        f"{arguments.file}: {shapes}, {threads}, {timing.isa}, {format_bytes(timing.activation_bytes)} of activations"
    )
    print(
        f"median {timing.median:.3f} ms, fastest {min(timing.milliseconds):.3f} ms of {arguments.rounds} calls; "
        f"{rate:.1f} images per second"
    )
