"""Recurrent layers, as torch's where they compute the same."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from niwaki.onnx.call import Call
from niwaki.onnx.errors import Refusal
from niwaki.onnx.functions import recurrent
from niwaki.onnx.registry import operator

# Where torch has the gates of ONNX: i o f c are i f c o of torch, z r h are r z h.
_ORDERS = {"LSTM": [0, 2, 3, 1], "GRU": [1, 0, 2], "RNN": [0]}
_DEFAULTS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}
_FUNCTIONS = ("Relu", "Tanh", "Sigmoid", "Affine", "LeakyRelu", "ThresholdedRelu", "ScaledTanh", "HardSigmoid", "Elu",
              "Softsign", "Softplus")  # fmt: skip


@operator("LSTM", "GRU", "RNN", since=7)
def _recurrent(call: Call) -> Any:
    kind = call.operator
    direction = call.only("direction", "forward", "reverse", "bidirectional")
    directions = 2 if direction == "bidirectional" else 1
    batch_first = call.flag("layout")
    hidden = call.integer("hidden_size", 0)
    dims = call.value(2).dims
    if not hidden:
        if dims is None or dims[-1] is None:
            raise Refusal("its hidden_size is not known")
        hidden = dims[-1]
    functions, numbers = _activations(call, kind, directions)
    clip = call.attribute("clip")
    coupled = call.flag("input_forget") if kind == "LSTM" else False
    after = call.flag("linear_before_reset") if kind == "GRU" else True
    peephole = call.optional(7) if kind == "LSTM" else None
    known = [call.value(index).data if call.given(index) else None for index in (1, 2, 3)]
    constant = all(each is None or isinstance(each, torch.Tensor) for each in known)
    lengths = call.optional(4)
    plain = functions == _DEFAULTS[kind] * directions or (kind == "RNN" and functions == ["Relu"] * directions)
    if not (constant and plain and after) or clip or coupled or peephole is not None or lengths is not None:
        given = [call.x(1), call.x(2), *(call.optional(index) for index in (3, 5))]
        given.append(call.optional(6) if kind == "LSTM" else None)
        made = call.call(
            recurrent.run, kind, call.x(0), *given, lengths, peephole, functions, numbers, direction, hidden,
            clip, coupled, after, batch_first,
        )  # fmt: skip
        return [call.call(recurrent.item, made, index) for index in range(call.outputs)]
    return _layer(call, kind, direction, hidden, functions[0], batch_first)


def _activations(call: Call, kind: str, directions: int) -> tuple[list[str], list[tuple[float | None, float | None]]]:
    given = call.attribute("activations")
    names = [each.decode() for each in given] if given else _DEFAULTS[kind] * directions
    by_lower = {name.lower(): name for name in _FUNCTIONS}
    unknown = [name for name in names if name.lower() not in by_lower]
    if unknown or len(names) != len(_DEFAULTS[kind]) * directions:
        raise Refusal(f"its activations {names} are not supported")
    alphas = [float(each) for each in call.attribute("activation_alpha") or []]
    betas = [float(each) for each in call.attribute("activation_beta") or []]
    numbers = [
        (alphas[index] if index < len(alphas) else None, betas[index] if index < len(betas) else None)
        for index in range(len(names))
    ]
    return [by_lower[name.lower()] for name in names], numbers


def torch_gates(kind: str, rows: torch.Tensor, hidden: int) -> torch.Tensor:
    """Rows of gates, in torch's order instead of ONNX's."""
    return torch.cat([rows[each * hidden : (each + 1) * hidden] for each in _ORDERS[kind]])


def _layer(call: Call, kind: str, direction: str, hidden: int, activation: str, batch_first: bool) -> Any:
    weight, recurrence = call.whole(1), call.whole(2)
    bias = call.whole(3) if call.given(3) else None
    directions = len(weight)
    order = _ORDERS[kind]

    def gates(matrix: torch.Tensor) -> torch.Tensor:
        return torch_gates(kind, matrix, hidden)

    def make() -> nn.Module:
        more = {"nonlinearity": activation.lower()} if kind == "RNN" else {}
        layer: Any = getattr(nn, kind)(
            weight.shape[2], hidden, bias=bias is not None, bidirectional=directions == 2, batch_first=batch_first,
            **more,
        )  # fmt: skip
        with torch.no_grad():
            for index in range(directions):
                end = "_reverse" if index else ""
                getattr(layer, f"weight_ih_l0{end}").copy_(gates(weight[index]))
                getattr(layer, f"weight_hh_l0{end}").copy_(gates(recurrence[index]))
                if bias is not None:
                    half = len(order) * hidden
                    getattr(layer, f"bias_ih_l0{end}").copy_(gates(bias[index, :half]))
                    getattr(layer, f"bias_hh_l0{end}").copy_(gates(bias[index, half:]))
        return layer  # type: ignore[no-any-return]

    x = call.x(0)
    time = 1 if batch_first else 0
    if direction == "reverse":
        x = call.call(torch.flip, x, [time])
    states = [initial_state(call, index, batch_first) for index in ((5, 6) if kind == "LSTM" else (5,))]
    key = (kind, weight, recurrence, bias, batch_first, activation)
    if all(state is None for state in states):
        made = call.layer(key, make, x)
    else:
        filled = [state if state is not None else call.call(recurrent.no_state, x, directions, hidden, batch_first)
                  for state in states]  # fmt: skip
        made = call.layer(key, make, x, tuple(filled) if kind == "LSTM" else filled[0])
    outputs = call.call(recurrent.outputs, made, directions, hidden, direction == "reverse", batch_first)
    return [call.call(recurrent.item, outputs, index) for index in range(call.outputs)]


def initial_state(call: Call, index: int, batch_first: bool) -> Any:
    """An initial state as torch takes it; None where it is not given, or is zeros."""
    if not call.given(index):
        return None
    value = call.value(index)
    if value.fill == 0:
        return None
    return call.call(torch.transpose, call.x(index), 0, 1) if batch_first else call.x(index)
