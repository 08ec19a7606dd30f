"""Which recurrent layers multiply bytes: those whose results it does not cost much."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from niwaki.capture import evaluating
from niwaki.nn.recurrent import Recurrent, quantized_recurrent
from niwaki.quantization.config import QuantizeConfig
from niwaki.quantization.inputs import Batch

# Of a layer's results, ||y - y_float|| / ||y_float||: what rounding inputs and states to 8 bits may cost.
_MOST_ERROR = 0.05
_CALLS = 8  # of each layer, the most that are looked at
UNCALLED = "not called as a layer when the network ran"
_LOOPED = "in float32, for a file has the float32 weights of a cell in a loop once, and int8 ones for each call"


def quantize_recurrent(
    model: nn.Module, layers: Mapping[str, nn.RNNBase | nn.RNNCellBase], batch: Batch, config: QuantizeConfig
) -> tuple[dict[str, Recurrent], dict[str, str]]:
    """What stands for each of a network's recurrent layers, by its name; and why others stay as they are.

    With the precision 'auto', a layer that loses too much by rounding its inputs and states keeps them in float32. So
    do cells that the network calls more than once, in a loop of its own: a graph has a node with int8 weights for each
    call, and a file would have the weights as often, where it has those of float32 products once.
    """
    calls = _calls(model, layers, batch) if layers else {}
    made, reasons = {}, {}
    for name, layer in layers.items():
        if not calls[name]:  # others may read its weights
            reasons[name] = UNCALLED
        elif isinstance(layer, nn.RNNCellBase) and len(calls[name]) > 1:
            reasons[name] = _LOOPED
        else:
            made[name] = quantized_recurrent(layer, bits=config.bits_of(name), name=name).eval()
    if config.precision != "auto":
        return made, reasons
    for name, small in made.items():
        error = max((_error(small, args, kwargs) for args, kwargs in calls[name]), default=0.0)
        if not error <= _MOST_ERROR:
            small.keep_rows_in_float32(f"8 bits for its inputs and states would cost {100 * error:.1f} %")
    return made, reasons


def _calls(
    model: nn.Module, layers: Mapping[str, nn.RNNBase | nn.RNNCellBase], batch: Batch
) -> dict[str, list[tuple[tuple[Any, ...], dict[str, Any]]]]:
    """What each layer is called with, when the network takes a batch."""
    calls: dict[str, list[tuple[tuple[Any, ...], dict[str, Any]]]] = defaultdict(list)

    def keep(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if len(calls[name]) < _CALLS:
            calls[name].append((args, kwargs))

    with contextlib.ExitStack() as stack:
        for name, layer in layers.items():
            hook = layer.register_forward_pre_hook(
                lambda _, args, kwargs, name=name: keep(name, args, kwargs), with_kwargs=True
            )
            stack.callback(hook.remove)
        stack.enter_context(evaluating(model))
        given = batch.copy()
        model(*given.args, **given.kwargs)
    return calls


def _error(small: Recurrent, args: tuple[Any, ...], kwargs: dict[str, Any]) -> float:
    with torch.no_grad():
        found, wanted = (_first(function(*args, **kwargs)) for function in (small, small.in_float32))
    return float((found - wanted).norm() / wanted.norm()) if wanted.any() else 0.0


def _first(results: Any) -> torch.Tensor:
    y = results if isinstance(results, torch.Tensor) else results[0]
    return y.data if isinstance(y, PackedSequence) else y
