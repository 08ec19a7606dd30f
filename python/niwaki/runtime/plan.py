"""What runs in a compiled network, step by step."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

from niwaki import _core
from niwaki.runtime.narrow import narrow_table, said_once
from niwaki.runtime.text import format_bytes, html_table

SCHEMES = ("int8", "sparse int8", "float32", "torch")
_HEADER = ("layer", "op", "scheme", "kernel", "zeros", "bytes", "ms", "GMAC/s", "reason")
_NUMBERS = (4, 5, 6, 7)
# Of the columns that are printed: layer, scheme, kernel, zeros, bytes and ms, the others if there is room.
_ALWAYS, _IF_THEY_FIT = (0, 2, 3, 4, 5, 6), (7, 1)
_WIDEST_REASON = 110  # the whole reason is in the step


@dataclass(frozen=True)
class PlanStep:
    """One step of a compiled network.

    Attributes:
        name: the layer's name in the original network.
        op: what it computes: "conv2d", "add", ...
        scheme: "int8", "sparse int8", "float32", or "torch" for what stays in PyTorch.
        kernel: the kernel that runs it.
        zeros: share of its weights that are zero, 0 to 1.
        bytes: of its weights as they lie in memory. What it has in common with a step before, as a layer that is called
            again has, counts there alone, and the reason names that step.
        milliseconds: that it took in the last run; None before the first.
        reason: why this kernel, or why it stays in PyTorch.
        macs: multiply-accumulates in the last run, zeros counted in; 0 where there are none.
    """

    name: str
    op: str
    scheme: str
    kernel: str
    zeros: float
    bytes: int
    milliseconds: float | None
    reason: str
    macs: int = 0

    @property
    def gmacs_per_second(self) -> float | None:
        """Billions of multiply-accumulates a second in the last run; None where there are none."""
        return self.macs / self.milliseconds * 1e-6 if self.macs and self.milliseconds else None


class Plan(Sequence[PlanStep]):
    """The steps of a compiled network in the order in which they run. Printed, it is a table."""

    def __init__(self, steps: Iterable[PlanStep], heading: str = "") -> None:
        self._steps = tuple(steps)
        self._heading = heading

    @overload
    def __getitem__(self, index: int) -> PlanStep: ...
    @overload
    def __getitem__(self, index: slice) -> Plan: ...
    def __getitem__(self, index: int | slice) -> PlanStep | Plan:
        return Plan(self._steps[index], self._heading) if isinstance(index, slice) else self._steps[index]

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[PlanStep]:
        return iter(self._steps)

    def __repr__(self) -> str:
        return f"<niwaki.Plan: {self._summary()}>"

    @property
    def bytes(self) -> int:
        """Bytes of all weights, those that steps have in common once."""
        return sum(step.bytes for step in self)

    @property
    def milliseconds(self) -> float | None:
        """Of all steps in the last run; None before the first."""
        times = [step.milliseconds for step in self if step.milliseconds is not None]
        return sum(times) if times else None

    @property
    def torch(self) -> tuple[PlanStep, ...]:
        """The steps that stay in PyTorch."""
        return tuple(step for step in self if step.scheme == "torch")

    def to_dict(self) -> dict[str, Any]:
        """The plan in plain types: {"steps": [{...}, ...], "total": {...}}."""
        total = {"bytes": self.bytes, "milliseconds": self.milliseconds, "macs": sum(step.macs for step in self)}
        return {"steps": [dataclasses.asdict(step) for step in self], "total": total}

    def _summary(self) -> str:
        counts = {scheme: sum(step.scheme == scheme for step in self) for scheme in SCHEMES}
        words = [f"{count} {scheme}" for scheme, count in counts.items() if count]
        return f"{len(self)} steps" + (f" ({', '.join(words)})" if words else "")

    def __str__(self) -> str:
        """Within 80 columns: kernels without the instruction set that the heading names, reasons below, each once."""
        isa = self._heading.partition(" on ")[2].partition(",")[0]
        rows = [(*row[:3], row[3].removesuffix(f"_{isa}"), *row[4:]) for row in self._rows()]
        total = ("total", "", *self._total()[2:])
        table = narrow_table(_HEADER, rows, total, always=_ALWAYS, more=_IF_THEY_FIT, right=_NUMBERS)
        reasons = said_once((step.name, _cut(step.reason, _WIDEST_REASON)) for step in self)
        parts = [self._heading, table, self._summary()] if self._heading else [table, self._summary()]
        return "\n".join([*parts, *([""] if reasons else []), *reasons])

    def _repr_html_(self) -> str:
        """The table as notebooks show it, nothing cut off."""
        return html_table(_HEADER, self._rows(), self._total(), right=_NUMBERS, caption=self._heading)

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (
                step.name,
                step.op,
                step.scheme,
                step.kernel,
                f"{step.zeros:.1%}" if step.bytes and step.scheme != "torch" else "",
                format_bytes(step.bytes) if step.bytes else "",
                "" if step.milliseconds is None else f"{step.milliseconds:.3f}",
                "" if step.gmacs_per_second is None else f"{step.gmacs_per_second:.1f}",
                step.reason,
            )
            for step in self
        ]

    def _total(self) -> tuple[str, ...]:
        time = self.milliseconds
        macs = sum(step.macs for step in self)
        return (
            "total",
            self._summary(),
            "",
            "",
            "",
            format_bytes(self.bytes),
            "" if time is None else f"{time:.3f}",
            f"{macs / time * 1e-6:.1f}" if macs and time else "",
            "",
        )


def native_steps(model: _core.Model, session: _core.Session | None) -> list[PlanStep]:
    """The steps of a model, with the times of a session's last run."""
    steps = model.steps()
    times: Sequence[float | None] = session.profile() if session is not None else [None] * len(steps)
    macs = session.macs() if session is not None else [0] * len(steps)
    return [
        PlanStep(
            name=step["name"],
            op=step["op"],
            scheme=step["scheme"],
            kernel=step["kernel"],
            zeros=step["zeros"],
            bytes=step["bytes"],
            milliseconds=milliseconds,
            reason=step["reason"],
            macs=count,
        )
        for step, milliseconds, count in zip(steps, times, macs, strict=True)
    ]


def _cut(text: str, widest: int) -> str:
    return text if len(text) <= widest else text[: widest - 4] + " ..."
