"""Options by name: the types of those that are given as keywords, and configs that say which there are."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from niwaki.errors import unknown_option

if TYPE_CHECKING:
    from niwaki.pruning.config import Importance, Pattern, Scope
    from niwaki.quantization.codebook import CodebookKind
    from niwaki.quantization.config import Activations, ObserverName, Precision, Rounding
    from niwaki.quantization.weights import WeightRange

Config = TypeVar("Config")


class SelectOptions(TypedDict, total=False):
    """What of niwaki.PruneConfig niwaki.compress takes by name, besides sparsity and skip."""

    pattern: Pattern
    scope: Scope
    importance: Importance
    balance: bool


class PruneOptions(SelectOptions, total=False):
    """All of niwaki.PruneConfig, by name."""

    sparsity: float | None
    skip: tuple[str, ...]


class _Rounding(TypedDict, total=False):
    """What of niwaki.QuantizeConfig niwaki.compress takes by name, besides skip and transform."""

    observer: ObserverName
    percentile: float
    per_channel: bool
    weight_range: WeightRange
    weight_bits: int | Mapping[str, int]
    spare: float
    codebook: CodebookKind | None
    codebook_entries: int
    rounding: Rounding
    correct_bias: bool
    equalize: bool
    activations: Activations
    precision: Precision
    dynamic: bool | tuple[str, ...]


class QuantizeOptions(_Rounding, total=False):
    """All of niwaki.QuantizeConfig, by name."""

    skip: tuple[str, ...]
    transform: Callable[[Any], Any] | None


class CompressOptions(SelectOptions, _Rounding, total=False):
    """What niwaki.compress takes by name: options of niwaki.PruneConfig and niwaki.QuantizeConfig."""


def says_its_options(config: type[Config]) -> type[Config]:
    """Of a dataclass of options: a misspelt one is refused with what was meant, and with those that there are."""
    made: Callable[..., None] = config.__init__

    @functools.wraps(made)
    def init(self: Any, *args: Any, **options: Any) -> None:
        known = [field.name for field in dataclasses.fields(self) if field.init]
        for name in options:
            if name not in known:
                raise unknown_option(config.__name__, name, known)
        made(self, *args, **options)

    config.__init__ = init  # type: ignore[method-assign]
    return config
