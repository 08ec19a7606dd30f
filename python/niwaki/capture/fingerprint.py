"""A short name for a graph: what ranges and other things that were found out about it belong to."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Node


def fingerprint(exported: ExportedProgram, *, numbers: bool = True) -> str:
    """Sixteen hexadecimal digits that follow from operators, their names and their order, not from sizes or weights.

    Without `numbers`, those among the operators' arguments do not count: a network that makes a number of a size has
    graphs that differ in these alone.
    """
    places: dict[Node, int] = {}
    lines: list[str] = []
    for node in exported.graph.nodes:
        value = node.meta.get("val")
        if node.op == "placeholder" and not isinstance(value, torch.Tensor):
            continue  # a number among the arguments, which may as well be left to its default
        places[node] = len(places)
        name = node.name if isinstance(value, (torch.Tensor, tuple, list)) else ""
        args = torch.fx.node.map_arg((node.args, node.kwargs), lambda source: f"%{places.get(source, source.name)}")
        args = args if numbers else torch.utils._pytree.tree_map(lambda value: 0 if type(value) is int else value, args)
        lines.append(f"{node.op} {name} {_target(node)} {args if node.op != 'placeholder' else ''}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _target(node: Node) -> Any:
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
