"""How a network's arguments and results are nested, as plain data that a file can hold.

{"input": i} or {"output": i}   a tensor
{"constant": x}                 None, or a number, bool or string
{"tuple": [...]}, {"list": [...]}, {"dict": [[key, ...], ...]}
{"named": [name, [[key, ...], ...]]}  a tuple whose items have names, as a NamedTuple
{"record": [[key, ...], ...]}   a mapping whose values are attributes, too, as the outputs of Hugging Face models are,
                                or a dataclass
"""

from __future__ import annotations

import functools
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

Structure = dict[str, Any]
_PLAIN = (bool, int, float, str, type(None))


@dataclass(frozen=True)
class Slot:
    """Stands for a tensor where a nested object is described."""

    kind: str
    index: int


class Record(OrderedDict[str, Any]):
    """What a file gives where the module returned a dataclass, or a mapping with attributes: result.logits.

    Like those of Hugging Face, it gives its values by name, by attribute, and by place.
    """

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"there is no '{name}' among {', '.join(self)}.") from None

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(key) if isinstance(key, str) else tuple(self.values())[key]


class UndescribableError(TypeError):
    """A type that has no description; its name is the message."""


def describe(value: Any) -> Structure:
    """The structure of a nested object whose tensors are Slots. Raises UndescribableError for other types."""
    if isinstance(value, Slot):
        return {value.kind: value.index}
    if type(value) in _PLAIN:
        return {"constant": value}
    if type(value) in (tuple, list):
        return {type(value).__name__: [describe(item) for item in value]}
    if isinstance(value, tuple) and _names(type(value)):
        items = zip(_names(type(value)), value, strict=True)
        return {"named": [type(value).__name__, [[key, describe(item)] for key, item in items]]}
    if is_dataclass(type(value)):
        keys = list(value) if isinstance(value, OrderedDict) else [each.name for each in fields(value)]
        return {"record": [[key, describe(getattr(value, key))] for key in keys]}
    if isinstance(value, dict) and all(type(key) in (str, int) for key in value):
        return {"dict": [[key, describe(item)] for key, item in value.items()]}
    raise UndescribableError(type(value).__name__)


def _names(kind: type) -> tuple[str, ...]:
    """Those of the items of a type of tuples, () where they have none."""
    found: Any = getattr(kind, "_fields", None) or getattr(kind, "__match_args__", ())
    return tuple(found) if all(isinstance(name, str) for name in found) else ()


@functools.cache
def _named_tuple(name: str, keys: tuple[str, ...]) -> Any:
    return namedtuple(name, keys)


def rebuild(structure: Structure, inputs: Sequence[Any], outputs: Sequence[Any]) -> Any:
    """The nested object with tensors in their places."""
    return _walk(structure, lambda kind, index: (inputs if kind == "input" else outputs)[index])


def _walk(structure: Structure, leaf: Callable[[str, int], Any]) -> Any:
    ((kind, content),) = structure.items()
    if kind in ("input", "output"):
        return leaf(kind, content)
    if kind == "constant":
        return content
    if kind == "dict":
        return {key: _walk(item, leaf) for key, item in content}
    if kind == "record":
        return Record((key, _walk(item, leaf)) for key, item in content)
    if kind == "named":
        name, parts = content
        return _named_tuple(name, tuple(key for key, _ in parts))(*(_walk(item, leaf) for _, item in parts))
    items = [_walk(item, leaf) for item in content]
    return tuple(items) if kind == "tuple" else items


def flatten(structure: Structure, value: Any, where: str = "the arguments") -> dict[int, Any]:
    """What a nested object has where tensors are, by the index that the structure gives them.

    Raises:
        TypeError: the object is nested in another way.
        ValueError: a number, bool or string is another than at compilation.
    """
    ((kind, content),) = structure.items()
    if kind == "input":
        return {content: value}
    if kind == "constant":
        if type(value) is not type(content) or value != content:
            raise ValueError(f"{where}: the network was compiled for {content!r}, not {value!r}; compile it again.")
        return {}
    if kind == "named":
        content = [item for _, item in content[1]]
    if kind == "dict":
        keys = [key for key, _ in content]
        if not isinstance(value, dict) or set(value) != set(keys):
            raise TypeError(f"{where}: a dict with the keys {keys} is expected.")
        parts = [(value[key], item, f"{where}[{key!r}]") for key, item in content]
    else:
        if not isinstance(value, (tuple, list)) or len(value) != len(content):
            found = f"{len(value)}" if isinstance(value, (tuple, list)) else type(value).__name__
            raise TypeError(f"{where}: {len(content)} are expected, not {found}.")
        parts = [(found, item, f"{where}[{i}]") for i, (found, item) in enumerate(zip(value, content, strict=True))]
    tensors: dict[int, Any] = {}
    for found, item, place in parts:
        tensors.update(flatten(item, found, place))
    return tensors
