"""What is known of each layer, and of the network as a whole, after compression."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from niwaki.budget.options import Option
from niwaki.report.answers import Answers
from niwaki.report.interval import difference_margin
from niwaki.report.nodes import GraphNode
from niwaki.report.origin import Origin
from niwaki.report.speed import Speed

BINS = 41


@dataclass(frozen=True)
class Histogram:
    """How the weights of a layer are distributed, zeros left out.

    Attributes:
        low, high: ends of the range, which is cut into bins of one width.
        before, after: how many weights lie in each bin, in float32 and as they are now.
    """

    low: float
    high: float
    before: tuple[int, ...]
    after: tuple[int, ...]


@dataclass(frozen=True)
class LayerReport:
    """One layer before and after compression.

    Attributes:
        name: the layer's name in the network, as `named_modules` gives it.
        op: what it computes: "conv2d", "linear", ...
        scheme: how it is held now: "int8", "sparse int8" or "float32".
        zeros: share of its weights that are zero, 0 to 1.
        bytes: size of its weights, scales and biases now, as they lie in a file.
        float_bytes: size of the same in float32, dense.
        error: norm of the change of its weights, by zeros, adaptation and rounding, over the norm of the weights with
            batch norms folded; None where the layer is as it was.
        reason: why the layer is held as it is; empty where there is nothing to explain.
        bits: of its weights: 2 to 8, or 32 in float32. A codebook counts the bits of its whole numbers.
        shape: of its weights: outputs, inputs (of a group), kernel height and width.
        output_error: norm of the change of the layer's outputs over their norm, with all layers before it as they are
            now, on the inputs of the network's error; None where it was not measured.
        fitted_error: the same on inputs that its weights and ranges follow from: far below `output_error` where they
            follow these more than what they stand for. None where no inputs were held out.
        sensitivity: how far the network's outputs would move, relative to their norm, if the outputs of this layer were
            lost, to first order (squared Jacobian times mean square, by random signs); None where it was not measured.
        weights: histograms of the weights before and after; None where there are none.
        options: what was measured of the layer for a target: each share of zeros at each number of bits.
    """

    name: str
    op: str
    scheme: str
    zeros: float
    bytes: int
    float_bytes: int
    error: float | None = None
    reason: str = ""
    bits: int = 8
    shape: tuple[int, ...] = ()
    output_error: float | None = None
    sensitivity: float | None = None
    weights: Histogram | None = None
    options: tuple[Option, ...] = ()
    fitted_error: float | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.zeros <= 1.0:
            raise ValueError(f"layer '{self.name}': zeros is a share between 0 and 1, not {self.zeros}.")
        if self.bytes < 0 or self.float_bytes < 0:
            raise ValueError(
                f"layer '{self.name}': a size in bytes cannot be negative ({self.bytes}, {self.float_bytes})."
            )
        for name in ("error", "output_error", "fitted_error", "sensitivity"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"layer '{self.name}': {name} is a ratio of norms and cannot be {value}.")
        object.__setattr__(self, "shape", tuple(self.shape))
        object.__setattr__(self, "options", tuple(self.options))


@dataclass(frozen=True)
class Point:
    """A network that was built, or could be: its size, and what it costs.

    Attributes:
        bytes: of its file.
        loss: predicted: norm of the change of the network's outputs, to first order.
        accuracy: per cent, where it was evaluated.
    """

    bytes: int
    loss: float
    accuracy: float | None = None


@dataclass(frozen=True)
class NetworkReport:
    """The network as a whole. What was not asked for, or could not be measured, is None.

    Attributes:
        file_bytes: size of the .niwaki file.
        no_file: why there is none, where there is none.
        parameter_bytes: of all parameters in float32.
        lost_bytes: of parameters that niwaki.prune had cut out with channels before. The network that was given, with
            which this one is compared, had lost them already.
        milliseconds: of a call with one input, on `threads` threads of the machine where it was compressed.
        threads: see milliseconds.
        output_error: norm of the change of an output over its norm, of the network as it is compiled, on inputs that
            decided nothing; of several outputs, the largest.
        inputs: on how many inputs it was measured.
        held_out: whether these were held out: no range, weight or choice follows from them. Where there are fewer than
            eight inputs, none are.
        values: names of values between layers that stay float32, with what 8 bits would cost: an estimate of the change
            of an output over its norm.
        accuracy, float_accuracy: per cent, now and in float32.
        target: what was asked for, in words.
        recipe: its name.
        curve: the best sizes and losses that were predicted, from small to large.
        tried: the networks that were built on the way.
        warnings: sentences about what is wrong with it; none where all is well.
        answers: of the inputs that the error was measured on, those that are answered as before; None where the outputs
            are not known to be scores of classes.
        evaluated: on how many inputs the accuracy was measured; None where they could not be counted.
        speed: a call beside one of the float32 network. What was timed is no part of what makes reports equal.
        origin: name, date, options and the like; no part of what makes reports equal, either.
        graph: the steps of the network; empty where a part of it stays in torch, or where it has several entry points.
    """

    file_bytes: int | None = None
    parameter_bytes: int | None = None
    milliseconds: float | None = field(default=None, compare=False)
    threads: int | None = field(default=None, compare=False)
    output_error: float | None = None
    inputs: int | None = None
    held_out: bool = False
    values: tuple[tuple[str, float], ...] = ()
    accuracy: float | None = None
    float_accuracy: float | None = None
    target: str = ""
    recipe: str = ""
    curve: tuple[Point, ...] = ()
    tried: tuple[Point, ...] = ()
    no_file: str = ""
    warnings: tuple[str, ...] = ()
    answers: Answers | None = None
    evaluated: int | None = None
    speed: Speed | None = field(default=None, compare=False)
    origin: Origin | None = field(default=None, compare=False)
    graph: tuple[GraphNode, ...] = ()
    lost_bytes: int = 0

    @property
    def drop(self) -> float | None:
        """Points that the accuracy has lost."""
        if self.accuracy is None or self.float_accuracy is None:
            return None
        return self.float_accuracy - self.accuracy

    @property
    def drop_margin(self) -> float | None:
        """Points that chance may add to the drop, or take from it, at 95 %; None where inputs were not counted."""
        if self.accuracy is None or self.float_accuracy is None or not self.evaluated:
            return None
        found, before = (min(max(value / 100, 0.0), 1.0) for value in (self.accuracy, self.float_accuracy))
        return 100 * difference_margin(found, before, self.evaluated)


def finite(value: float | None) -> float | None:
    """The value, or None where it is not finite, which JSON cannot say."""
    return None if value is None or not math.isfinite(value) else value
