"""Options of quantization."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from niwaki.modules.names import check_patterns, matches
from niwaki.options import says_its_options
from niwaki.quantization.codebook import CodebookKind
from niwaki.quantization.weights import WeightRange

Rounding = Literal["auto", "nearest", "second_order", "learned"]
ObserverName = Literal["auto", "mse", "minmax", "percentile", "entropy"]
Precision = Literal["auto", "int8"]
Activations = Literal["affine", "symmetric"]


@says_its_options
@dataclass(frozen=True)
class QuantizeConfig:
    """How a network is quantized.

    Attributes:
        observer: how the range of an activation follows from the values that calibration saw: 'mse' (least squared
            error), 'minmax' (all of them), 'percentile' (all but outliers on either side), 'entropy' (rounded values
            are distributed most like the values), or 'auto': for each value 'mse' or 'minmax', whichever costs less at
            the network's results.
        percentile: for observer='percentile', the percentage of values kept on either side: above 50, at most 100.
        per_channel: weights get a scale per output channel (True), or one per layer.
        weight_range: 'minmax' keeps the largest weight of a channel, 'mse' cuts it off where that makes the error
            smaller, 'auto' is 'minmax' for weights of 8 bits and 'mse' for others.
        weight_bits: 2 to 8, or a dict from names or patterns of layers to bits: {'layer3.*': 4}. The first pattern that
            matches counts; 8 where none does. Weights of fewer bits run on the same int8 kernels, and are
            stored in as many.
        spare: where weight_bits is one number below 8, layers whose rounding is measured to cost most at the network's
            outputs keep more bits, up to 8, as long as all weights take at most this share more: 0.01 is 8 bits instead
            of 4 for 1 % of the weights. 0: none. Bits given by the layer's name stay as they are, as do codebooks, and
            weights that are rounded to the nearest, for which no inputs are looked at.
        codebook: weights take few values: 'kmeans', the `codebook_entries` whole numbers that suit the layer best, or
            'power_of_two', 0 and plus or minus 1, 2, 4 to 64; each times the channel's scale. None: all numbers of
            weight_bits.
        codebook_entries: 2 to 256, for 'kmeans'. 16 are stored in 4 bits.
        rounding: 'nearest'; 'second_order', each weight corrects the errors of those rounded before it, on the
            calibration inputs; 'learned', up or down by gradient descent on the error of the layer's outputs; 'auto' is
            'second_order' for weights of fewer than 8 bits and codebooks, else 'nearest'.
        correct_bias: biases take up what rounding shifts the mean of each channel by, on the calibration inputs.
        equalize: channels are scaled between layers first, so that rounding costs least: see niwaki.equalize.
        activations: 'affine' gives each value the zero point that its range asks for; 'symmetric' the middle, 128, or 0
            where no value is negative.
        precision: 'auto' leaves in float32 what 8 bits cost too much, values between layers and layers, by errors that
            are measured on calibration inputs; and gives linear layers whose inputs ask for it a range for each row.
            'int8': whatever can be in 8 bits is.
        dynamic: names or patterns of linear layers whose inputs are rounded with a range of their own for each row,
            measured whenever the layer runs, instead of one from calibration; True for all of them.
        skip: names or patterns ('fc', 'layer1.*') of layers that stay in float32.
        transform: called with each item of the calibration; returns the input (a tensor, tuple or dict). None: taken as
            it is.
    """

    observer: ObserverName = "auto"
    percentile: float = 99.99
    per_channel: bool = True
    weight_range: WeightRange = "auto"
    weight_bits: int | Mapping[str, int] | tuple[tuple[str, int], ...] = 8
    spare: float = 0.01
    codebook: CodebookKind | None = None
    codebook_entries: int = 16
    rounding: Rounding = "auto"
    correct_bias: bool = True
    equalize: bool = False
    activations: Activations = "affine"
    precision: Precision = "auto"
    dynamic: bool | tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    transform: Callable[[Any], Any] | None = None

    def __post_init__(self) -> None:
        for field, value, choices in (
            ("observer", self.observer, get_args(ObserverName)),
            ("weight_range", self.weight_range, get_args(WeightRange)),
            ("rounding", self.rounding, get_args(Rounding)),
            ("codebook", self.codebook, (None, *get_args(CodebookKind))),
            ("activations", self.activations, get_args(Activations)),
            ("precision", self.precision, get_args(Precision)),
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
        if isinstance(self.spare, bool) or not isinstance(self.spare, (int, float)) or not 0 <= self.spare <= 1:
            raise ValueError(f"QuantizeConfig: spare must be a number from 0 to 1, such as 0.01, not {self.spare!r}.")
        for name in ("per_channel", "correct_bias", "equalize"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"QuantizeConfig: {name} must be True or False, not {getattr(self, name)!r}.")
        everywhere = ("*",) if self.dynamic else ()
        object.__setattr__(
            self, "dynamic",
            everywhere if isinstance(self.dynamic, bool) else check_patterns(self.dynamic, "QuantizeConfig: dynamic"),
        )  # fmt: skip
        if self.transform is not None and not callable(self.transform):
            raise TypeError(f"QuantizeConfig: transform must be callable or None, not {type(self.transform).__name__}.")
        object.__setattr__(self, "skip", check_patterns(self.skip, "QuantizeConfig: skip"))
        entries = self.codebook_entries
        if isinstance(entries, bool) or not isinstance(entries, int) or not 2 <= entries <= 256:
            raise ValueError(f"QuantizeConfig: codebook_entries must be a whole number from 2 to 256, not {entries!r}.")
        object.__setattr__(self, "weight_bits", _checked_bits(self.weight_bits))

    def bits_of(self, name: str) -> int:
        """Bits of the weights of a layer."""
        if isinstance(self.weight_bits, int):
            return self.weight_bits
        pairs = self.weight_bits.items() if isinstance(self.weight_bits, Mapping) else self.weight_bits
        return next((bits for pattern, bits in pairs if matches(name, (pattern,))), 8)

    @property
    def patterns(self) -> dict[str, tuple[str, ...]]:
        """All names and patterns of layers, by the option that they stand in."""
        bits = self.weight_bits
        pairs = () if isinstance(bits, int) else bits.items() if isinstance(bits, Mapping) else bits
        # All linear layers may be none.
        dynamic = self.dynamic if isinstance(self.dynamic, tuple) and self.dynamic != ("*",) else ()
        return {"weight_bits": tuple(pattern for pattern, _ in pairs), "skip": self.skip, "dynamic": dynamic}

    def is_dynamic(self, name: str) -> bool:
        """Whether a linear layer measures the ranges of its inputs when it runs."""
        return isinstance(self.dynamic, tuple) and matches(name, self.dynamic)

    def rounding_of(self, name: str) -> Rounding:
        """How the weights of a layer are rounded; not 'auto'."""
        if self.rounding != "auto":
            return self.rounding
        return "nearest" if self.codebook is None and self.bits_of(name) == 8 else "second_order"

    def rounds_by_layer(self, name: str) -> bool:
        """Whether a layer's weights need more than rounding to the nearest of all numbers."""
        return self.codebook is not None or self.rounding_of(name) != "nearest"


def _checked_bits(value: Any) -> Any:
    """A number of bits, or pairs of pattern and bits; a dict would not be hashable."""
    pairs: Any = (("*", value),) if isinstance(value, int) else value.items() if isinstance(value, Mapping) else value
    try:
        pairs = tuple((pattern, bits) for pattern, bits in pairs)
    except (TypeError, ValueError):
        raise TypeError(
            f"QuantizeConfig: weight_bits must be a whole number or a dict such as {{'layer3.*': 4}}, not {value!r}."
        ) from None
    for pattern, bits in pairs:
        if not isinstance(pattern, str) or isinstance(bits, bool) or not isinstance(bits, int) or not 2 <= bits <= 8:
            raise ValueError(
                f"QuantizeConfig: weight_bits must be whole numbers from 2 to 8, not {bits!r} for {pattern!r}."
            )
    return value if isinstance(value, int) else pairs
