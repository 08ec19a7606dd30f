"""Compression to a target: the steps of niwaki.compress where sparsity and bits are found instead of given."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from niwaki.budget.accuracy import Accuracy
from niwaki.budget.measure import Measurement
from niwaki.budget.options import Option
from niwaki.budget.search import Candidate, Search
from niwaki.budget.target import Target
from niwaki.compression.pipeline import build, measure_file, squeeze
from niwaki.errors import NiwakiError
from niwaki.modules.copies import bake_parametrizations, copy_model
from niwaki.pruning.config import PruneConfig
from niwaki.pruning.order import order_channels
from niwaki.pruning.targets import find_targets
from niwaki.quantization.config import QuantizeConfig
from niwaki.quantization.held_out import Cutter
from niwaki.quantization.inputs import Batch
from niwaki.quantization.quantize import quantizable

# Bits to choose from where a file's size counts; times are those of int8, whatever the bits.
BITS = (8, 6, 5, 4, 3)
# Of zeros, for which channels are ordered before anybody knows how many there will be.
_USUAL = 0.5


@dataclass(frozen=True)
class Outcome:
    """What a search ended with.

    Attributes:
        candidate: the network.
        dense: in int8 without more zeros, for comparison.
        tried: all networks that were built.
        curve: (bytes, predicted loss) of the best allocations at all sizes; none where int8 alone meets the target.
        reference: accuracy of the float32 network, where it was evaluated.
        reasons: what the search did to a layer, by name.
        measured: the sensitivity analysis: what each layer costs at each share of zeros and number of bits, by name.
        evaluated: on how many inputs the accuracy was measured; None where it was not, or they could not be counted.
        interrupted: whether the user ended the search early.
    """

    candidate: Candidate
    dense: Candidate
    tried: Sequence[Candidate]
    curve: Sequence[tuple[float, float]]
    reference: float | None
    reasons: dict[str, str]
    measured: dict[str, tuple[Option, ...]]
    evaluated: int | None = None
    interrupted: bool = False


def compress_to(
    model: nn.Module,
    optimized: nn.Module,
    calls: Sequence[Batch],
    *,
    target: Target,
    zeros: bool,
    prune: PruneConfig,
    quantize: QuantizeConfig,
    bits_given: bool,
    accuracy: Accuracy | None,
    checkpoint: Path | None = None,
    progress: bool,
) -> Outcome:
    """Finds shares of zeros and bits of all layers for a target, and builds the network.

    Args:
        model: the caller's network, for the accuracy to compare with.
        optimized: what niwaki.optimize returned; its inner channels may be reordered.
        calls: calibration.
        target: the limits.
        zeros: whether there may be more of them; else bits alone are chosen.
        prune: pattern, balance and layers to skip.
        quantize: all options but the bits.
        bits_given: the bits of `quantize` are the caller's, and stay.
        accuracy: what tells the accuracy of a network, in per cent.
        checkpoint: a folder that keeps what was measured and built.
        progress: tells on stderr how far it is.
    """
    if target.accuracy_drop is not None and accuracy is None:
        raise TypeError(
            "niwaki.compress: a target of accuracy_drop needs evaluate=, a function that takes a network and returns "
            "its accuracy in per cent."
        )
    example = next(Cutter(model).pieces(calls[0], 1))
    float_bytes = 4 * sum(parameter.numel() for parameter in model.parameters())
    evaluated = None if accuracy is None else accuracy.inputs
    plain = _plain(optimized, calls, example, quantize, target, float_bytes, accuracy, progress)
    if plain is not None:
        reference = None if accuracy is None else accuracy.reference
        return Outcome(plain, plain, (plain,), (), reference, {}, {}, evaluated)
    if zeros:
        order = None if checkpoint is None else checkpoint / "order"
        usual = dataclasses.replace(prune, sparsity=_USUAL)
        order_channels(optimized, calls, usual, checkpoint=order, progress=progress)
    baked = copy_model(optimized).eval()
    bake_parametrizations(baked)
    prunable = set(find_targets(baked, prune)[0]) if zeros else set()
    quantized = quantizable(baked, quantize)
    if not quantized:
        raise NiwakiError("niwaki.compress: every layer is skipped, so there is nothing to fit into the target.")

    def bits_of(name: str) -> Sequence[int]:
        only_time = target.size is None and target.accuracy_drop is None
        fixed = bits_given or quantize.codebook is not None or only_time
        return (quantize.bits_of(name),) if fixed else BITS

    measurement = Measurement(
        baked, calls, names=quantized, prunable=prunable, prune=prune, bits=bits_of, quantize=quantize,
        threads=target.threads if target.timed else None,
        checkpoint=checkpoint / "measured" if checkpoint is not None else None, progress=progress,
    )  # fmt: skip
    search = Search(
        optimized, calls, example, prune=prune if zeros else None, quantize=quantize, measurement=measurement,
        target=target, float_bytes=float_bytes, checkpoint=checkpoint, progress=progress,
    )  # fmt: skip
    candidate = search.run(accuracy)
    return Outcome(
        candidate, search.built[0], tuple(search.built), search.curve(),
        None if accuracy is None else accuracy.reference,
        _put_back(search, candidate) if target.accuracy_drop is not None else {},
        {layer.name: layer.measured for layer in measurement.layers}, evaluated, search.interrupted,
    )  # fmt: skip


def _plain(
    optimized: nn.Module,
    calls: Sequence[Batch],
    example: Batch,
    quantize: QuantizeConfig,
    target: Target,
    float_bytes: int,
    accuracy: Accuracy | None,
    progress: bool,
) -> Candidate | None:
    """The network in int8 without more zeros, where that meets the target: nothing has to be measured then."""
    if target.speedup is not None or (target.size is None and target.latency is None):
        return None
    squeezed = squeeze(optimized, calls, None, quantize, progress=progress)
    built = build(squeezed.module, example, threads=target.threads if target.timed else 1)
    measured = measure_file(built, example, threads=target.threads if target.timed else None, image=target.image)
    limits = ((measured.bytes, target.bytes_of(float_bytes)), (measured.milliseconds, target.latency))
    if any(limit is not None and (cost is None or cost > limit) for cost, limit in limits):
        return None
    if accuracy is None:
        return Candidate({}, squeezed, measured, 0.0)
    found = accuracy.of(squeezed.module, built.network)
    if target.accuracy_drop is not None and accuracy.reference - found > target.accuracy_drop + 1e-9:
        return None
    return Candidate({}, squeezed, measured, 0.0, found)


def _put_back(search: Search, last: Candidate) -> dict[str, str]:
    """Layers with fewer zeros, or more bits, than in the largest network that lost too much accuracy."""
    smaller = [other for other in search.built if other.loss > last.loss and other.accuracy is not None]
    if not smaller:
        return {}
    nearest = min(smaller, key=lambda other: other.loss)
    reasons = {}
    for name, option in last.chosen.items():
        before = nearest.chosen[name]
        if option.share < before.share - 1e-9 or option.bits > before.bits:
            reasons[name] = f"put back: {before.share:.0%} zeros and {before.bits} bits cost too much accuracy"
    return reasons
