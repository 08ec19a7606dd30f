"""The rows of a compression report, their totals, and the report itself."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from niwaki.report.text import align, format_bytes


@dataclass(frozen=True)
class LayerReport:
    """One layer before and after compression.

    Attributes:
        name: the layer's name in the network, as `named_modules` gives it.
        op: what it computes: "conv2d", "linear", ...
        scheme: how it is held now: "int8", "sparse int8" or "float32".
        zeros: share of its weights that are zero, 0 to 1.
        bytes: size of its weights, scales and biases now.
        float_bytes: size of the same in float32, dense.
        error: norm of the change of its weights over the norm of the weights; None where nothing was rounded.
        reason: why the layer is held as it is; empty where there is nothing to explain.
    """

    name: str
    op: str
    scheme: str
    zeros: float
    bytes: int
    float_bytes: int
    error: float | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        if not 0.0 <= self.zeros <= 1.0:
            raise ValueError(f"layer '{self.name}': zeros is a share between 0 and 1, not {self.zeros}.")
        if self.bytes < 0 or self.float_bytes < 0:
            raise ValueError(
                f"layer '{self.name}': a size in bytes cannot be negative ({self.bytes}, {self.float_bytes})."
            )
        if self.error is not None and self.error < 0:
            raise ValueError(f"layer '{self.name}': the error is a ratio of norms and cannot be {self.error}.")


class Report(Sequence[LayerReport]):
    """A sequence of LayerReport, with totals. Printed, it is a table.

    Args:
        rows: the layers, in the order of the network.
    """

    def __init__(self, rows: Iterable[LayerReport]) -> None:
        self._rows = tuple(rows)
        for row in self._rows:
            if not isinstance(row, LayerReport):
                raise TypeError(f"a Report is made of LayerReport, not of {type(row).__name__}.")

    @overload
    def __getitem__(self, index: int) -> LayerReport: ...
    @overload
    def __getitem__(self, index: slice) -> Report: ...
    def __getitem__(self, index: int | slice) -> LayerReport | Report:
        return Report(self._rows[index]) if isinstance(index, slice) else self._rows[index]

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[LayerReport]:
        return iter(self._rows)

    def __eq__(self, other: object) -> bool:
        return self._rows == other._rows if isinstance(other, Report) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._rows)

    def __repr__(self) -> str:
        return f"<niwaki.Report: {len(self)} layers, {self.bytes} bytes, {self.zeros:.1%} zeros>"

    @property
    def bytes(self) -> int:
        """Bytes of all layers now."""
        return sum(row.bytes for row in self._rows)

    @property
    def float_bytes(self) -> int:
        """Bytes of all layers in float32."""
        return sum(row.float_bytes for row in self._rows)

    @property
    def zeros(self) -> float:
        """Share of all weights that are zero, 0 to 1, each layer counted by its size."""
        return sum(row.zeros * row.float_bytes for row in self._rows) / self.float_bytes if self.float_bytes else 0.0

    @property
    def ratio(self) -> float:
        """Bytes now over bytes in float32; 1 for a report without bytes."""
        return self.bytes / self.float_bytes if self.float_bytes else 1.0

    @property
    def schemes(self) -> dict[str, int]:
        """How many layers are held in each scheme."""
        counts: dict[str, int] = {}
        for row in self._rows:
            counts[row.scheme] = counts.get(row.scheme, 0) + 1
        return counts

    def __str__(self) -> str:
        header = ("layer", "op", "scheme", "zeros", "bytes", "of float32", "error", "reason")
        rows = [
            (
                row.name,
                row.op,
                row.scheme,
                f"{row.zeros:.1%}",
                format_bytes(row.bytes),
                f"{row.bytes / row.float_bytes:.1%}" if row.float_bytes else "",
                "" if row.error is None else f"{row.error:.2%}",
                row.reason,
            )
            for row in self._rows
        ]
        schemes = ", ".join(f"{count} {scheme}" for scheme, count in self.schemes.items())
        total = (
            "total",
            f"{len(self)} layers",
            "",
            f"{self.zeros:.1%}",
            format_bytes(self.bytes),
            f"{self.ratio:.1%}",
            "",
            schemes,
        )
        return align(header, rows, total, right=(3, 4, 5, 6))

    def to_dict(self) -> dict[str, Any]:
        """The report in plain types: {"layers": [{...}, ...], "total": {...}}. What is not finite becomes None."""
        layers = []
        for row in self._rows:
            entry = dataclasses.asdict(row)
            if row.error is not None and not math.isfinite(row.error):
                entry["error"] = None
            layers.append(entry)
        total = {"bytes": self.bytes, "float_bytes": self.float_bytes, "zeros": self.zeros, "ratio": self.ratio}
        return {"layers": layers, "total": {**total, "schemes": self.schemes}}

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """The report as JSON, as `to_dict` gives it; written to `path`, too, where one is given."""
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
        if path is not None:
            Path(path).write_text(text + "\n", encoding="utf-8")
        return text

    def to_html(self, path: str | os.PathLike[str], title: str = "niwaki compression report") -> None:
        """Writes the report as one HTML page with plots, which needs no other file and no network.

        Args:
            path: the file to write; it is replaced if it exists.
            title: the page's heading.

        Raises:
            ImportError: jinja2 or matplotlib is missing; the message says how to install them.
        """
        from niwaki.report.html import write_page

        write_page(self, path, title)
