"""Which recurrent layers multiply bytes: those whose results it does not cost much."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from niwaki.capture import evaluating
from niwaki.nn.recurrent import Recurrent, RecurrentCell, quantized_recurrent
from niwaki.quantization.config import QuantizeConfig
from niwaki.quantization.inputs import Batch

# Of a layer's results, ||y - y_float|| / ||y_float||: what rounding inputs and states to 8 bits may cost.
_MOST_ERROR = 0.05
_CALLS = 64  # of each layer, the most that are looked at
UNCALLED = "not called as a layer when the network ran"


@dataclass(frozen=True)
class _Call:
    """
    Attributes:
        x, states: what a layer was called with.
        ends: the states that it ended with.
    """

    x: Any
    states: Any
    ends: Any

    def follows(self, earlier: _Call) -> bool:
        """Whether it begins where an earlier call ended."""
        begin, end = (x if isinstance(x, tuple) else (x,) for x in (self.states, earlier.ends))
        return self.states is not None and all(
            a.data_ptr() == b.data_ptr() and a.shape == b.shape for a, b in zip(begin, end, strict=True)
        )


def quantize_recurrent(
    model: nn.Module, layers: Mapping[str, nn.RNNBase | nn.RNNCellBase], batch: Batch, config: QuantizeConfig
) -> tuple[dict[str, Recurrent], dict[str, str]]:
    """What stands for each of a network's recurrent layers, by its name; and why others stay as they are.

    With the precision 'auto', a layer that loses too much by rounding its inputs and states keeps them in float32. Of
    one that the network calls in a loop of its own, the steps are taken together: what an early one loses, later ones
    inherit.
    """
    calls = _calls(model, layers, batch) if layers else {}
    made, reasons = {}, {}
    for name, layer in layers.items():
        if not calls[name]:  # others may read its weights
            reasons[name] = UNCALLED
        else:
            made[name] = quantized_recurrent(layer, bits=config.bits_of(name), name=name).eval()
    if config.precision != "auto":
        return made, reasons
    for name, small in made.items():
        error = max(_errors(small, calls[name]), default=0.0)
        if not error <= _MOST_ERROR:
            small.keep_rows_in_float32(f"8 bits for its inputs and states would cost {100 * error:.1f} %")
    return made, reasons


def _calls(model: nn.Module, layers: Mapping[str, nn.RNNBase | nn.RNNCellBase], batch: Batch) -> dict[str, list[_Call]]:
    """What each layer is called with, and gives, when the network takes a batch."""
    calls: dict[str, list[_Call]] = defaultdict(list)

    def keep(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if len(calls[name]) < _CALLS:
            x = args[0] if args else kwargs["input"]
            states = args[1] if len(args) > 1 else kwargs.get("hx")
            calls[name].append(_Call(x, states, _states(layers[name], output)))

    with contextlib.ExitStack() as stack:
        for name, layer in layers.items():
            hook = layer.register_forward_hook(
                lambda _, args, kwargs, output, name=name: keep(name, args, kwargs, output), with_kwargs=True
            )
            stack.callback(hook.remove)
        stack.enter_context(evaluating(model))
        given = batch.copy()
        model(*given.args, **given.kwargs)
    return calls


def _errors(small: Recurrent, calls: Sequence[_Call]) -> Iterator[float]:
    """What rounding inputs and states costs the results of each call."""
    ends: list[tuple[_Call, tuple[Any, Any]]] = []  # of calls: with rounding and without
    for call in calls:
        # The states with which the call goes on, where they are what another call ended with.
        before = next((results for earlier, results in reversed(ends) if call.follows(earlier)), None)
        given = (call.states, call.states) if before is None else [_states(small, each) for each in before]
        with torch.no_grad():
            results = small(call.x, given[0]), small.in_float32(call.x, given[1])
        ends.append((call, results))
        found, wanted = map(_first, results)
        yield float((found - wanted).norm() / wanted.norm()) if wanted.any() else 0.0


def _states(layer: nn.Module, results: Any) -> Any:
    """What a layer, or a cell, ends with."""
    return results if isinstance(layer, (RecurrentCell, nn.RNNCellBase)) else results[1]


def _first(results: Any) -> torch.Tensor:
    y = results if isinstance(results, torch.Tensor) else results[0]
    return y.data if isinstance(y, PackedSequence) else y
