"""Calibration: runs the swapped network with float32 arithmetic and observes the values of its graph."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.fx import Node
from torch.utils import _pytree as pytree

from niwaki.capture import evaluating
from niwaki.errors import first_sentence
from niwaki.lower.nodes import data_inputs, origin, short_name
from niwaki.lower.operators.registry import find
from niwaki.modules.layer import Layer
from niwaki.nn.layers import QuantizedLayer, quantized_layers
from niwaki.quantization.arithmetic import Float, FloatRun
from niwaki.quantization.config import QuantizeConfig
from niwaki.quantization.inputs import Batch
from niwaki.quantization.masks import MASKED, masked_values
from niwaki.quantization.observers import NotFiniteError, Observer, make_observer
from niwaki.quantization.programs import Program, Programs, source_of
from niwaki.quantization.simulate import eight_bit_values

Range = tuple[float, float]
_MOVES = {"flatten", "view", "reshape", "max_pool2d"}


def _read_in_torch(program: Program) -> set[Node]:
    """What layers read in 8 bits where they stay in torch, too: behind a number of elements that hangs on values."""
    return {source_of(call) for call, layer in program.layers.items() if not layer.dynamic}


# What functions make, whatever they are given: ranges reach beyond the values that were seen, but not beyond these.
_BOUNDS = {
    "softmax": (0.0, 1.0), "_softmax": (0.0, 1.0), "_safe_softmax": (0.0, 1.0), "sigmoid": (0.0, 1.0),
    "hardsigmoid": (0.0, 1.0), "relu6": (0.0, 6.0), "tanh": (-1.0, 1.0), "sin": (-1.0, 1.0), "cos": (-1.0, 1.0),
    "erf": (-1.0, 1.0),
}  # fmt: skip


def _bounds(node: Node) -> Range:
    """Within which a value lies, for certain."""
    while (operator := find(node)) is not None and operator.keeps and len(data_inputs(node)) == 1:
        (node,) = data_inputs(node)
    return _BOUNDS.get(short_name(node), (-math.inf, math.inf)) if node.op == "call_function" else (-math.inf, math.inf)


def _not_finite(what: str) -> ValueError:
    return ValueError(
        f"Calibration: {what} holds NaN or infinity. Look for such values in the weights and statistics before it, "
        "or for inputs that the network was not made for."
    )


class _Observing(FloatRun):
    """Walks through the graph and observes the values that may become uint8."""

    def __init__(
        self,
        program: Program,
        floats: Mapping[QuantizedLayer, Float],
        wanted: set[Node],
        observe: Callable[[Node, torch.Tensor], None],
    ) -> None:
        super().__init__(program, floats)
        self._wanted = wanted
        self._observe = observe
        self._masked: set[Node] = set()

    def call(self, batch: Batch, *, gradients: bool = False) -> list[Any]:
        nodes = [node for node in self.program.module.graph.nodes if node.op == "placeholder"]
        given = dict(zip(nodes, self.program.inputs(batch), strict=True))
        self._masked = masked_values(self.program.module, given)
        return super().call(batch, gradients=gradients)

    def value(self, node: Node, value: Any) -> Any:
        if node in self._wanted:
            self._observe(node, value[value > MASKED] if node in self._masked else value)
        return value


class _NotFiniteInputError(Exception):
    """The input of a layer, whose name is the message, is NaN or infinite."""


class Calibration:
    """Feeds batches to a swapped network and collects the ranges of its values.

    Args:
        model: the network with niwaki.nn layers in it, whose scales are not known yet.
        floats: for each of those layers, the float32 layer it stands for.
        config: which observer.

    Attributes:
        programs: the graphs of the network.
    """

    def __init__(self, model: nn.Module, floats: Mapping[QuantizedLayer, Float], config: QuantizeConfig) -> None:
        self._model = model
        self.floats = floats
        self._config = config
        self.programs = Programs(model)
        self._wanted: dict[Program, set[Node]] = {}
        self._observers: dict[str, Observer] = {}
        # Of the inputs of layers, where there is no graph.
        self._inputs: dict[QuantizedLayer, Observer] = {}
        self._unbounded: set[str] = set()

    def observe(self, batch: Batch) -> None:
        """Runs one batch.

        Raises:
            ValueError: the network does not take it, or NaN or infinity occurs.
        """
        program = self.programs.find(batch)
        try:
            if program is None:
                output = self._run(batch)
            else:
                if program not in self._wanted:
                    self._wanted[program] = eight_bit_values(program) | _read_in_torch(program)
                output = _Observing(program, self.floats, self._wanted[program], self._observe).call(batch)
        except _NotFiniteInputError as error:
            raise _not_finite(f"the input of layer '{error}'") from error
        for value in output:
            if isinstance(value, torch.Tensor) and value.is_floating_point() and bool(value.isnan().any()):
                raise _not_finite(f"the network's output for {batch}")

    def _observe(self, node: Node, value: torch.Tensor) -> None:
        name = origin(node)
        if name in self._unbounded:
            return
        try:
            if name not in self._observers:
                self._observers[name] = make_observer(self._config)
                self._observers[name].bounds = _bounds(node)
            self._observers[name].observe(value)
        except NotFiniteError as error:
            program = self.programs.first
            calls = program.layers.items() if program is not None else ()
            read = next((layer for call, layer in calls if origin(source_of(call)) == name), None)
            if read is not None:
                raise _NotFiniteInputError(read.name) from error
            # Infinite values are legitimate where no layer reads them; 8 bits have none.
            self._unbounded.add(name)

    def _run(self, batch: Batch) -> list[Any]:
        """Runs the network where it has no graph: what layers get is all that can be observed."""
        copied = batch.copy()

        def observe(layer: QuantizedLayer, x: torch.Tensor) -> None:
            try:
                self._inputs.setdefault(layer, make_observer(self._config)).observe(x)
            except NotFiniteError as error:
                raise _NotFiniteInputError(layer.name) from error

        try:
            with evaluating(self._model), _in_float(self._model, self.floats, observe):
                return list(pytree.tree_leaves(self._model(*copied.args, **copied.kwargs)))
        except (TypeError, RuntimeError, IndexError, AssertionError) as error:
            raise ValueError(f"{batch}: the network cannot be run with it: {first_sentence(error)}.") from error

    def observers(self) -> dict[str, Observer]:
        """What saw each value of the graph, by its node's name at capture, in order; without infinite ones."""
        return {
            name: observer
            for name, observer in self._observers.items()
            if name not in self._unbounded and not observer.empty
        }

    def value_ranges(self) -> dict[str, Range]:
        """The range of every value of the graph that may become uint8. Empty without a graph."""
        return {name: observer.range() for name, observer in self.observers().items()}

    def layer_ranges(self, values: Mapping[str, Range]) -> dict[QuantizedLayer, Range]:
        """The range of each layer's inputs, over all of its calls.

        Args:
            values: the ranges of the graph's values.
        """
        found = {layer: observer.range() for layer, observer in self._inputs.items() if not observer.empty}
        for layer, names in self.sources():
            if names[0] not in values:
                continue  # the layer measures the range of its inputs when it runs
            low, high = values[names[0]]
            before = found.get(layer, (low, high))
            found[layer] = (min(low, before[0]), max(high, before[1]))
        return found

    def sources(self) -> Iterator[tuple[QuantizedLayer, list[str]]]:
        """Each call of a layer with the name of the value that it gets, and of those that are the same numbers.

        Before the last one, elements are only moved or left out.
        """
        program = self.programs.first
        for node, layer in program.layers.items() if program is not None else ():
            source: Any = source_of(node)
            names = []
            while isinstance(source, Node):
                names.append(origin(source))
                source = source.args[0] if short_name(source) in _MOVES else None
            yield layer, names


@contextlib.contextmanager
def _in_float(
    model: nn.Module, floats: Mapping[QuantizedLayer, Float], observe: Callable[[QuantizedLayer, torch.Tensor], None]
) -> Iterator[None]:
    """niwaki's layers compute in float32, and their inputs are observed."""
    layers = quantized_layers(model)

    def forward_of(layer: QuantizedLayer) -> Callable[[torch.Tensor], torch.Tensor]:
        def forward(input: torch.Tensor) -> torch.Tensor:
            observe(layer, input)
            found = floats[layer]
            assert isinstance(found, Layer)
            return found.module(input)  # type: ignore[no-any-return]

        return forward

    try:
        for layer in layers:
            layer.forward = forward_of(layer)
        yield
    finally:
        for layer in layers:
            vars(layer).pop("forward", None)
