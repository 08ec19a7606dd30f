"""bench/whole/results.jsonl: what was found about each network, a line of JSON for each, kept beside the code."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from whole.models import GROUPS

Row = dict[str, Any]


def read(path: Path) -> dict[str, Row]:
    """The rows of a file, by network."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {row["name"]: row for row in map(json.loads, lines)}


def add(path: Path, row: Row) -> dict[str, Row]:
    """Writes a row among the others, in the place of the one that the network had; returns all.

    A run that is stopped leaves a whole file, and what another one has added meanwhile stays.
    """
    rows = {**read(path), row["name"]: _rounded(row)}
    rows = dict(sorted(rows.items(), key=lambda item: _place(*item)))
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    beside.write_text("".join(json.dumps(each) + "\n" for each in rows.values()))
    beside.replace(path)
    return rows


def _rounded(value: Any) -> Any:
    """Numbers to four digits: more of an error says nothing."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, Mapping):
        return {name: _rounded(each) for name, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, (list, tuple)) else value


def _place(name: str, row: Row) -> tuple[int, float, str]:
    """Where a row stands: as the groups list their networks; families, which no list has, by parameters."""
    group, _, rest = name.partition("/")
    if group not in GROUPS:
        return len(GROUPS), row.get("parameters", 0), name
    members = GROUPS[group][1]
    number = members.index(rest) if rest in members else len(members)
    return list(GROUPS).index(group), number, name
