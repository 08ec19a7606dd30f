"""What rounding each value to 8 bits costs at each result of a network, to first order.

A value is off by e where it is rounded, and the result then by J e, with J the Jacobian. For the gradient g of a result
that is multiplied by random signs, E (g . e)^2 = ||J e||^2: a few backward passes tell the cost of all values, each by
itself, with whatever numbers they may be rounded.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.fx import Node

from niwaki.lower.types import Types
from niwaki.nn.layers import QuantizedLayer
from niwaki.quantization.arithmetic import Float, FloatRun
from niwaki.quantization.inputs import Batch
from niwaki.quantization.programs import Program, source_of
from niwaki.quantization.simulate import keeps_numbers, rounded, rounded_rows

Costs = NDArray[np.float64]
"""A number for each result (or group of results, where there are many): the squared change over the squared norm."""

# Backward passes for each result, and results; where there are more, some share their passes.
_PROBES, _RESULTS = 2, 8


@dataclass(frozen=True)
class Rounding:
    """One place where a value is rounded.

    Attributes:
        node: whose value.
        reader: the layer's call that rounds it for itself; None where all read the rounded value.
    """

    node: Node
    reader: Node | None = None


@dataclass
class Estimate:
    """Costs of roundings.

    Attributes:
        static: for each of the types that were asked about, by rounding.
        channels: if each channel had numbers of its own: what a cost would be if all parts of the value were alike.
        rows: of what linear layers read, by their calls: if each row had numbers of its own.
    """

    static: list[dict[Rounding, Costs]]
    channels: dict[Rounding, Costs] = field(default_factory=dict)
    rows: dict[Node, Costs] = field(default_factory=dict)


def roundings(program: Program, types: Types) -> list[Rounding]:
    """Where values are rounded."""
    made = (node for node in types.quantized if node not in types.summed)
    found = [Rounding(node) for node in made if not keeps_numbers(node, types)]
    found += [Rounding(source_of(call), call) for call in program.layers if source_of(call) in types.entering]
    return found


class _Traced(FloatRun):
    """A run whose values can be differentiated by, apart for each layer that reads them and for all others."""

    def __init__(
        self, program: Program, floats: Mapping[QuantizedLayer, Float], watched: Sequence[Node], traced: set[Node]
    ) -> None:
        super().__init__(program, floats, watched)
        self._traced = traced
        self.values: dict[Node, torch.Tensor] = {}
        # What layers read, and what all others read, of each value.
        self.read: dict[Node, torch.Tensor] = {}
        self.shared: dict[Node, torch.Tensor] = {}

    def value(self, node: Node, value: Any) -> Any:
        if node not in self._traced:
            return value
        if not value.requires_grad:
            value = value.detach().requires_grad_(True)
        self.values[node] = value
        self.shared[node] = value.view_as(value)
        return self.shared[node]

    def layer(self, node: Node, layer: QuantizedLayer, x: torch.Tensor) -> torch.Tensor:
        source = self.values.get(source_of(node))
        if source is not None:
            x = self.read[node] = source.view_as(source)
        return super().layer(node, layer, x)


def estimate(
    program: Program,
    floats: Mapping[QuantizedLayer, Float],
    calls: Sequence[Batch],
    results: Sequence[Node],
    kinds: Sequence[Types],
    *,
    seed: int = 0,
) -> Estimate | None:
    """Costs at the results of a network on some inputs.

    Args:
        program, floats: as in FloatRun.
        calls: inputs; few, for all values of a call are alive at once.
        results: the values at which costs are measured.
        kinds: several assignments of numbers, to be compared.
        seed: of the random signs.

    Returns:
        None where the network has no gradient.
    """
    places = [roundings(program, types) for types in kinds]
    traced = {place.node for found in places for place in found}
    groups = [list(group) for group in np.array_split(np.arange(len(results)), min(len(results), _RESULTS))]
    work = _Work(places, kinds, len(groups))
    generator = torch.Generator().manual_seed(seed)
    for call in calls:
        run = _Traced(program, floats, results, traced)
        try:
            run.call(call, gradients=True)
            for index, group in enumerate(groups):
                work.add(run, index, [run.seen[results[i]] for i in group], generator)
        except (ValueError, RuntimeError, NotImplementedError):  # an operator without a gradient
            return None
    return work.estimate(len(calls))


class _Work:
    """Sums over calls and signs."""

    def __init__(self, places: Sequence[Sequence[Rounding]], kinds: Sequence[Types], results: int) -> None:
        self._places, self._kinds = places, kinds
        nothing = functools.partial(np.zeros, results)
        self._static: list[dict[Rounding, Costs]] = [defaultdict(nothing) for _ in kinds]
        self._channels: dict[Rounding, Costs] = defaultdict(nothing)
        self._rows: dict[Node, Costs] = defaultdict(nothing)

    def add(self, run: _Traced, index: int, results: Sequence[torch.Tensor], generator: torch.Generator) -> None:
        """What the results of one call say; several that share their signs count as one."""
        calls, values = list(run.read), list(run.shared)
        leaves = [*run.read.values(), *run.shared.values()]
        by_call: list[Mapping[Node, torch.Tensor | None]] = []
        whole: list[Mapping[Node, torch.Tensor | None]] = []
        for _ in range(_PROBES):
            loss = torch.zeros(())
            for result in results:
                signs = torch.randint(0, 2, result.shape, generator=generator).mul_(2).sub_(1).to(result.dtype)
                finite = torch.where(result.isfinite(), result, 0.0)
                loss = loss + (finite * signs).sum() / (finite.detach().norm() + 1e-30)
            if not loss.requires_grad:
                return
            found = torch.autograd.grad(loss, leaves, retain_graph=True, allow_unused=True)
            read = dict(zip(calls, found, strict=False))
            others = dict(zip(values, found[len(calls) :], strict=True))
            by_call.append(read)
            whole.append({n: _total([g, *(read.get(user) for user in n.users)]) for n, g in others.items()})
        with torch.no_grad():
            self._sum(run, index, by_call, whole)

    def _sum(
        self,
        run: _Traced,
        index: int,
        by_call: Sequence[Mapping[Node, torch.Tensor | None]],
        whole: Sequence[Mapping[Node, torch.Tensor | None]],
    ) -> None:
        """Adds the costs at one result, with the gradients of each set of signs by what they are gradients of."""
        for kind, (places, types) in enumerate(zip(self._places, self._kinds, strict=True)):
            for place in places:
                reader = place.reader
                known = [each[place.node] for each in whole] if reader is None else [each[reader] for each in by_call]
                value = run.values[place.node].detach()
                self._static[kind][place][index] += _cost(known, rounded(value, types.qparams(place.node)).sub_(value))
                if kind == 0:
                    self._channels[place][index] += _cost(known, _rounded_channels(value) - value)
        for call in run.read:
            if run.program.layers[call].may_be_dynamic:
                value = run.values[source_of(call)].detach()
                self._rows[call][index] += _cost([each[call] for each in by_call], rounded_rows(value) - value)

    def estimate(self, calls: int) -> Estimate:
        """The means."""
        count = calls * _PROBES
        return Estimate(
            [{place: cost / count for place, cost in static.items()} for static in self._static],
            {place: cost / count for place, cost in self._channels.items()},
            {call: cost / count for call, cost in self._rows.items()},
        )


def _total(gradients: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
    known = [gradient for gradient in gradients if gradient is not None]
    return sum(known[1:], known[0]) if known else None


def _cost(gradients: Sequence[torch.Tensor | None], error: torch.Tensor) -> float:
    """The squared changes of the result. Rows of the value are taken to be off independently of each other."""
    rows = len(error) if error.dim() and len(error) else 1
    found = 0.0
    for gradient in gradients:
        if gradient is not None:
            products = torch.linalg.vecdot(gradient.reshape(rows, -1), error.reshape(rows, -1))
            found += float(products.nan_to_num(0.0, 0.0, 0.0).double().square().sum())
    return found


def _rounded_channels(x: torch.Tensor) -> torch.Tensor:
    """What uint8 makes of a value of which each channel has a range of its own."""
    if x.dim() < 2:
        return x
    axis = 1 if x.dim() == 4 else x.dim() - 1
    rows = x.movedim(axis, 0)
    return rounded_rows(rows.reshape(len(rows), -1)).reshape(rows.shape).movedim(0, axis)
