"""Ranges of a compressed network observed anew, as it computes now: with its int8 layers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule, Interpreter, Node
from torch.utils import _pytree as pytree

from niwaki.capture import capture, evaluating, shapes_of
from niwaki.errors import first_sentence
from niwaki.quantization import QuantizeConfig, Ranges
from niwaki.quantization.inputs import batches, check_calibration
from niwaki.quantization.observers import NotFiniteError, Observer, make_observer


class _Observing(Interpreter):
    def __init__(self, module: GraphModule, observers: dict[str, Observer], config: QuantizeConfig) -> None:
        super().__init__(module)
        self._observers = observers
        self._config = config

    def run_node(self, n: Node) -> Any:
        value = super().run_node(n)
        if n.op not in ("output", "get_attr") and isinstance(value, torch.Tensor) and value.dtype == torch.float32:
            self._observers.setdefault(n.name, make_observer(self._config)).observe(value)
        return value


def observe_values(module: nn.Module, calibration: Iterable[Any], config: QuantizeConfig | None = None) -> Ranges:
    """The range of every value of the module's graph on these inputs.

    Args:
        module: a compressed network. It is not changed.
        calibration: inputs, as for `niwaki.compress`.
        config: which observer, and the transform; QuantizeConfig() where None.

    Raises:
        TypeError, ValueError: an input does not suit the module, there is none, or NaN or infinity occurs.
        NiwakiError: the module can't be captured.
    """
    config = QuantizeConfig() if config is None else config
    observers: dict[str, Observer] = {}
    graphs: dict[tuple[Any, ...], GraphModule] = {}
    for batch in batches(check_calibration(calibration), config.transform):
        batch = batch.copy()
        key = shapes_of(batch.args, batch.kwargs)
        if key not in graphs:
            graphs.clear()  # one at a time: each holds the weights of its shape
            graphs[key] = capture(module, batch.args, batch.kwargs).module(check_guards=False)
        inputs = pytree.tree_leaves((batch.args, batch.kwargs))
        try:
            with evaluating(module):
                _Observing(graphs[key], observers, config).run(*inputs, enable_io_processing=False)
        except NotFiniteError as error:
            raise ValueError(f"{batch}: NaN or infinity occurs in the network: {first_sentence(error)}") from error
    return Ranges({name: observer.range() for name, observer in observers.items() if not observer.empty})
