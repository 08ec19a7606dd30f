"""The table of operators: which function makes which version of which operator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

NEWEST = 28
"""The newest opset whose operators were read. A newer version of an operator may mean something else."""

Handler = Callable[..., Any]


@dataclass(frozen=True)
class Entry:
    """A function for the versions of an operator from `since` to `until`; `moves`: it only moves elements."""

    function: Handler
    since: int
    until: int
    moves: bool


_table: dict[tuple[str, str], list[Entry]] = {}


def operator(
    *names: str, since: int = 1, until: int = NEWEST, domain: str = "", moves: bool = False
) -> Callable[[Handler], Handler]:
    """Registers a function for operators by their names.

    Args:
        names: of the operators, which the function sees as `call.operator`.
        since, until: their versions, by the opset in which each began.
        domain: "" is ONNX's own.
        moves: elements are only moved, whatever they are.
    """

    def add(function: Handler) -> Handler:
        for name in names:
            _table.setdefault((domain, name), []).append(Entry(function, since, until, moves))
        return function

    return add


def find(domain: str, name: str, version: int) -> Entry | None:
    """The entry for a version of an operator; None where there is none."""
    for entry in _table.get((domain, name), ()):
        if entry.since <= version <= entry.until:
            return entry
    return None


def known() -> dict[tuple[str, str], list[Entry]]:
    """All entries, by domain and name."""
    return {key: list(entries) for key, entries in sorted(_table.items())}
