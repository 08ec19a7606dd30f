"""What each layer could become: shares of zeros and bits, with what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

# Shares of zeros between which the solver chooses: those that are measured, and others in between.
FINE = (*(round(0.05 * i, 2) for i in range(20)), 0.92, 0.97)


@dataclass(frozen=True)
class Option:
    """One way to hold a layer.

    Attributes:
        share: of its weights or blocks that are zero.
        bits: of its weights.
        loss: what it costs at the network's output: the mean squared change of the logits, to first order.
        error: of the layer's outputs, root of the mean square over that of the outputs.
        bytes: of weights, scales and biases in a file.
        milliseconds: of one call; 0 where it was not measured.
    """

    share: float
    bits: int
    loss: float
    error: float
    bytes: float
    milliseconds: float = 0.0


@dataclass(frozen=True)
class LayerOptions:
    """All options of a layer.

    Attributes:
        name: of the layer.
        units: weights or blocks that there are; 0 for a layer that cannot be pruned.
        options: to choose from; the first is the layer as it would be without a budget.
        measured: those of them that were measured; the others lie between these.
    """

    name: str
    units: int
    options: tuple[Option, ...]
    measured: tuple[Option, ...] = ()


def layer_options(state: Mapping[str, Any]) -> LayerOptions:
    """The options of a layer from what `dataclasses.asdict` made of them."""
    kinds = {key: tuple(Option(**option) for option in state[key]) for key in ("options", "measured")}
    return LayerOptions(state["name"], state["units"], **kinds)


def interpolated(measured: Sequence[Option], fine: Sequence[float] = FINE) -> list[Option]:
    """Options of one layer and so many bits, at more shares than were measured; none beyond the last measured one.

    Losses grow by orders of magnitude and never fall: they are interpolated by their square roots.
    """
    shares = [option.share for option in measured]
    first = measured[0]
    losses = np.maximum.accumulate([max(option.loss, 0.0) for option in measured])
    errors = np.maximum.accumulate([option.error for option in measured])
    found = []
    for share in sorted({*shares, *(s for s in fine if shares[0] < s < shares[-1])}):
        found.append(
            replace(
                first,
                share=share,
                loss=float(np.interp(share, shares, np.sqrt(losses)) ** 2),
                error=float(np.interp(share, shares, errors)),
                bytes=float(np.interp(share, shares, [option.bytes for option in measured])),
                milliseconds=float(np.interp(share, shares, [option.milliseconds for option in measured])),
            )
        )
    return found
