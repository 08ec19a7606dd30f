"""Measures what every layer would cost at each share of zeros and number of bits: error, bytes and time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from niwaki._core import stored_weight
from niwaki.budget.options import LayerOptions, Option, interpolated, layer_options
from niwaki.layerwise.allocate import SHARES
from niwaki.layerwise.exact import Exact
from niwaki.layerwise.rounding import round_to_grid
from niwaki.layerwise.sensitivity import sensitivities
from niwaki.layerwise.timing import Geometry, geometry, time_layer
from niwaki.layerwise.walk import Visit, Walk
from niwaki.pruning.config import PruneConfig
from niwaki.pruning.left_out import LeftOut, Scale, left_out, nearest
from niwaki.pruning.problem import Problem, units_of
from niwaki.quantization.config import QuantizeConfig
from niwaki.quantization.grid import Grid
from niwaki.quantization.inputs import Batch
from niwaki.runs.checkpoint import Checkpoint
from niwaki.runs.dealt import Dealt

# The share at which the gain of rounding by second order over rounding to the nearest is measured.
_SAMPLE = 0.5
_BIAS_AND_SCALE = 8  # bytes of an output channel in a file


class Measurement:
    """Options of all layers that can be pruned or rounded.

    Args:
        model: float32, in eval mode, without parametrizations; it is not changed.
        batches: calibration inputs.
        names: of the layers that will be quantized; others are left out.
        prunable: those that may get zeros.
        prune: pattern, 'block4' or 'unstructured', and balance.
        bits: to choose from, for each layer.
        quantize: other options of the weights: ranges, scales, skip.
        threads: measures times on so many; None does not.
        checkpoint: a folder that keeps layers that were measured.
        progress: tells on stderr how far it is.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Sequence[Batch],
        *,
        names: set[str],
        prunable: set[str],
        prune: PruneConfig,
        bits: Callable[[str], Sequence[int]],
        quantize: QuantizeConfig,
        threads: int | None,
        checkpoint: Path | None = None,
        progress: bool,
    ) -> None:
        self._names = names
        self._prunable, self._prune, self._bits, self._quantize = prunable, prune, bits, quantize
        self._threads = threads
        self._times: dict[tuple[Geometry, float], float] = {}
        self.layers: list[LayerOptions] = []
        self._order: list[str] = []
        walk = Walk(model, batches)
        each = [tuple(bits(name)) for name in sorted(names)]
        options = (sorted(names), sorted(prunable), prune.pattern, prune.balance, quantize, threads, each)
        self._state = None
        if checkpoint is not None:
            self._state = Checkpoint(checkpoint, model, *options, what="niwaki.compress")
        self._importance = sensitivities(model, walk.layers(), walk.batches, progress=progress) or {}
        if len(self._importance) < len(walk.layers()):
            self._importance = {}  # energies and Jacobians have other units
        self._exact = Exact(model, left_out(walk.batches)) if self._importance else None
        self._dealt = Dealt(model, walk.batches, *options)
        self._found: dict[str, LayerOptions] = {}
        found = self._dealt.run(
            lambda: walk.run(self._visit, reference=False, what="measuring layers", progress=progress), self._found
        )
        self.layers = [found[name] for name in self._order]

    def _visit(self, seen: Visit) -> None:
        if seen.name not in self._names:
            return
        self._order.append(seen.name)
        if not self._dealt.mine():
            return
        state = self._state.load(f"layer {seen.name}") if self._state is not None else None
        found = self._options(seen) if state is None else layer_options(state)
        if self._state is not None and state is None:
            self._state.save(f"layer {seen.name}", dataclasses.asdict(found))
        self._found[seen.name] = found

    def _options(self, seen: Visit) -> LayerOptions:
        prunable = seen.name in self._prunable
        # What a pattern does not fit keeps the zeros that it has.
        pattern = self._prune.pattern if prunable else "unstructured"
        balance = self._prune.balance and prunable
        left = LeftOut(seen)
        problem = Problem(left.fitted, pattern, self._importance.get(seen.layer), quick=True, balance=balance)
        units = units_of(seen.layer, pattern)
        floor = problem.zeros() / max(1, units)
        # What is zero already stays zero: those are the shares to begin with.
        shares = [floor, *(share for share in SHARES if share > floor)] if prunable else [floor]
        masks = self._masks(problem, shares, units)
        scale = Scale(self._exact, seen.layer, problem)
        for share, _, v in masks:
            if share in nearest(shares):
                scale.measure(share, v, left.loss(problem, v))
        options: list[Option] = []
        known: list[Option] = []
        for bits in self._bits(seen.name):
            measured = self._measured(seen, problem, left, scale, masks, bits)
            known += measured
            options += interpolated(measured)
        return LayerOptions(seen.name, units if prunable else 0, tuple(options), tuple(known))

    @staticmethod
    def _masks(problem: Problem, shares: Sequence[float], units: int) -> list[tuple[float, torch.Tensor, torch.Tensor]]:
        """(share, mask, scaled weights that are left) for each share."""
        if len(shares) > 1:
            problem.keep_inverses()
        found = []
        for index, share in enumerate(shares):
            keep = problem.allowed if index == 0 else problem.search(round(share * units))
            found.append((share, keep, problem.best if index == 0 else problem.solve(keep, steps=10)))
        return found

    def _measured(
        self,
        seen: Visit,
        problem: Problem,
        left: LeftOut,
        scale_of: Scale,
        masks: Sequence[tuple[float, torch.Tensor, torch.Tensor]],
        bits: int,
    ) -> list[Option]:
        grid_config = dataclasses.replace(self._quantize, weight_bits=bits)
        grid = Grid(grid_config)
        gain = 1.0
        sample = min(range(len(masks)), key=lambda i: abs(masks[i][0] - _SAMPLE))
        found = []
        for index, (share, keep, v) in enumerate(masks):
            weight = v / problem.form.scale
            scale, levels = grid.fit(seen.name, weight, problem.form.scale.square())
            step = scale.reshape(v.shape[:2])
            q = torch.where(keep, levels.nearest(weight / step[:, :, None]), 0)
            if grid_config.rounds_by_layer(seen.name) and index == sample:
                better = round_to_grid(problem.form, v, keep, step, levels, passes=1)
                gain = _ratio(problem, v, better * step[:, :, None], q * step[:, :, None])
            as_held = q * step[:, :, None] * problem.form.scale
            pruned = max(left.loss(problem, v), 0.0)
            rounded = max(left.loss(problem, as_held) - pruned, 0.0)
            error = left.relative_error(problem, as_held)
            # Not q itself: of the largest layers, a few are all that fits into memory.
            found.append((share, pruned, rounded, error, self._bytes(seen, q), self._time(seen, share, q)))
        # Errors of rounding are independent of each other, as sensitivities take them: they need no scale.
        return [
            Option(share, bits, pruned * scale_of.at(share) + gain * rounded, error, size, time)
            for share, pruned, rounded, error, size, time in found
        ]

    @staticmethod
    def _bytes(seen: Visit, q: torch.Tensor) -> float:
        weight = q.reshape(seen.weight.shape).to(torch.int8).numpy()
        return float(stored_weight(np.ascontiguousarray(weight))[0] + _BIAS_AND_SCALE * len(weight))

    def _time(self, seen: Visit, share: float, q: torch.Tensor) -> float:
        if self._threads is None:
            return 0.0
        shape = tuple(seen.inputs[0].shape)
        key = (geometry(seen.layer, shape), round(share, 3))
        if key not in self._times:
            weight = q.reshape(seen.weight.shape).to(torch.int8).numpy()
            self._times[key] = time_layer(seen.layer, weight, shape, self._threads) or 0.0
        return self._times[key]


def _ratio(problem: Problem, v: torch.Tensor, better: torch.Tensor, nearest: torch.Tensor) -> float:
    """What is left of the loss of rounding to the nearest, when it is done by second order."""
    pruned = problem.loss(v)
    low, high = (problem.loss(w * problem.form.scale) - pruned for w in (better, nearest))
    return min(1.0, max(low, 0.0) / high) if high > 0 else 1.0
