"""What a recipe promises, and whether it was kept."""

from __future__ import annotations

import math
from dataclasses import dataclass

# Of the outputs' norm. A GRU that pronounces words loses 0.2 points at an error of 0.009, 1.2 at 0.036 and 3.8 at 0.12.
RECURRENT_ERROR = 0.03


@dataclass(frozen=True)
class Promise:
    """What a recipe costs at most, on all networks that it was measured on.

    Attributes:
        output_error: change of the outputs on inputs that decided nothing, a share of their norm, above 0.
        accuracy_drop: points of accuracy, at least 0, where `evaluate` measures them. They decide then. It is the
            drop on as many inputs as one likes; on some hundred, chance adds to it or takes from it.
        recurrent_error: the same as output_error for networks with recurrent layers, where it is less: what such a
            network gets wrong comes back to it with the next state.
    """

    output_error: float
    accuracy_drop: float
    recurrent_error: float = RECURRENT_ERROR

    def __post_init__(self) -> None:
        for field, least in (
            ("output_error", "above 0"), ("accuracy_drop", "of at least 0"), ("recurrent_error", "above 0"),
        ):  # fmt: skip
            value = getattr(self, field)
            number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
            if not number or value < 0 or (value == 0 and least == "above 0"):
                raise ValueError(f"Promise: {field} must be a number {least}, not {value!r}.")

    def broken(
        self,
        recipe: str,
        output_error: float | None,
        accuracy_drop: float | None,
        *,
        margin: float | None = None,
        recurrent: bool = False,
    ) -> str:
        """That a network costs more, in words; empty where it does not, or where nothing tells.

        Args:
            recipe: its name.
            output_error, accuracy_drop: of the network, where they are known.
            margin: points that the drop may be off by from chance, at 95 %; None where that is not known.
            recurrent: whether it has recurrent layers.
        """
        if accuracy_drop is not None:
            if accuracy_drop <= self.accuracy_drop:
                return ""
            return (
                f"recipe '{recipe}' promises a drop of at most {self.accuracy_drop:g} points, and this network loses "
                f"{accuracy_drop:.2f}{_chance(accuracy_drop - self.accuracy_drop, margin)}"
            )
        most = min(self.output_error, self.recurrent_error) if recurrent else self.output_error
        if output_error is None or output_error <= most:
            return ""
        whose = "outputs of a network with recurrent layers" if most < self.output_error else "outputs"
        return (
            f"recipe '{recipe}' promises that {whose} change by at most {100 * most:.3g} % of their norm, "
            f"and this network's change by {100 * output_error:.3g} %"
        )


def _chance(excess: float, margin: float | None) -> str:
    """How sure a drop is that is larger than promised by `excess` points."""
    if margin is None:
        return ""
    if excess > margin:
        return f" (± {margin:.2f} from chance)"
    return f" (± {margin:.2f} from chance, so it may be kept: measure the accuracy on more inputs)"
