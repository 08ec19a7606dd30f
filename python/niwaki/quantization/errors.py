"""How far a network in int8 is from float32, at each of its results by itself."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import torch

from niwaki.lower.types import Types
from niwaki.nn.layers import QuantizedLayer
from niwaki.quantization.arithmetic import Float, FloatRun
from niwaki.quantization.costs import Estimate, estimate
from niwaki.quantization.inputs import Batch
from niwaki.quantization.programs import Program
from niwaki.quantization.ranges import Ranges
from niwaki.quantization.simulate import RoundedRun, measured_nodes, types_of


class Check:
    """Some calls of a network with the answers of float32, to compare others with.

    Args:
        program: the graph; it accepts the calls.
        floats: the float32 layer of each of niwaki's.
        calls: inputs; few, for all values of a call are alive at once where costs are estimated.

    Attributes:
        nodes: whose values are compared.
    """

    def __init__(self, program: Program, floats: Mapping[QuantizedLayer, Float], calls: Sequence[Batch]) -> None:
        self.program, self.floats, self.calls = program, floats, list(calls)
        self.nodes = measured_nodes(program)
        self._wanted = [self._answers(FloatRun(program, floats, self.nodes), call) for call in self.calls]
        self._known: tuple[Ranges, Types, Estimate | None] | None = None

    def _answers(self, run: FloatRun, call: Batch) -> list[torch.Tensor]:
        run.call(call)
        return [run.seen[node] for node in self.nodes]

    def errors(
        self,
        ranges: Ranges,
        *,
        weights: bool = True,
        dynamic: Collection[QuantizedLayer] = (),
        exact: Collection[QuantizedLayer] = (),
    ) -> list[float]:
        """The norm of the change of each value, over the norm of the value. Options are those of RoundedRun."""
        run = RoundedRun(
            self.program, self.floats, types_of(self.program, ranges), weights=weights, dynamic=dynamic, exact=exact,
            watched=self.nodes,
        )  # fmt: skip
        change, size = [0.0] * len(self.nodes), [0.0] * len(self.nodes)
        for call, wanted in zip(self.calls, self._wanted, strict=True):
            for index, (a, b) in enumerate(zip(wanted, self._answers(run, call), strict=True)):
                change[index] += _square(a - b)
                size[index] += _square(a)
        return [math.sqrt(a / b) if b > 0 else 0.0 for a, b in zip(change, size, strict=True)]

    def estimates(self, kinds: Sequence[Types]) -> Estimate | None:
        """What single roundings cost, for several assignments; None where the network has no gradient."""
        return estimate(self.program, self.floats, self.calls, self.nodes, kinds)

    def costs(self, ranges: Ranges) -> tuple[Types, Estimate | None]:
        """The types that follow from ranges, and what single roundings cost with them."""
        if self._known is None or self._known[0] is not ranges:
            types = types_of(self.program, ranges)
            self._known = ranges, types, self.estimates([types])
        return self._known[1:]


def _square(x: torch.Tensor) -> float:
    """The sum of squares, without what is infinite on purpose."""
    return float(x.double().nan_to_num(0.0, 0.0, 0.0).square().sum())
