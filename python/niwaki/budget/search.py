"""From a target to a compressed network that keeps it: measure, choose, build, look at the file, choose again."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from torch import nn

from niwaki.budget.accuracy import Accuracy
from niwaki.budget.least import may_keep_what_is_there, smallest_that_keeps
from niwaki.budget.measure import Measurement
from niwaki.budget.options import LayerOptions, Option
from niwaki.budget.target import Target
from niwaki.compression.pipeline import Measured, Squeezed, measure_file, squeeze
from niwaki.compression.pipeline import build as compiled
from niwaki.errors import NiwakiError
from niwaki.layerwise.knapsack import choose
from niwaki.pruning.config import PruneConfig
from niwaki.quantization.config import QuantizeConfig
from niwaki.quantization.inputs import Batch
from niwaki.runs.checkpoint import Checkpoint, digest_of

# Networks that are built for one limit, and for an accuracy, at most.
_BUILDS, _EVALUATIONS = 5, 6
# A file that is so close below its limit is not improved on.
_CLOSE = 0.98


@dataclass(frozen=True)
class Candidate:
    """A network that was built.

    Attributes:
        chosen: the option of each layer.
        squeezed, measured: the network, and what it takes.
        loss: what it was predicted to cost at the network's output.
        accuracy: per cent, where it was evaluated.
    """

    chosen: dict[str, Option]
    squeezed: Squeezed
    measured: Measured
    loss: float
    accuracy: float | None = None


class Search:
    """Finds the allocation of zeros and bits that meets a target.

    Args:
        optimized: what niwaki.optimize returned.
        items: calibration, a list.
        example: a call with one input.
        prune, quantize: pattern, skip and so on; sparsity and bits are what is searched for. Without `prune`, bits are.
        prunable: layers that may get zeros.
        measurement: options of all layers.
        target: the limits.
        float_bytes: of the network's parameters.
        checkpoint: a folder that keeps layers of networks that are built.
        progress: tells on stderr how far it is.

    Attributes:
        built: all networks so far.
        dense: int8 without more zeros: what the costs of layers are compared with.
        interrupted: whether the user ended the search (KeyboardInterrupt), which then keeps what it has.
    """

    def __init__(
        self,
        optimized: nn.Module,
        items: Sequence[Any],
        example: Batch,
        *,
        prune: PruneConfig | None,
        quantize: QuantizeConfig,
        measurement: Measurement,
        target: Target,
        float_bytes: int,
        checkpoint: Path | None = None,
        progress: bool,
    ) -> None:
        self._optimized, self._items, self._example = optimized, items, example
        self.prune, self.quantize, self._progress = prune, quantize, progress
        self.layers: Sequence[LayerOptions] = measurement.layers
        self._target = target
        self._threads = target.threads if target.timed else None
        self._checkpoint = checkpoint
        self.built: list[Candidate] = []
        self.interrupted = False
        first = {layer.name: layer.options[0] for layer in self.layers}
        self.dense = self.build(first)
        if target.size is not None and self.dense.measured.bytes is None:
            raise NiwakiError(
                f"niwaki.compress: a target of size is that of a file, and there is none: {self.dense.measured.why}"
            )
        if target.timed and self.dense.measured.milliseconds is None:
            raise NiwakiError(
                f"niwaki.compress: a target of latency needs a compiled network: {self.dense.measured.why}"
            )
        most = (target.bytes_of(float_bytes), target.milliseconds_of(self.dense.measured.milliseconds or 0.0))
        self._limits = [limit for limit in most if limit is not None]

    # Costs are kept as vectors: bytes where size is limited (or nothing else is), then milliseconds.

    def _costs(self, option: Option) -> list[float]:
        kinds = []
        if self._target.size is not None or not self._target.timed:
            kinds.append(option.bytes)
        if self._target.timed:
            kinds.append(option.milliseconds)
        return kinds

    def true_costs(self, candidate: Candidate) -> list[float]:
        kinds = []
        if self._target.size is not None or not self._target.timed:
            kinds.append(float(candidate.measured.bytes or sum(o.bytes for o in candidate.chosen.values())))
        if self._target.timed:
            kinds.append(float(candidate.measured.milliseconds or 0.0))
        return kinds

    def estimated(self, chosen: Mapping[str, Option]) -> list[float]:
        return [sum(parts) for parts in zip(*map(self._costs, chosen.values()), strict=True)]

    def rest(self) -> list[float]:
        """What a network takes besides its layers: estimates are off by this."""
        true, estimate = self.true_costs(self.dense), self.estimated(self.dense.chosen)
        return [a - b for a, b in zip(true, estimate, strict=True)]

    def choose(self, limits: Sequence[float]) -> dict[str, Option] | None:
        """The best options of all layers whose sums keep the limits."""
        losses = [[option.loss for option in layer.options] for layer in self.layers]
        costs = [np.array([self._costs(option) for option in layer.options]) for layer in self.layers]
        picked = choose(losses, costs, limits)
        if picked is None:
            return None
        return {layer.name: layer.options[i] for layer, i in zip(self.layers, picked, strict=True)}

    def cheapest(self, kind: int = 0) -> dict[str, Option]:
        """The options of least cost."""
        return {layer.name: min(layer.options, key=lambda option: self._costs(option)[kind]) for layer in self.layers}

    def build(self, chosen: dict[str, Option]) -> Candidate:
        """The network with these options, and what it takes."""
        counts = {layer.name: round(chosen[layer.name].share * layer.units) for layer in self.layers if layer.units}
        bits = tuple((name, option.bits) for name, option in chosen.items())
        quantize = dataclasses.replace(self.quantize, weight_bits=bits) if bits else self.quantize
        if self.prune is None and quantize.rounding == "auto" and any(option.bits < 8 for option in chosen.values()):
            # Layers of 8 bits make good for what others before them lose.
            quantize = dataclasses.replace(quantize, rounding="second_order")
        return self.build_with(chosen, quantize, self.prune, counts)

    def build_with(
        self,
        chosen: dict[str, Option],
        quantize: QuantizeConfig,
        prune: PruneConfig | None,
        counts: dict[str, int] | None = None,
    ) -> Candidate:
        """The network with the configs of a call without a target; `chosen` is what it is predicted to cost."""
        if self._checkpoint is None:
            folder = None
        else:
            bits = tuple((name, option.bits) for name, option in chosen.items())
            digest = digest_of(counts, bits) if counts is not None else digest_of(prune, quantize)
            folder = self._checkpoint / f"network {digest}"
        squeezed = squeeze(
            self._optimized, self._items, prune, quantize, counts=None if prune is None else counts,
            checkpoint=folder, progress=self._progress,
        )  # fmt: skip
        measured = self._measured(squeezed, folder)
        candidate = Candidate(chosen, squeezed, measured, sum(option.loss for option in chosen.values()))
        self.built.append(candidate)
        return candidate

    def _measured(self, squeezed: Squeezed, folder: Path | None) -> Measured:
        """What a network takes; measured once, for times waver, and a run that goes on has to find the same way."""
        known = (
            None
            if folder is None
            else Checkpoint(folder, squeezed.module, self._threads, self._target.image, what="niwaki.compress")
        )
        state = known.load("measured") if known is not None else None
        if state is not None:
            return Measured(**state)
        built = compiled(squeezed.module, self._example, threads=self._threads or 1)
        measured = measure_file(built, self._example, threads=self._threads, image=self._target.image)
        if known is not None:
            known.save("measured", dataclasses.asdict(measured))
        return measured

    def within(self, limits: Sequence[float]) -> Candidate | None:
        """The best network whose true costs keep the limits; None where there is none.

        Estimates are off by a little: the budget of the layers is moved by what the network that was built takes more,
        or less, than it should.
        """
        budget = [limit - rest for limit, rest in zip(limits, self.rest(), strict=True)]
        best: Candidate | None = None
        tried: list[dict[str, Option]] = []
        for _ in range(_BUILDS):
            chosen = self.choose(budget)
            if chosen is None or chosen in tried:
                break
            tried.append(chosen)
            try:
                candidate = self.dense if chosen == self.dense.chosen else self.build(chosen)
            except KeyboardInterrupt:
                if best is None or not may_keep_what_is_there():
                    raise
                self.interrupted = True
                break
            true = self.true_costs(candidate)
            if all(cost <= limit for cost, limit in zip(true, limits, strict=True)):
                if best is None or candidate.loss < best.loss:
                    best = candidate
                if any(cost >= _CLOSE * limit for cost, limit in zip(true, limits, strict=True)):
                    break
            elif best is not None:
                break
            estimate = self.estimated(chosen)
            # The next budget is what would have been right for this network, and a little less where it was too much.
            budget = [
                part + (limit - cost) * (1.05 if cost > limit else 0.95)
                for part, cost, limit in zip(estimate, true, limits, strict=True)
            ]
        return best

    def smallest(self) -> Candidate:
        """The network of least cost, whatever it answers."""
        return self.build(self.cheapest(0 if len(self._limits) < 2 else self._tightest()))

    def _tightest(self) -> int:
        estimate = [sum(self._costs(o)[k] for o in self.cheapest(k).values()) for k in range(len(self._limits))]
        over = [(part + rest) / limit for part, rest, limit in zip(estimate, self.rest(), self._limits, strict=True)]
        return over.index(max(over))

    def run(self, accuracy: Accuracy | None) -> Candidate:
        """The network to return; the best one by its accuracy, where there is something to tell it.

        Raises:
            NiwakiError: no network meets the target; says what the nearest one takes.
        """
        if not self._limits:
            assert accuracy is not None and self._target.accuracy_drop is not None
            return smallest_that_keeps(self, accuracy, self._target.accuracy_drop, self._progress)
        found = self.within(self._limits)
        if found is None:  # the estimates may have missed what the network of least cost keeps
            found = self.smallest()
            true = self.true_costs(found)
            if any(cost > limit for cost, limit in zip(true, self._limits, strict=True)):
                raise NiwakiError(
                    f"niwaki.compress: no network keeps {self._words(self._limits)}; the nearest one takes "
                    f"{self._words(true)}, so ask for no less."
                )
        if accuracy is None:
            return found
        found = self.evaluated(found, accuracy)
        if self._target.accuracy_drop is None:
            if found is not self.dense:
                self.dense = self.evaluated(self.dense, accuracy)  # for the plot of size against accuracy
            return found
        if not self.keeps(found, accuracy.reference):
            self._refuse(found, accuracy)
        return found

    def evaluated(self, candidate: Candidate, accuracy: Accuracy) -> Candidate:
        """The same with the accuracy of what it is compiled to."""
        module = candidate.squeezed.module
        known = dataclasses.replace(candidate, accuracy=accuracy.of(module, compiled(module, self._example).network))
        self.built[self.built.index(candidate)] = known
        return known

    def keeps(self, candidate: Candidate, reference: float) -> bool:
        assert candidate.accuracy is not None and self._target.accuracy_drop is not None
        return reference - candidate.accuracy <= self._target.accuracy_drop + 1e-9

    def _refuse(self, found: Candidate, accuracy: Accuracy) -> NoReturn:
        """Says what a network that keeps the accuracy takes: larger budgets, by bisection."""
        reference = accuracy.reference
        low, high = self.true_costs(found), self.true_costs(self.dense)
        best = self.evaluated(self.dense, accuracy)
        assert best.accuracy is not None and found.accuracy is not None
        if not self.keeps(best, reference):
            raise NiwakiError(
                f"niwaki.compress: no network loses at most {self._target.accuracy_drop:g} points: in int8 without "
                f"more zeros it loses {reference - best.accuracy:.2f} and takes {self._words(high)}; give more "
                "calibration inputs, leave layers in float32 with skip=, or fine-tune."
            )
        for _ in range(_EVALUATIONS):
            # In the middle by ratio: sizes matter by their ratios.
            middle = [math.sqrt(a * b) for a, b in zip(low, high, strict=True)]
            candidate = self.within(middle)
            if candidate is None:
                low = middle
                continue
            if candidate.accuracy is None:
                candidate = self.evaluated(candidate, accuracy)
            if self.keeps(candidate, reference):
                best, high = candidate, self.true_costs(candidate)
            else:
                low = middle
            if all(a >= 0.97 * b for a, b in zip(low, high, strict=True)):
                break
        assert best.accuracy is not None
        raise NiwakiError(
            f"niwaki.compress: {self._words(self._limits)} costs {reference - found.accuracy:.2f} points, more "
            f"than {self._target.accuracy_drop:g}; the nearest network that was found takes "
            f"{self._words(self.true_costs(best))} and loses {reference - best.accuracy:.2f} points."
        )

    def _words(self, costs: Sequence[float]) -> str:
        words = []
        rest = list(costs)
        if self._target.size is not None or not self._target.timed:
            words.append(f"{math.ceil(rest.pop(0)):,} bytes")
        if self._target.timed:
            words.append(f"{rest.pop(0):.3g} ms on {self._target.threads} thread{'s' * (self._target.threads > 1)}")
        return " and ".join(words)

    def curve(self, points: int = 24) -> list[tuple[float, float]]:
        """(bytes, predicted loss) of the best allocations, from the smallest file to int8 without more zeros."""
        target, self._target = self._target, Target(size=1.0, image=self._target.image)
        try:
            rest = self.rest()[0]
            low, high = (self.estimated(chosen)[0] for chosen in (self.cheapest(), self.dense.chosen))
            found = []
            for budget in np.geomspace(max(low, 1.0), max(high, low, 1.0), points):
                chosen = self.choose([float(budget)])
                if chosen is not None:
                    loss = sum(option.loss for option in chosen.values())
                    found.append((self.estimated(chosen)[0] + rest, loss))
            return found
        finally:
            self._target = target
