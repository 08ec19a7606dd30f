"""Calibration: runs the swapped network with float32 arithmetic and observes every value of its graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule, Interpreter, Node
from torch.nn import functional as F
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from niwaki.capture import capture, evaluating, shapes_of
from niwaki.errors import NiwakiError, first_sentence
from niwaki.nn.layers import Conv2d, Linear
from niwaki.quantization.bias import channel_means
from niwaki.quantization.config import QuantizeConfig
from niwaki.quantization.inputs import Batch
from niwaki.quantization.observers import NotFiniteError, Observer, make_observer

Floats = Mapping[str, nn.Conv2d | nn.Linear]
Range = tuple[float, float]
_MOVES = (
    torch.ops.aten.flatten.using_ints,
    torch.ops.aten.view.default,
    torch.ops.aten.reshape.default,
    torch.ops.aten.max_pool2d.default,
)
_LAYERS = (torch.ops.niwaki.conv2d.default, torch.ops.niwaki.linear.default, torch.ops.niwaki.dynamic_linear.default)


class _FloatMode(TorchDispatchMode):
    """niwaki's operators compute in float32, with the weights from before quantization; their inputs are observed."""

    def __init__(self, model: nn.Module, floats: Floats, config: QuantizeConfig) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, (Conv2d, Linear))}
        self._names = {layer.weight.data_ptr(): name for name, layer in layers.items()}
        self._floats = floats
        self.observers: dict[str, Observer] = {name: make_observer(config) for name in layers}
        self._layers = layers
        # Means of the outputs of the first call of each layer, while they are asked for.
        self.means: dict[str, torch.Tensor] | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in _LAYERS:
            return func(*args, **(kwargs or {}))
        x, weight = args[0], args[1]
        name = self._names[weight.data_ptr()]
        layer = self._floats[name]
        if self.means is None:
            try:
                self.observers[name].observe(x)
            except NotFiniteError as error:
                raise _not_finite(f"the input of layer '{name}'") from error
        y = self._float(func, layer, args)
        if self.means is not None and name not in self.means:
            self.means[name] = channel_means(self._layers[name], y)
        return y

    @staticmethod
    def _float(func: Any, layer: nn.Conv2d | nn.Linear, args: Any) -> torch.Tensor:
        x = args[0]
        bias = None if layer.bias is None else layer.bias.detach()
        if func is not _LAYERS[0]:
            return F.linear(x, layer.weight.detach(), bias)
        stride, (top, left, bottom, right), dilation, groups = args[6:10]
        if (top, left) == (bottom, right):
            return F.conv2d(x, layer.weight.detach(), bias, stride, (top, left), dilation, groups)
        return F.conv2d(F.pad(x, (left, right, top, bottom)), layer.weight.detach(), bias, stride, 0, dilation, groups)


def _not_finite(what: str) -> ValueError:
    return ValueError(
        f"Calibration: {what} holds NaN or infinity. Look for such values in the weights and statistics before it, "
        "or for inputs that the network was not made for."
    )


class _Observing(Interpreter):
    """Walks through the graph and observes every float32 tensor that is no parameter."""

    def __init__(
        self, program: GraphModule, observers: dict[str, Observer], unbounded: set[str], config: QuantizeConfig
    ) -> None:
        super().__init__(program)
        self._observers = observers
        self._unbounded = unbounded
        self._config = config

    def run_node(self, n: Node) -> Any:
        value = super().run_node(n)
        if n.op in ("output", "get_attr") or n.name in self._unbounded:
            return value
        if isinstance(value, torch.Tensor) and value.dtype == torch.float32:
            observer = self._observers.setdefault(n.name, make_observer(self._config))
            try:
                observer.observe(value)
            except NotFiniteError:
                # Infinite masks are legitimate; where it matters, at a layer's input or at the output, it is an error.
                self._unbounded.add(n.name)
        return value


