"""Options of quantization."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from niwaki.modules import check_patterns
from niwaki.quantization.weights import WeightRange

ObserverName = Literal["mse", "minmax", "percentile", "entropy"]


@dataclass(frozen=True)
class QuantizeConfig:
    """How a network is quantized.

    Attributes:
        observer: how the range of an activation follows from the values that calibration saw: 'mse' (least squared
            error), 'minmax' (all of them), 'percentile' (all but outliers on either side) or 'entropy' (rounded values
            are distributed most like the values).
        percentile: for observer='percentile', the percentage of values kept on either side: above 50, at most 100.
        per_channel: weights get a scale per output channel (True), or one per layer.
        weight_range: 'minmax' keeps the largest weight of a channel, 'mse' cuts it off where that makes the error
            smaller.
        correct_bias: biases take up what rounding shifts the mean of each channel by, on the calibration inputs.
        skip: names or patterns ('fc', 'layer1.*') of layers that stay in float32.
        transform: called with each item of the calibration; returns the input (a tensor, tuple or dict). None: taken as
            it is.
    """

    observer: ObserverName = "mse"
    percentile: float = 99.99
    per_channel: bool = True
    weight_range: WeightRange = "minmax"
    correct_bias: bool = True
    skip: tuple[str, ...] = ()
    transform: Callable[[Any], Any] | None = None

    def __post_init__(self) -> None:
        for field, value, choices in (
            ("observer", self.observer, get_args(ObserverName)),
            ("weight_range", self.weight_range, get_args(WeightRange)),
        ):
            if value not in choices:
                raise ValueError(
                    f"QuantizeConfig: {field} must be one of {', '.join(map(repr, choices))}, not {value!r}."
                )
        if isinstance(self.percentile, bool) or not isinstance(self.percentile, (int, float)):
            raise TypeError(
                f"QuantizeConfig: percentile must be a number such as 99.99, not {type(self.percentile).__name__}."
            )
        if not 50 < self.percentile <= 100:
            raise ValueError(
                f"QuantizeConfig: percentile must be above 50 and at most 100, not {self.percentile}; try 99.99."
            )
        for name, flag in (("per_channel", self.per_channel), ("correct_bias", self.correct_bias)):
            if not isinstance(flag, bool):
                raise TypeError(f"QuantizeConfig: {name} must be True or False, not {flag!r}.")
        if self.transform is not None and not callable(self.transform):
            raise TypeError(f"QuantizeConfig: transform must be callable or None, not {type(self.transform).__name__}.")
        object.__setattr__(self, "skip", check_patterns(self.skip, "QuantizeConfig: skip"))
