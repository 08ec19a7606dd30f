"""The report of a compression: rows, totals, and what it looks like as a table, as JSON and as HTML."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

from niwaki.report.columns import COLUMNS
from niwaki.report.concerns import explained
from niwaki.report.files import write_text
from niwaki.report.origin import Origin, in_words
from niwaki.report.plain import text_of, totals
from niwaki.report.rows import LayerReport, NetworkReport, finite
from niwaki.report.verdict import Verdict, verdict_of
from niwaki.runtime.text import counted, format_bytes, html_table

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

_log = logging.getLogger("niwaki")
# The version of what to_dict gives: keys may be added, but none is renamed or taken away under one version.
JSON_VERSION = 1


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
        return f"<niwaki.Report: {counted(len(self), 'layer')}, {self.bytes} bytes, {self.zeros:.1%} zeros>"

    def named(self, recipe: str) -> Report:
        """The same report, of a recipe's run."""
        return Report(self._rows, dataclasses.replace(self.network, recipe=recipe))

    def made_with(
        self, options: Mapping[str, Any] | None = None, *, seed: int | None = None, name: str | None = None
    ) -> Report:
        """The same report, which says with which options the network was made.

        Args:
            options: as they were given; None leaves what the report says, and so for the others.
            seed: of what was chosen at random.
            name: of the network.
        """
        origin = self.network.origin or Origin("network")
        changes: dict[str, Any] = {
            "options": None if options is None else in_words(options),
            "seed": seed,
            "name": name,
        }
        origin = dataclasses.replace(origin, **{key: value for key, value in changes.items() if value is not None})
        return Report(self._rows, dataclasses.replace(self.network, origin=origin))

    def warned(self, what: str) -> Report:
        """The same report, with something that is wrong with the network in front of what it says already.

        Args:
            what: words that begin a sentence; the layers that cost most and what to do follow.
        """
        known = self.network.warnings
        seen = None if self.network.origin is None else self.network.origin.inputs
        sentence = f"{what}." if known else explained(what, self._rows, seen)
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

    @property
    def verdict(self) -> Verdict:
        """What it comes to, for anyone: a light, a sentence, and what was before and is now."""
        return verdict_of(self)

    @property
    def said_nothing(self) -> bool:
        """Whether nothing is known but of the layers."""
        return self.network == NetworkReport()

    def facts(self) -> list[tuple[str, str]]:
        """What is known of the network besides the verdict: names and values."""
        known = self.network
        layers = f"{format_bytes(self.bytes)}, {self.ratio:.1%} of {format_bytes(self.float_bytes)} in float32"
        found = [("layers", f"{layers}; {', '.join(f'{count} {scheme}' for scheme, count in self.schemes.items())}")]
        found.append(("zeros", f"{self.zeros:.1%}"))
        if known.output_error is not None:
            kind = "held-out input" if known.held_out else "of these input"
            where = "" if known.inputs is None else f" on {counted(known.inputs, kind)}"
            found.append(("change of the outputs", f"{known.output_error:.1%} of their norm{where}"))
        if known.lost_bytes:
            left = known.parameter_bytes or 0
            whole = format_bytes(left + known.lost_bytes)
            found.append(
                (
                    "compared with",
                    f"the network as it was given, which had lost channels (niwaki.prune): {format_bytes(left)} of "
                    f"{whole} of parameters were left, and what that cost is not in these numbers",
                )
            )
        if known.answers is not None:
            found.append(("classes", f"{known.answers.classes:,}"))
        if known.values:
            names = ", ".join(name for name, _ in known.values[:3]) + ", ..." * (len(known.values) > 3)
            found.append(("values in float32", names))
        if known.target:
            found.append(("target", known.target))
        if known.recipe:
            found.append(("recipe", known.recipe))
        return found + ([] if known.origin is None else known.origin.facts())

    def __str__(self) -> str:
        return text_of(self)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from niwaki.report.terminal import rendered

        yield rendered(self, console, options)

    def _repr_html_(self) -> str:
        """As notebooks show it: the verdict and the table."""
        shown = [column for column in COLUMNS if any(column.text(row) for row in self._rows)]
        rows = [tuple(column.text(row) for column in shown) for row in self._rows]
        right = [index for index, column in enumerate(shown) if column.right]
        caption = "" if self.said_nothing else self.verdict.sentence
        return html_table([column.name for column in shown], rows, totals(self, shown), right=right, caption=caption)

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
            write_text(path, text + "\n")
        return text

    def to_html(self, path: str | os.PathLike[str], title: str | None = None) -> None:
        """Writes the report as one HTML page with plots, which needs no other file and no network.

        Args:
            path: the file to write; it is replaced if it exists.
            title: the page's heading; by default the network's name.

        Raises:
            ImportError: jinja2 or matplotlib is missing; the message says how to install them.
            FileNotFoundError: there is no such folder.
        """
        from niwaki.report.page import write_report

        write_report(self, path, title)
