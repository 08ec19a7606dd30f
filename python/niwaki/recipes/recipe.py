"""What a recipe holds."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

from niwaki.budget.target import Target
from niwaki.modules.names import check_names
from niwaki.optimization.optimize import OptimizeConfig
from niwaki.optimization.plain_copy import plain_copy
from niwaki.pruning.config import PruneConfig
from niwaki.quantization.config import QuantizeConfig
from niwaki.recipes.promise import Promise
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
        promise: what it costs at most; where a network turns out to cost more, that is said. None promises nothing.
    """

    name: str
    trade: str = ""
    seed: int = 0
    optimize: OptimizeConfig = field(default_factory=OptimizeConfig)
    prune: PruneConfig | None = None
    quantize: QuantizeConfig = field(default_factory=QuantizeConfig)
    target: Target | None = None
    finetune: FinetuneConfig | None = None
    promise: Promise | None = None

    def __post_init__(self) -> None:
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ValueError(f"Recipe: seed must be a whole number of at least 0, not {self.seed!r}.")
        if self.target is not None and (self.prune is not None or self.finetune is not None):
            what = "prune" if self.prune is not None else "finetune"
            raise ValueError(f"Recipe: a target finds the zeros itself; leave out target or {what}.")

    def check_patterns(self, model: nn.Module) -> None:
        """Raises ValueError for a pattern of layers that matches none of the network's."""
        groups = {f"quantize: {option}": listed for option, listed in self.quantize.patterns.items()}
        if self.prune is not None:
            groups["prune: skip"] = self.prune.skip
        if not any(groups.values()):
            return
        model = plain_copy(model)  # whose layers have the names that they will have
        for place, listed in groups.items():
            section, _, option = place.partition(": ")
            check_names(model, {option: listed}, f"recipe '{self.name}': {section}")
