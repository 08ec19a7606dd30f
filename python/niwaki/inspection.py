"""niwaki.inspect: what a .niwaki file holds, without running it."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from niwaki import _core
from niwaki.report.text import align, format_bytes

_WORDS = ("producer", "source")


@dataclass(frozen=True)
class Contents:
    """What a .niwaki file holds. Printed, it is a table.

    Attributes:
        path: of the file.
        bytes: its size.
        inputs: name and shape of each input, None where any size will do.
        outputs: names of the results.
        metadata: what made it, and from what.
        nodes: for each operator: op, name, inputs, output, attributes, scale, zero_point, and tensors: {name: {dtype,
            shape, zeros, bytes, form, ...}}, `bytes` being those in the file.
    """

    path: str
    bytes: int
    inputs: tuple[tuple[str, tuple[int | None, ...]], ...]
    outputs: tuple[str, ...]
    metadata: dict[str, str]
    nodes: tuple[dict[str, Any], ...]

    @property
    def parameters(self) -> int:
        """Elements of all weights, zeros counted in."""
        return sum(math.prod(tensor["shape"]) for tensor in self._weights())

    @property
    def zeros(self) -> float:
        """Share of the weights that are zero, 0 to 1."""
        count = self.parameters
        return sum(math.prod(tensor["shape"]) * tensor["zeros"] for tensor in self._weights()) / count if count else 0.0

    def _weights(self) -> list[dict[str, Any]]:
        return [node["tensors"]["weight"] for node in self.nodes if "weight" in node["tensors"]]

    def to_dict(self) -> dict[str, Any]:
        """The same in types that JSON knows."""
        return {
            "path": self.path,
            "bytes": self.bytes,
            "parameters": self.parameters,
            "zeros": self.zeros,
            "metadata": {key: value for key, value in self.metadata.items() if key in _WORDS},
            "inputs": [{"name": name, "shape": list(shape)} for name, shape in self.inputs],
            "outputs": list(self.outputs),
            "nodes": [_plain(node) for node in self.nodes],
        }

    def __str__(self) -> str:
        rows = []
        for node in self.nodes:
            weight = node["tensors"].get("weight")
            size = sum(tensor["bytes"] for tensor in node["tensors"].values())
            rows.append(
                (
                    node["name"],
                    node["op"],
                    "x".join(map(str, weight["shape"])) if weight else "",
                    weight["form"] if weight else "",
                    f"{weight['zeros']:.1%}" if weight else "",
                    format_bytes(size) if size else "",
                    "float32" if node["scale"] is None else f"{node['scale']:.4g}",
                    "" if node["zero_point"] is None else str(node["zero_point"]),
                )
            )
        payload = sum(tensor["bytes"] for node in self.nodes for tensor in node["tensors"].values())
        total = (
            "total",
            f"{len(self.nodes)} nodes",
            f"{self.parameters:,}",
            "",
            f"{self.zeros:.1%}",
            format_bytes(payload),
            "",
            "",
        )
        header = ("layer", "op", "weight", "form", "zeros", "bytes", "scale", "zero point")
        shapes = ", ".join(
            f"{name} [{', '.join('any' if size is None else str(size) for size in shape)}]"
            for name, shape in self.inputs
        )
        words = ", ".join(self.metadata[key] for key in _WORDS if self.metadata.get(key))
        heading = [
            f"{self.path}: {format_bytes(self.bytes)}" + (f" ({words})" if words else ""),
            f"inputs: {shapes}",
            f"outputs: {', '.join(self.outputs)}",
            "",
        ]
        return "\n".join([*heading, align(header, rows, total, right=(4, 5, 6, 7))])


def inspect(path: str | os.PathLike[str]) -> Contents:
    """Reads what a .niwaki file holds; every checksum in it is verified.

    Raises:
        NiwakiError: the file is missing, empty, cut short, corrupt, newer than this version, or no .niwaki file.
    """
    graph = _core.Graph.load(os.fspath(path))
    return Contents(
        path=os.fspath(path),
        bytes=Path(path).stat().st_size,
        inputs=tuple(zip(graph.inputs, graph.input_shapes, strict=True)),
        outputs=tuple(graph.outputs),
        metadata=dict(graph.metadata),
        nodes=tuple(graph.nodes()),
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
