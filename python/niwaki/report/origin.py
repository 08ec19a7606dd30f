"""What a report is about: which network, when, with which options, on how many inputs, where."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from niwaki import _core
from niwaki._version import __version__
from niwaki.budget.target import Target
from niwaki.runtime.text import counted

# Values of options beyond so many characters are cut.
_WIDEST = 120


@dataclass(frozen=True)
class Origin:
    """How a compressed network came about.

    Attributes:
        name: of the network: the name of its class.
        date: of the compression, local time with its offset: "2026-03-01T12:00+01:00".
        options: names and values of what was not left at its default.
        seed: of what is chosen at random. What niwaki itself chooses at random follows from fixed seeds; 0 stands for
            them.
        inputs: of the calibration, those held out counted in; None where they could not be counted.
        version, torch: of niwaki and of torch.
        machine: the CPU and the instruction set.
    """

    name: str
    date: str = ""
    options: tuple[tuple[str, str], ...] = ()
    seed: int = 0
    inputs: int | None = None
    version: str = ""
    torch: str = ""
    machine: str = ""

    @classmethod
    def now(cls, name: str, options: Mapping[str, Any], *, seed: int = 0, inputs: int | None = None) -> Origin:
        """The origin of what is made here and now.

        Args:
            name: of the network.
            options: as they were given; None, (), and False say nothing.
            seed, inputs: see Origin.
        """
        import torch

        date = datetime.datetime.now().astimezone().isoformat(timespec="minutes")
        machine = f"{_core.cpu_name()}, {_core.isa()}"
        return cls(name, date, in_words(options), seed, inputs, __version__, str(torch.__version__), machine)

    def facts(self) -> list[tuple[str, str]]:
        """Names and values for people."""
        options = ", ".join(f"{name}={value}" for name, value in self.options) or "none: all defaults"
        found = [("options", options)]
        if self.inputs is not None:
            found.append(("calibration", counted(self.inputs, "input")))
        found += [("seed", str(self.seed)), ("date", self.date.replace("T", " "))]
        made = ", ".join(f"{what} {version}" for what, version in (("niwaki", self.version), ("torch", self.torch)))
        return [*found, ("made with", made), ("on", self.machine)]


def in_words(options: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Options that say something, and their values as text."""
    found = ((name, _words(value)) for name, value in options.items() if _says_something(value))
    return tuple((name, text if len(text) <= _WIDEST else f"{text[: _WIDEST - 3]}...") for name, text in found if text)


def _says_something(value: Any) -> bool:
    return value is not None and value is not False and not (isinstance(value, (tuple, dict, list)) and not value)


def _words(value: Any) -> str:
    if isinstance(value, Target):
        return value.words()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        # Of a dataclass, what differs from its defaults.
        parts = {}
        for field in dataclasses.fields(value):
            default = field.default_factory() if callable(field.default_factory) else field.default
            if getattr(value, field.name) != default:
                parts[field.name] = getattr(value, field.name)
        return f"{type(value).__name__}({', '.join(f'{name}={text}' for name, text in in_words(parts))})"
    if callable(value):
        return str(getattr(value, "__name__", type(value).__name__))
    return str(value) if isinstance(value, str) else repr(value)
