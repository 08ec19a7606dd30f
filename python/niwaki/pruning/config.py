"""Options of pruning."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from niwaki.modules.names import check_patterns
from niwaki.options import says_its_options
from niwaki.pruning.select import n_of_m

Pattern = Literal["block4", "unstructured", "channels"] | str
Importance = Literal["magnitude", "taylor", "movement", "second_order"]
Scope = Literal["global", "local"]


def check_sparsity(value: Any, where: str) -> None:
    """Raises TypeError or ValueError unless value is a number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{where}: sparsity must be a number from 0 to 1, not {type(value).__name__}.")
    if not (math.isfinite(value) and 0 <= value <= 1):
        raise ValueError(
            f"{where}: sparsity must lie in 0 to 1, not {value}; 0.75 prunes three quarters of the weights."
        )


@says_its_options
@dataclass(frozen=True)
class PruneConfig:
    """Which weights become zero.

    Attributes:
        sparsity: the share of the weights of the layers that can be pruned, 0 to 1. Zeros that are there already count.
            None with the pattern 'n:m', which says it.
        pattern: 'block4' prunes four consecutive input channels of an output channel at one tap together, which runs
            fastest; 'unstructured' prunes single weights; 'n:m', such as '2:4', keeps n of each m consecutive input
            channels; 'channels' cuts out whole output channels, with all that depends on them.
        scope: whether the share holds for all of these layers together ('global') or for each ('local').
        importance: 'magnitude' prunes the smallest weights and leaves the others as they are; 'taylor' prunes what
            changes a loss least, to first order; 'movement' what training moved towards zero, with niwaki.Pruner only;
            'second_order' prunes what changes the layers' outputs least on calibration inputs, and adapts the weights
            that are left.
        skip: names or patterns ('fc', 'layer1.*') of layers that stay as they are.
        balance: whether each four output channels that follow each other keep equally many blocks, or weights. AVX-512
            kernels work on the blocks of four channels side by side, and take as long as the longest list of the four.
    """

    sparsity: float | None = None
    pattern: Pattern = "block4"
    scope: Scope = "global"
    importance: Importance = "magnitude"
    skip: tuple[str, ...] = ()
    balance: bool = False

    def __post_init__(self) -> None:
        if self.sparsity is not None:
            check_sparsity(self.sparsity, "PruneConfig")
        pair = n_of_m(self.pattern) if isinstance(self.pattern, str) else None
        if pair is None and self.pattern not in ("block4", "unstructured", "channels"):
            raise ValueError(
                "PruneConfig: pattern must be one of 'block4', 'unstructured', 'channels' and 'n:m' such as '2:4', "
                f"not {self.pattern!r}."
            )
        for field, value, choices in (
            ("scope", self.scope, get_args(Scope)),
            ("importance", self.importance, get_args(Importance)),
        ):
            if value not in choices:
                raise ValueError(f"PruneConfig: {field} must be one of {', '.join(map(repr, choices))}, not {value!r}.")
        if not isinstance(self.balance, bool):
            raise TypeError(f"PruneConfig: balance is True or False, not {self.balance!r}.")
        if self.balance and self.pattern not in ("block4", "unstructured"):
            raise ValueError(
                "PruneConfig: balance goes with the patterns 'block4' and 'unstructured', not with "
                f"{self.pattern!r}; leave it out."
            )
        if self.pattern == "channels" and self.importance == "second_order":
            raise ValueError(
                "PruneConfig: whole channels are chosen by importance='magnitude' or 'taylor', not by 'second_order'."
            )
        if pair is not None:
            share = 1 - pair[0] / pair[1]
            if self.sparsity is not None and abs(self.sparsity - share) > 1e-6:
                raise ValueError(
                    f"PruneConfig: the pattern '{self.pattern}' is a sparsity of {share:.4g}, not {self.sparsity}; "
                    "leave sparsity out."
                )
            object.__setattr__(self, "sparsity", share)
        elif self.sparsity is None:
            raise TypeError(f"PruneConfig: the pattern '{self.pattern}' needs a sparsity, such as sparsity=0.75.")
        object.__setattr__(self, "skip", check_patterns(self.skip, "PruneConfig: skip"))

    @property
    def share(self) -> float:
        """The sparsity, which is known for every pattern."""
        assert self.sparsity is not None
        return self.sparsity
