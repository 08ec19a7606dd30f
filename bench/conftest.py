"""Options of the benchmarks, and the table at their end."""

from __future__ import annotations

import pytest
import torch

from niwaki import _core
from niwaki.runtime.text import align

KEY = pytest.StashKey[list[dict[str, object]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--threads", type=int, default=1, help="threads for niwaki and for torch (default: 1)")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[KEY] = []
    torch.set_num_threads(config.getoption("threads"))


@pytest.fixture(scope="session")
def threads(request: pytest.FixtureRequest) -> int:
    return request.config.getoption("threads")


@pytest.fixture(scope="session")
def results(request: pytest.FixtureRequest) -> list[dict[str, object]]:
    """Where a benchmark leaves its row for the table at the end."""
    return request.config.stash[KEY]


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    results = config.stash[KEY]
    by_layer: dict[str, dict[str, dict]] = {}
    for row in results:
        by_layer.setdefault(row["layer"], {})[row["case"]] = row
    complete = {name: cases for name, cases in by_layer.items() if len(cases) == 3}
    if not complete:
        return
    lines = []
    totals = dict.fromkeys(("torch", "dense", "sparse"), 0.0)
    for name, cases in complete.items():
        count = cases["dense"]["count"]
        times = {case: cases[case]["ms"] for case in totals}
        for case in totals:
            totals[case] += count * times[case]
        lines.append(_line(name, str(count), times, cases))
    total = _line("all, by count", "", totals, None)
    header = ("layer", "count", "torch ms", "dense ms", "sparse ms", "dense x", "sparse x", "of limit", "kernels")
    threads = config.getoption("threads")
    terminalreporter.section(f"one layer at a time: {_core.cpu_name()}, {_core.isa()}, threads: {threads}")
    terminalreporter.write_line(align(header, lines, total, right=range(1, 8)))
    terminalreporter.write_line(
        "torch: float32. x: times as fast as torch. of limit: dense multiply-accumulates a second and thread over\n"
        "what one core's int8 instruction can do. Times are of the layer alone, medians in milliseconds."
    )


def _line(name: str, count: str, times: dict[str, float], cases: dict[str, dict] | None) -> tuple[str, ...]:
    return (
        name,
        count,
        *(f"{times[case]:.3f}" for case in ("torch", "dense", "sparse")),
        f"{times['torch'] / times['dense']:.1f}",
        f"{times['torch'] / times['sparse']:.1f}",
        f"{cases['dense']['of_limit']:.0%}" if cases else "",
        f"{cases['dense']['kernel']}, {cases['sparse']['kernel']}" if cases else "",
    )
