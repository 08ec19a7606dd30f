"""The report of a compression: rows, totals, and what it looks like as a table, as JSON and as HTML."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from niwaki.report.concerns import explained
from niwaki.report.rows import LayerReport, NetworkReport, finite
from niwaki.runtime.text import align, format_bytes

if TYPE_CHECKING:
    from rich.table import Table

_log = logging.getLogger("niwaki")
# The version of what to_dict gives: keys may be added, but none is renamed or taken away under one version.
JSON_VERSION = 1
_HEADER = (
    "layer", "op", "scheme", "bits", "zeros", "bytes", "of float32", "error", "outputs", "fitted", "sensitivity",
    "reason",
)  # fmt: skip
_RIGHT = range(3, 11)


class Report(Sequence[LayerReport]):
    """A sequence of LayerReport, with totals. Printed, it is a table; printed by rich, one in colours.

    Args:
        rows: the layers, in the order of the network.
        network: what is known of the network as a whole.

    Attributes:
        network: see there.
    """

    def __init__(self, rows: Iterable[LayerReport], network: NetworkReport | None = None) -> None:
        self._rows = tuple(rows)
        self.network = NetworkReport() if network is None else network
        for row in self._rows:
            if not isinstance(row, LayerReport):
                raise TypeError(f"a Report is made of LayerReport, not of {type(row).__name__}.")

    @overload
    def __getitem__(self, index: int) -> LayerReport: ...
    @overload
    def __getitem__(self, index: slice) -> Report: ...
    def __getitem__(self, index: int | slice) -> LayerReport | Report:
        return Report(self._rows[index], self.network) if isinstance(index, slice) else self._rows[index]

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[LayerReport]:
        return iter(self._rows)

    def __eq__(self, other: object) -> bool:
        return (
            (self._rows, self.network) == (other._rows, other.network) if isinstance(other, Report) else NotImplemented
        )

    def __hash__(self) -> int:
        return hash((self._rows, self.network))

    def __repr__(self) -> str:
        return f"<niwaki.Report: {len(self)} layers, {self.bytes} bytes, {self.zeros:.1%} zeros>"

    def named(self, recipe: str) -> Report:
        """The same report, of a recipe's run."""
        return Report(self._rows, dataclasses.replace(self.network, recipe=recipe))

    def warned(self, what: str) -> Report:
        """The same report, with something that is wrong with the network in front of what it says already.

        Args:
            what: words that begin a sentence; the layers that cost most and what to do follow.
        """
        known = self.network.warnings
        sentence = f"{what}." if known else explained(what, self._rows)
        _log.warning("niwaki.compress: %s", sentence)
        return Report(self._rows, dataclasses.replace(self.network, warnings=(sentence, *known)))

    def of_file(self, size: int) -> Report:
        """The same report, of a file that was written: it may hold more than the network (niwaki.ImageConfig)."""
        return Report(self._rows, dataclasses.replace(self.network, file_bytes=size, no_file=""))

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

    def cells(self) -> tuple[list[tuple[str, ...]], tuple[str, ...]]:
        """The table's rows, and its last line, as text."""
        rows: list[tuple[str, ...]] = [
            (
                row.name,
                row.op,
                row.scheme,
                str(row.bits),
                f"{row.zeros:.1%}",
                format_bytes(row.bytes),
                f"{row.bytes / row.float_bytes:.1%}" if row.float_bytes else "",
                "" if row.error is None else f"{row.error:.2%}",
                "" if row.output_error is None else f"{row.output_error:.1%}",
                "" if row.fitted_error is None else f"{row.fitted_error:.1%}",
                "" if row.sensitivity is None else f"{row.sensitivity:.2f}",
                row.reason,
            )
            for row in self._rows
        ]
        schemes = ", ".join(f"{count} {scheme}" for scheme, count in self.schemes.items())
        error = self.network.output_error
        total = (
            "total",
            f"{len(self)} layers",
            "",
            "",
            f"{self.zeros:.1%}",
            format_bytes(self.bytes),
            f"{self.ratio:.1%}",
            "",
            "" if error is None else f"{error:.1%}",
            "",
            "",
            schemes,
        )
        return rows, total

    def facts(self) -> list[tuple[str, str]]:
        """What is known of the network as a whole: names and values."""
        known = self.network
        found = [("layers", format_bytes(self.bytes)), ("in float32", format_bytes(self.float_bytes))]
        if known.file_bytes is not None:
            ratio = f" (1/{known.parameter_bytes / known.file_bytes:.1f} of float32)" if known.parameter_bytes else ""
            found.append(("file", f"{format_bytes(known.file_bytes)}{ratio}"))
        elif known.no_file:
            found.append(("file", "none, see report.network.no_file"))
        found.append(("zeros", f"{self.zeros:.1%}"))
        if known.output_error is not None:
            where = (
                ""
                if known.inputs is None
                else f" on {known.inputs} {'held-out' if known.held_out else 'of these'} inputs"
            )
            found.append(("error of the outputs", f"{known.output_error:.1%}{where}"))
        if known.values:
            found.append(
                (
                    "values in float32",
                    ", ".join(name for name, _ in known.values[:3]) + ", ..." * (len(known.values) > 3),
                )
            )
        if known.accuracy is not None:
            drop = "" if known.drop is None else f" ({-known.drop:+.2f} points)"
            found.append(("accuracy", f"{known.accuracy:.2f} %{drop}"))
        if known.milliseconds is not None:
            threads = "" if known.threads is None else f" on {known.threads} thread{'s' * (known.threads > 1)}"
            found.append(("one input", f"{known.milliseconds:.2f} ms{threads}"))
        if known.target:
            found.append(("target", known.target))
        if known.recipe:
            found.append(("recipe", known.recipe))
        found += [("warning", sentence) for sentence in known.warnings]
        return found

    def __str__(self) -> str:
        rows, total = self.cells()
        table = align(_HEADER, rows, total, right=_RIGHT)
        if self.network == NetworkReport():
            return table
        return table + "\n\n" + "; ".join(f"{name} {value}" for name, value in self.facts())

    def __rich__(self) -> Table:
        from niwaki.report.terminal import rich_table

        return rich_table(self, _HEADER, _RIGHT)

    def to_dict(self) -> dict[str, Any]:
        """The report in plain types; docs/compression.md has the keys. What is not finite becomes None."""
        layers = []
        for row in self._rows:
            entry = dataclasses.asdict(row)
            for key in ("error", "output_error", "fitted_error", "sensitivity"):
                entry[key] = finite(entry[key])
            for option in entry["options"]:
                option.update({key: finite(option[key]) for key in ("loss", "error")})
            layers.append(entry)
        total = {"bytes": self.bytes, "float_bytes": self.float_bytes, "zeros": self.zeros, "ratio": self.ratio}
        network = dataclasses.asdict(self.network)
        network["output_error"] = finite(network["output_error"])
        for key in ("curve", "tried"):
            network[key] = [{**point, "loss": finite(point["loss"])} for point in network[key]]
        return {
            "version": JSON_VERSION,
            "layers": layers,
            "total": {**total, "schemes": self.schemes},
            "network": {**network, "drop": self.network.drop},
        }

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
        from niwaki.report.page import write_page

        write_page(self, path, title, _HEADER)
