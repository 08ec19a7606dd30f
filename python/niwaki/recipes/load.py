"""Recipes from YAML or TOML: by name from the package, or from a file."""

from __future__ import annotations

import dataclasses
import difflib
import importlib.resources
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from niwaki.budget.target import Target
from niwaki.errors import first_sentence
from niwaki.optimization.optimize import OptimizeConfig
from niwaki.pruning.config import PruneConfig
from niwaki.quantization.config import QuantizeConfig
from niwaki.recipes.promise import Promise
from niwaki.recipes.recipe import Recipe
from niwaki.training.config import FinetuneConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_SECTIONS: dict[str, Any] = {
    "optimize": OptimizeConfig, "prune": PruneConfig, "quantize": QuantizeConfig, "target": Target,
    "finetune": FinetuneConfig, "promise": Promise,
}  # fmt: skip
_WORDS = ("trade", "seed")


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML 1.1 takes 1e-4 for a word, and the last of two equal keys."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key '{key}' is there twice", node.start_mark)
        return dict(super().construct_mapping(node, deep))


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def recipe_names() -> list[str]:
    """The recipes that the package has."""
    folder = importlib.resources.files("niwaki.recipes")
    return sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_recipe(recipe: str | os.PathLike[str]) -> Recipe:
    """A recipe from a file, or one of the package's.

    Args:
        recipe: the path of a file that ends in .yaml, .yml or .toml, or a name: 'int8', 'codebook', 'half', 'tenth',
            'fast', 'transformer-eighth', 'transformer-tenth'.

    Raises:
        ValueError, TypeError: there is no such recipe, or a key or value in it is wrong; says which, and what is right.
    """
    text = os.fspath(recipe)
    if text.endswith((".yaml", ".yml", ".toml")):
        path = Path(text)
        if not path.is_file():
            raise ValueError(f"niwaki.load_recipe: there is no file '{text}'.")
        return _parse(path.read_text(encoding="utf-8"), path.stem, text)
    if text not in recipe_names():
        raise ValueError(
            f"niwaki.load_recipe: there is no recipe '{text}'{_meant(text, recipe_names())}; there are "
            f"{', '.join(recipe_names())}, and files that end in .yaml or .toml."
        )
    source = importlib.resources.files("niwaki.recipes").joinpath(f"{text}.yaml")
    return _parse(source.read_text(encoding="utf-8"), text, text)


def _parse(text: str, name: str, where: str) -> Recipe:
    read = _read_toml(text, where) if where.endswith(".toml") else _read_yaml(text, where)
    if not isinstance(read, dict):
        raise ValueError(f"recipe '{where}': it must be a mapping of {', '.join((*_WORDS, *_SECTIONS))}.")
    _check_keys(read, (*_WORDS, *_SECTIONS), f"recipe '{where}'")
    if not isinstance(read.get("trade", ""), str):
        raise TypeError(f"recipe '{where}': trade must be words, not {read['trade']!r}.")
    sections = {key: _section(key, read[key], where) for key in _SECTIONS if read.get(key) is not None}
    try:
        return Recipe(name, **{key: read[key] for key in _WORDS if key in read}, **sections)
    except (TypeError, ValueError) as error:
        raise type(error)(f"recipe '{where}': {error}") from error


def _read_yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or first_sentence(error)
        raise ValueError(f"recipe '{where}'{line}: this is not YAML that can be read: {problem}.") from error


def _read_toml(text: str, where: str) -> Any:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # Its message ends with "(at line 3, column 1)".
        raise ValueError(f"recipe '{where}': this is not TOML that can be read: {error}.") from error


def _section(key: str, values: Any, where: str) -> Any:
    kind = _SECTIONS[key]
    fields = [field.name for field in dataclasses.fields(kind) if field.name != "transform"]
    if not isinstance(values, dict):
        raise TypeError(f"recipe '{where}': {key} must be a mapping of {', '.join(fields)}, not {values!r}.")
    _check_keys(values, fields, f"recipe '{where}': {key}")
    try:
        return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
    except (TypeError, ValueError) as error:
        raise type(error)(f"recipe '{where}': {key}: {error}") from error


def _check_keys(values: dict[Any, Any], known: Iterable[str], where: str) -> None:
    known = list(known)
    for key in values:
        if key not in known:
            raise ValueError(
                f"{where}: there is no key '{key}'{_meant(str(key), known)}; there are {', '.join(known)}."
            )


def _meant(text: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(text, list(known), n=1, cutoff=0.5)
    return f" (did you mean '{close[0]}'?)" if close else ""
