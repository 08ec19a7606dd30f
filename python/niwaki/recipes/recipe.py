"""What a recipe holds."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from torch import nn

from niwaki.budget.target import Target
from niwaki.modules import named_layers
from niwaki.optimization.optimize import OptimizeConfig
from niwaki.pruning.config import PruneConfig
from niwaki.quantization.config import QuantizeConfig
from niwaki.training.config import FinetuneConfig


@dataclass(frozen=True)
class Recipe:
    """All options of a compression.

    Attributes:
        name: of the recipe.
        trade: what is given for what, in words.
        seed: of everything that is chosen at random.
        optimize, prune, quantize: options of the steps; `prune` may be None.
        target: limits to be met, instead of `prune`.
        finetune: how the network is trained; None does not.
    """

    name: str
    trade: str = ""
    seed: int = 0
    optimize: OptimizeConfig = field(default_factory=OptimizeConfig)
    prune: PruneConfig | None = None
    quantize: QuantizeConfig = field(default_factory=QuantizeConfig)
    target: Target | None = None
    finetune: FinetuneConfig | None = None

    def __post_init__(self) -> None:
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ValueError(f"Recipe: seed must be a whole number of at least 0, not {self.seed!r}.")
        if self.target is not None and (self.prune is not None or self.finetune is not None):
            what = "prune" if self.prune is not None else "finetune"
            raise ValueError(f"Recipe: a target finds the zeros itself; leave out target or {what}.")

    def check_patterns(self, model: nn.Module) -> None:
        """Raises ValueError for a pattern of layers that matches none of the network's."""
        bits = self.quantize.weight_bits
        patterns = {
            "quantize.weight_bits": [] if isinstance(bits, int) else [p for p, _ in _pairs(bits)],
            "quantize.skip": list(self.quantize.skip),
            "prune.skip": list(self.prune.skip) if self.prune is not None else [],
        }
        names = [name for name, _ in named_layers(model)]
        for place, listed in patterns.items():
            for pattern in listed:
                if not any(fnmatchcase(name, pattern) for name in names):
                    close = difflib.get_close_matches(pattern, names, cutoff=0.5) or names[:3]
                    raise ValueError(
                        f"recipe '{self.name}': {place}: '{pattern}' matches no convolution or linear layer; close "
                        f"names are {', '.join(map(repr, close)) or '(there are none)'}."
                    )


def _pairs(bits: Mapping[str, int] | tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
    return tuple(bits.items()) if isinstance(bits, Mapping) else bits
