"""niwaki.inspect: what a .niwaki file holds, without running it."""

from __future__ import annotations

import dataclasses
import html
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from niwaki import _core
from niwaki.runtime.image import ImageConfig, image_of
from niwaki.runtime.narrow import WIDTH, narrow_table, wrapped
from niwaki.runtime.text import format_bytes, shortened

_WORDS = ("producer", "source")
_UNLIMITED = 2**63 - 1
_NUMBERS = 11
"""Characters of the values of a node in a table that has to fit."""
_LAYERS = ("value", "layer", "op", "weight", "form", "zeros", "bytes", "CRC-32C", "scale", "zero point", "from")
_TENSORS = ("layer", "tensor", "type", "shape", "form", "offset", "bytes", "CRC-32C")


@dataclass(frozen=True)
class Contents:
    """What a .niwaki file holds. Printed, it is a table, which fits 80 columns: `table` has the columns that do not.

    Values are numbered: the inputs first, then what each node makes.

    Attributes:
        path: of the file.
        bytes: its size.
        version: of the file format.
        checksums: CRC-32C of the parts "header", "graph" and "table", eight hexadecimal digits each; found right.
        inputs: of each input its name, dtype and dims: numbers, and names of free sizes.
        sizes: the free sizes: name, low and high, and the hint by which kernels are chosen.
        guards: sentences of the conditions that the sizes must meet besides.
        outputs: names of the results.
        output_values: the value that each result is.
        metadata: what made it, and from what.
        nodes: for each operator: op, name, inputs and outputs (values), attributes, quantizations and dtypes of the
            outputs, and tensors: {name: {dtype, shape, zeros, bytes, form, offset, checksum}}, of which `bytes`,
            `form` and `offset` are as in the file, and `checksum` is the payload's, found right.
        entries: where the file has entry points, the contents of each, by name; inputs, nodes and the like are then
            theirs, and empty here.
    """

    path: str
    bytes: int
    version: int
    checksums: dict[str, str]
    inputs: tuple[dict[str, Any], ...]
    sizes: tuple[dict[str, Any], ...]
    guards: tuple[str, ...]
    outputs: tuple[str, ...]
    output_values: tuple[int, ...]
    metadata: dict[str, str]
    nodes: tuple[dict[str, Any], ...]
    entries: Mapping[str, Contents] = field(default_factory=dict)

    @property
    def image(self) -> ImageConfig | None:
        """How uint8 pixels become the network's input, where the file says it. Raises NiwakiError where it is wrong."""
        return image_of(self.metadata)

    @property
    def parameters(self) -> int:
        """Elements of all weights, zeros counted in; of those that entry points share, once."""
        return sum(math.prod(tensor["shape"]) for tensor in self._weights())

    @property
    def zeros(self) -> float:
        """Share of the weights that are zero, 0 to 1."""
        count = self.parameters
        return sum(math.prod(tensor["shape"]) * tensor["zeros"] for tensor in self._weights()) / count if count else 0.0

    def _weights(self) -> list[dict[str, Any]]:
        return [tensor for _, name, tensor in self._stored() if name == "weight"]

    def _stored(self) -> list[tuple[str, str, dict[str, Any]]]:
        """The tensors of the file: layer, name and description. What several have is the first one's."""
        found: dict[tuple[int, int], tuple[str, str, dict[str, Any]]] = {}
        for entry, contents in (self.entries or {"": self}).items():
            tensors = [(node["name"], *each) for node in contents.nodes for each in node["tensors"].items()]
            for index, (layer, name, tensor) in enumerate(tensors):
                place = (tensor["offset"], 0 if tensor["bytes"] else index)  # empty ones may lie at one place
                found.setdefault(place, (f"{entry}: {layer}" if entry else layer, name, tensor))
        return list(found.values())

    def to_dict(self) -> dict[str, Any]:
        """The same in types that JSON knows."""
        return {
            "path": self.path,
            "bytes": self.bytes,
            "version": self.version,
            "checksums": dict(self.checksums),
            "parameters": self.parameters,
            "zeros": self.zeros,
            "metadata": {key: value for key, value in self.metadata.items() if key in _WORDS},
            **({"image": dataclasses.asdict(self.image)} if self.image else {}),
            "inputs": [_plain(port) for port in self.inputs],
            "sizes": [_plain(size) for size in self.sizes],
            "guards": list(self.guards),
            "outputs": [
                {"name": name, "value": value} for name, value in zip(self.outputs, self.output_values, strict=True)
            ],
            "nodes": [_plain(node) for node in self.nodes],
            **({"entries": {name: each.to_dict() for name, each in self.entries.items()}} if self.entries else {}),
        }

    def __str__(self) -> str:
        return self.table()

    def table(self, width: int | None = WIDTH) -> str:
        """Inputs, outputs and layers as text.

        Args:
            width: characters of a line. Names of layers are cut, and columns left out, so that it fits; None for none
                of both.
        """
        if not self.entries:
            return "\n".join([*self._heading(), *self._ports(width), "", self._layers(width)])
        lines = self._heading()
        lines += _lines(f"entry points: {', '.join(self.entries)}; what they share is counted once", width)
        lines.append(f"weights: {self.parameters:,}, {self.zeros:.1%} zeros, {format_bytes(self._payload())}")
        for name, each in self.entries.items():
            lines += ["", f"entry point {name}", *each._ports(width), "", each._layers(width)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """As notebooks show it."""
        return f"<pre>{html.escape(str(self))}</pre>"

    def tensors(self, width: int | None = WIDTH) -> str:
        """A table of every tensor: where it lies in the file, in which form, its size and its checksum.

        Args:
            width: as in `table`.
        """
        rows = [
            (
                layer,
                name,
                tensor["dtype"],
                "x".join(map(str, tensor["shape"])),
                tensor["form"],
                str(tensor["offset"]),
                str(tensor["bytes"]),
                tensor["checksum"],
            )
            for layer, name, tensor in self._stored()
        ]
        return narrow_table(
            _TENSORS, rows, None, always=(1, 5, 6, 7), more=(3, 2, 4), right=(5, 6), width=width or _UNLIMITED
        )

    def _heading(self) -> list[str]:
        words = ", ".join(self.metadata[key] for key in _WORDS if self.metadata.get(key))
        parts = ", ".join(f"{part} {checksum}" for part, checksum in self.checksums.items())
        return [
            f"{self.path}: {format_bytes(self.bytes)}" + (f" ({words})" if words else ""),
            f"format {self.version}; CRC-32C right: {parts}",
        ]

    def _ports(self, width: int | None) -> list[str]:
        inputs = (
            f"{port['value']} {port['name']} {port['dtype']} [{', '.join(map(str, port['dims']))}]"
            for port in self.inputs
        )
        sizes = (
            f"{size['name']} {size['low']} to {'any' if size['high'] == _UNLIMITED else size['high']}"
            for size in self.sizes
        )
        outputs = (f"{value} {name}" for name, value in zip(self.outputs, self.output_values, strict=True))
        told = [
            f"inputs: {', '.join(inputs)}",
            *([f"pixels of images: {self.image}"] if self.image else []),
            f"outputs: {', '.join(outputs)}",
            *([f"free sizes: {', '.join(sizes)}"] if self.sizes else []),
        ]
        return [line for text in told for line in _lines(text, width)]

    def _payload(self) -> int:
        return sum(int(tensor["bytes"]) for _, _, tensor in self._stored())

    def _layers(self, width: int | None) -> str:
        def numbers(values: Sequence[int]) -> str:
            text = " ".join(map(str, values))
            return text if width is None else shortened(text, _NUMBERS)  # a concatenation may have dozens

        rows = []
        for node in self.nodes:
            weight = node["tensors"].get("weight")
            quantization = node["quantizations"][0]
            size = sum(tensor["bytes"] for tensor in node["tensors"].values())
            rows.append(
                (
                    numbers(node["outputs"]),
                    node["name"],
                    node["op"],
                    "x".join(map(str, weight["shape"])) if weight else "",
                    weight["form"] if weight else "",
                    f"{weight['zeros']:.1%}" if weight else "",
                    format_bytes(size) if size else "",
                    weight["checksum"] if weight else "",
                    node["dtypes"][0] if quantization is None else f"{quantization[0]:.4g}",
                    "" if quantization is None else str(quantization[1]),
                    numbers(node["inputs"]),
                )
            )
        total = (
            "",
            "total",
            f"{len(self.nodes)} nodes",
            f"{self.parameters:,}",
            "",
            f"{self.zeros:.1%}",
            format_bytes(self._payload()),
            "",
            "",
            "",
            "",
        )
        more = (3, 8, 4, 9, 7)
        return narrow_table(
            _LAYERS, rows, total, named=1, always=(0, 2, 5, 6, 10), more=more, right=(0, 5, 6, 8, 9),
            width=width or _UNLIMITED,
        )  # fmt: skip


def _lines(text: str, width: int | None) -> list[str]:
    return [text] if width is None else wrapped(text, width)


def inspect(path: str | os.PathLike[str]) -> Contents:
    """Reads what a .niwaki file holds; every checksum in it is verified, and nothing is run.

    Examples:
        >>> contents = niwaki.inspect("small.niwaki")
        >>> contents.inputs[0]["name"], contents.parameters
        ('input', 25776)

    Raises:
        NiwakiError: the file is missing, empty, cut short, corrupt, newer than this version, or no .niwaki file.
    """
    found, file = _core.inspect_file(os.fspath(path))
    entries = {
        name: Contents(
            path=os.fspath(path),
            bytes=file["bytes"],
            version=file["version"],
            checksums=dict(file["checksums"]),
            inputs=tuple(graph.input_ports),
            sizes=tuple(graph.sizes),
            guards=tuple(str(guard["message"]) for guard in graph.guards),
            outputs=tuple(graph.outputs),
            output_values=tuple(port["value"] for port in graph.output_ports),
            metadata=dict(graph.metadata),
            nodes=tuple(nodes),
        )
        for name, graph, nodes in found
    }
    first = next(iter(entries.values()))
    if "" in entries:
        return first
    nothing: dict[str, Any] = dict.fromkeys(("inputs", "sizes", "guards", "outputs", "output_values", "nodes"), ())
    return dataclasses.replace(first, **nothing, entries=entries)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