class Calibration:
    """Feeds batches to a swapped network and collects the ranges of its values.

    Args:
        model: the network with niwaki.nn layers in it, whose scales are not known yet.
        floats: for each of those layers, by name, the float32 layer it stands for.
        config: which observer.
    """

    def __init__(self, model: nn.Module, floats: Floats, config: QuantizeConfig) -> None:
        self._model = model
        self._config = config
        self._mode = _FloatMode(model, floats, config)
        self._programs: dict[tuple[Any, ...], GraphModule | None] = {}
        self._graph: list[tuple[str, str]] | None = None
        self._observers: dict[str, Observer] = {}
        self._unbounded: set[str] = set()
        self.failure = ""

    def observe(self, batch: Batch) -> None:
        """Runs one batch.

        Raises:
            ValueError: the network does not take it, or NaN or infinity occurs.
        """
        batch = batch.copy()
        program = self._program(batch)
        with evaluating(self._model), self._mode:
            try:
                if program is None:
                    output = self._model(*batch.args, **batch.kwargs)
                else:
                    output = self._interpret(program, batch)
            except (TypeError, RuntimeError, IndexError, AssertionError) as error:
                raise ValueError(f"{batch}: the network cannot be run with it: {first_sentence(error)}.") from error
        for value in pytree.tree_leaves(output):
            if isinstance(value, torch.Tensor) and value.is_floating_point() and not bool(torch.isfinite(value).all()):
                raise _not_finite(f"the network's output for {batch}")

    def _program(self, batch: Batch) -> GraphModule | None:
        """The graph for these shapes: literal sizes are baked into it. Equal values have equal names in all of them."""
        if self.failure:
            return None
        key = shapes_of(batch.args, batch.kwargs)
        if key in self._programs:
            return self._programs[key]
        try:
            program = capture(self._model, batch.args, batch.kwargs).module(check_guards=False)
        except NiwakiError as error:
            if self._graph is not None:
                reason = first_sentence(error.__cause__ or error)
                raise ValueError(f"{batch}: the network cannot be run with it: {reason}.") from error
            self.failure = str(error)
            return None
        graph = [(node.name, str(node.target)) for node in program.graph.nodes if node.op == "call_function"]
        if self._graph is None:
            self._graph = graph
        elif self._graph != graph:
            raise ValueError(
                f"{batch}: the network is another graph for this shape than for the first item; "
                "calibrate with one shape."
            )
        while len(self._programs) >= 4:
            self._programs.pop(next(iter(self._programs)))
        self._programs[key] = program
        return program

    def _interpret(self, program: GraphModule, batch: Batch) -> Any:
        inputs = pytree.tree_leaves((batch.args, batch.kwargs))
        walk = _Observing(program, self._observers, self._unbounded, self._config)
        return walk.run(*inputs, enable_io_processing=False)

    def output_means(self, batch: Batch) -> dict[str, torch.Tensor]:
        """float32 [O], the means of each layer's outputs in float32 for a batch, by the layer's name."""
        batch = batch.copy()
        self._mode.means = {}
        try:
            with evaluating(self._model), self._mode:
                self._model(*batch.args, **batch.kwargs)
            return self._mode.means
        finally:
            self._mode.means = None

    def layer_ranges(self) -> dict[str, Range]:
        """The input range of each niwaki layer that was reached, by the layer's name."""
        return {name: observer.range() for name, observer in self._mode.observers.items() if not observer.empty}

    def values_into(self, path: str) -> list[str]:
        """The value that a layer takes, by the name of its node, and those it is made of by moving elements alone."""
        found: list[str] = []
        for program in self._programs.values():
            for node in program.graph.nodes if program is not None else ():
                if node.target in _LAYERS and str(node.args[1].target) == f"{path}.weight":
                    source = node.args[0]
                    while isinstance(source, Node) and source.name not in found:
                        found.append(source.name)
                        source = source.args[0] if source.target in _MOVES else None
        return found

    def value_ranges(self) -> dict[str, Range]:
        """The range of every value of the graph, by its node's name, in order. Empty without a graph."""
        return {
            name: observer.range()
            for name, observer in self._observers.items()
            if name not in self._unbounded and not observer.empty
        }
