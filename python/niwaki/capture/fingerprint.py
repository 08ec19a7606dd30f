"""A short name for a graph: what ranges and other things that were found out about it belong to."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Node


def fingerprint(exported: ExportedProgram) -> str:
    """Sixteen hexadecimal digits that follow from operators, their names and their order, not from sizes or weights."""
    numbers: dict[Node, int] = {}
    lines: list[str] = []
    for node in exported.graph.nodes:
        value = node.meta.get("val")
        if node.op == "placeholder" and not isinstance(value, torch.Tensor):
            continue  # a number among the arguments, which may as well be left to its default
        numbers[node] = len(numbers)
        name = node.name if isinstance(value, (torch.Tensor, tuple, list)) else ""
        args = torch.fx.node.map_arg((node.args, node.kwargs), lambda source: f"%{numbers.get(source, source.name)}")
        lines.append(f"{node.op} {name} {_target(node)} {args if node.op != 'placeholder' else ''}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _target(node: Node) -> Any:
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
