"""Options of pruning."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from niwaki.modules import check_patterns

Pattern = Literal["block4", "unstructured"]
Scope = Literal["global", "local"]


def check_sparsity(value: Any, where: str) -> None:
    """Raises TypeError or ValueError unless value is a number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{where}: sparsity must be a number from 0 to 1, not {type(value).__name__}.")
    if not (math.isfinite(value) and 0 <= value <= 1):
        raise ValueError(
            f"{where}: sparsity must lie in 0 to 1, not {value}; 0.75 prunes three quarters of the weights."
        )


@dataclass(frozen=True)
class PruneConfig:
    """Which weights become zero.

    Attributes:
        sparsity: the share of the weights of the layers that can be pruned, 0 to 1. Zeros that are there already count.
        pattern: 'block4' prunes four consecutive input channels of an output channel at one tap together, which runs
            fastest; 'unstructured' prunes single weights.
        scope: whether the share holds for all of these layers together ('global') or for each ('local').
        skip: names or patterns ('fc', 'layer1.*') of layers that stay as they are.
    """

    sparsity: float
    pattern: Pattern = "block4"
    scope: Scope = "global"
    skip: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_sparsity(self.sparsity, "PruneConfig")
        for field, value, choices in (
            ("pattern", self.pattern, get_args(Pattern)),
            ("scope", self.scope, get_args(Scope)),
        ):
            if value not in choices:
                raise ValueError(f"PruneConfig: {field} must be one of {', '.join(map(repr, choices))}, not {value!r}.")
        object.__setattr__(self, "skip", check_patterns(self.skip, "PruneConfig: skip"))
