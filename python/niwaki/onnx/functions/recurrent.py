"""Recurrent layers as ONNX defines them, and between its arrays and torch's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F


def item(made: Sequence[Any], index: int) -> Any:
    """One of several results."""
    return made[index]


def no_state(x: torch.Tensor, directions: int, hidden: int, batch_first: bool) -> torch.Tensor:
    """A state of zeros, [directions, batch, hidden]."""
    return torch.zeros(directions, x.shape[0 if batch_first else 1], hidden, dtype=x.dtype)


def outputs(made: Any, directions: int, hidden: int, reverse: bool, batch_first: bool) -> list[torch.Tensor]:
    """Y, Y_h and for an LSTM Y_c, as ONNX lays them out, of what a layer of torch returns."""
    y, states = made
    time = 1 if batch_first else 0
    if reverse:
        y = y.flip([time])
    y = y.unflatten(-1, (directions, hidden))
    if not batch_first:
        y = y.transpose(1, 2)  # [time, directions, batch, hidden]
    last = list(states) if isinstance(states, tuple) else [states]
    return [y, *((state.transpose(0, 1) for state in last) if batch_first else last)]


def run(
    kind: str,
    x: torch.Tensor,
    weight: torch.Tensor,
    recurrence: torch.Tensor,
    bias: torch.Tensor | None,
    h0: torch.Tensor | None,
    c0: torch.Tensor | None,
    lengths: torch.Tensor | None,
    peephole: torch.Tensor | None,
    functions: Sequence[str],
    numbers: Sequence[tuple[float | None, float | None]],
    direction: str,
    hidden: int,
    clip: float | None,
    coupled: bool,
    after: bool,
    batch_first: bool,
) -> list[torch.Tensor]:
    """An LSTM, GRU or RNN with all that ONNX allows, step by step. A capture of it is for one length of time.

    Args:
        kind: "LSTM", "GRU" or "RNN".
        x: [time, batch, inputs], or [batch, time, inputs] with batch_first.
        weight, recurrence, bias: [directions, gates hidden, inputs], [directions, gates hidden, hidden],
            [directions, 2 gates hidden].
        h0, c0: [directions, batch, hidden].
        lengths: [batch], of each sequence.
        peephole: [directions, 3 hidden].
        functions, numbers: of each direction the activations, and their alpha and beta.
        direction: "forward", "reverse" or "bidirectional".
        hidden: the size of the state.
        clip: what gates are bounded by before their activation.
        coupled: the forget gate is 1 less the input gate.
        after: the reset gate is applied after the product with the state.
        batch_first: the layout.
    """
    if batch_first:
        x = x.transpose(0, 1)
        h0, c0 = (None if state is None else state.transpose(0, 1) for state in (h0, c0))
    steps, batch = int(x.shape[0]), x.shape[1]
    found, last_h, last_c = [], [], []
    each = len(functions) // len(weight)
    for index in range(len(weight)):
        chosen = [_activation(name, *numbers[index * each + place]) for place, name in
                  enumerate(functions[index * each : (index + 1) * each])]  # fmt: skip
        zero = torch.zeros(batch, hidden, dtype=x.dtype)
        h = zero if h0 is None else h0[index]
        c = zero if c0 is None else c0[index]
        step = _step(kind, weight[index], recurrence[index], None if bias is None else bias[index],
                     None if peephole is None else peephole[index], chosen, hidden, clip, coupled, after)  # fmt: skip
        backwards = direction == "reverse" or index == 1
        made: list[torch.Tensor] = []
        for time in reversed(range(steps)) if backwards else range(steps):
            new_h, new_c = step(x[time], h, c)
            if lengths is None:
                h, c = new_h, new_c
                made.append(h)
            else:
                inside = (time < lengths).unsqueeze(1)
                h, c = torch.where(inside, new_h, h), torch.where(inside, new_c, c)
                made.append(torch.where(inside, new_h, zero))
        found.append(torch.stack(made[::-1] if backwards else made))
        last_h.append(h)
        last_c.append(c)
    y, y_h, y_c = torch.stack(found, 1), torch.stack(last_h), torch.stack(last_c)
    if batch_first:
        y, y_h, y_c = y.permute(2, 0, 1, 3), y_h.transpose(0, 1), y_c.transpose(0, 1)
    return [y, y_h, y_c]


def _step(
    kind: str,
    weight: torch.Tensor,
    recurrence: torch.Tensor,
    bias: torch.Tensor | None,
    peephole: torch.Tensor | None,
    functions: Sequence[Callable[[torch.Tensor], torch.Tensor]],
    hidden: int,
    clip: float | None,
    coupled: bool,
    after: bool,
) -> Callable[[torch.Tensor, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    size = len(weight)
    input_bias, state_bias = (None, None) if bias is None else (bias[:size], bias[size:])

    def bounded(x: torch.Tensor) -> torch.Tensor:
        return x if clip is None or clip == 0 else x.clamp(-clip, clip)

    def rnn(x: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return functions[0](bounded(F.linear(x, weight, input_bias) + F.linear(h, recurrence, state_bias))), c

    def gru(x: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        z, r, n = F.linear(x, weight, input_bias).split(hidden, -1)
        rz, rr, rn = recurrence.split(hidden)
        bz, br, bn = (None, None, None) if state_bias is None else state_bias.split(hidden)
        update = functions[0](bounded(z + F.linear(h, rz, bz)))
        reset = functions[0](bounded(r + F.linear(h, rr, br)))
        new = n + (reset * F.linear(h, rn, bn) if after else F.linear(reset * h, rn, bn))
        return (1 - update) * functions[1](bounded(new)) + update * h, c

    def lstm(x: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        gates = F.linear(x, weight, input_bias) + F.linear(h, recurrence, state_bias)
        i, o, f, g = gates.split(hidden, -1)
        pi, po, pf = (0.0, 0.0, 0.0) if peephole is None else peephole.split(hidden)
        enter = functions[0](bounded(i + pi * c))
        keep = 1 - enter if coupled else functions[0](bounded(f + pf * c))
        new_c = keep * c + enter * functions[1](bounded(g))
        leave = functions[0](bounded(o + po * new_c))
        return leave * functions[2](new_c), new_c

    return {"RNN": rnn, "GRU": gru, "LSTM": lstm}[kind]


def _activation(name: str, alpha: float | None, beta: float | None) -> Callable[[torch.Tensor], torch.Tensor]:
    """An activation by its name in ONNX, with its defaults."""

    def number(value: float | None, default: float) -> float:
        return default if value is None else value

    table: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "Relu": torch.relu,
        "Tanh": torch.tanh,
        "Sigmoid": torch.sigmoid,
        "Softsign": F.softsign,
        "Softplus": F.softplus,
        "Affine": lambda x: number(alpha, 1.0) * x + number(beta, 0.0),
        "LeakyRelu": lambda x: F.leaky_relu(x, number(alpha, 0.01)),
        "ThresholdedRelu": lambda x: F.threshold(x, number(alpha, 1.0), 0.0),
        "ScaledTanh": lambda x: number(alpha, 1.0) * torch.tanh(number(beta, 1.0) * x),
        "HardSigmoid": lambda x: (number(alpha, 0.2) * x + number(beta, 0.5)).clamp(0, 1),
        "Elu": lambda x: F.elu(x, number(alpha, 1.0)),
    }
    return table[name]
