"""Names that are loaded when they are asked for, and what is said where torch is missing for them."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

EXTRAS = ("torch", "sympy", "safetensors", "yaml", "rich", "tomli")
"""What `pip install niwaki[torch]` brings."""


class LazyNames:
    """The public names of a package and the modules that they are in.

    Args:
        modules: for each module the names in it; they need torch. Those under "niwaki" are modules themselves.
        plain: the same for modules that need numpy alone.
    """

    def __init__(self, modules: Mapping[str, Sequence[str]], *, plain: Mapping[str, Sequence[str]]) -> None:
        self._places = {name: module for module, names in {**modules, **plain}.items() for name in names}
        self._heavy = {name for names in modules.values() for name in names}

    def find(self, name: str) -> Any:
        """What the name stands for.

        Raises:
            AttributeError: there is no such name.
            ImportError: it needs packages that are not installed.
        """
        if name not in self._places:
            raise AttributeError(f"module 'niwaki' has no attribute '{name}'")
        place = self._places[name]
        try:
            if place == "niwaki":
                return importlib.import_module(f"niwaki.{name}")
            return getattr(importlib.import_module(place), name)
        except ModuleNotFoundError as error:
            raise missing(f"niwaki.{name}", error) from error

    def known(self, names: Iterable[str]) -> list[str]:
        """Those of the names that can be had here, so that completion, which looks at each, does not fail."""
        left_out = set() if installed("torch") else self._heavy
        return sorted(set(names) - left_out)


def installed(package: str) -> bool:
    """Whether a package is there, without importing it."""
    if package in sys.modules:
        return sys.modules[package] is not None
    return importlib.util.find_spec(package) is not None


def missing(what: str, error: ModuleNotFoundError) -> ModuleNotFoundError:
    """The error for somebody who has installed the runtime and asks for more; `error` itself where that is not why."""
    package = (error.name or "").partition(".")[0]
    if package not in EXTRAS:
        return error
    return ModuleNotFoundError(
        f"{what} needs {package}, which is not installed: pip install 'niwaki[torch]'. "
        "Without it, files are loaded and run (niwaki.load) and looked at (niwaki.inspect).",
        name=package,
    )
