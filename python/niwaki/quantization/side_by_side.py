"""Calibration of a network with several entry points: the items of each, taken side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_END = object()


class _SideBySide:
    def __init__(self, items: Mapping[str, Iterable[Any]]) -> None:
        self.items = dict(items)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        streams = {name: iter(items) for name, items in self.items.items()}
        ended: set[str] = set()
        while True:
            joint = {name: next(stream, _END) for name, stream in streams.items()}
            short = [name for name, item in joint.items() if item is _END]
            ended.update(short)
            if len(ended) == len(streams):
                return
            for name in short:
                streams[name] = iter(self.items[name])
                joint[name] = next(streams[name], _END)
                if joint[name] is _END:
                    raise ValueError(
                        f"calibration of the entry point '{name}' is empty, or ends before another's and can be walked "
                        "through only once; give a list."
                    )
            yield joint


class _Sized(_SideBySide):
    def __len__(self) -> int:
        return max(len(items) for items in self.items.values())  # type: ignore[arg-type]


def side_by_side(items: Mapping[str, Iterable[Any]]) -> Iterable[dict[str, Any]]:
    """Dicts with an item for each entry, as many as the longest one has. Shorter ones begin anew.

    It has a length where all of them have one, and can be walked through again where all can.

    Args:
        items: of each entry, by its name.

    Raises:
        ValueError: while it is walked through: an entry has none, or ends first and cannot begin anew.
    """
    return (_Sized if all(hasattr(each, "__len__") for each in items.values()) else _SideBySide)(items)
