"""DynamicQuantizeLSTM of ONNX Runtime: int8 weights, and inputs and states that are rounded when it runs."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from niwaki.onnx.call import Call
from niwaki.onnx.dtypes import FLOAT, is_float
from niwaki.onnx.errors import Refusal
from niwaki.onnx.functions import recurrent
from niwaki.onnx.operators.quantized import as_float, dequantize
from niwaki.onnx.operators.recurrent import initial_state, torch_gates
from niwaki.onnx.registry import operator
from niwaki.onnx.rounded_lstm import RoundedLSTM
from niwaki.onnx.values import Dims, Value


@operator("DynamicQuantizeLSTM", domain="com.microsoft")
def _dynamic_lstm(call: Call) -> Any:
    call.only("layout", 0)
    direction = call.only("direction", "forward", "reverse", "bidirectional")
    hidden = call.integer("hidden_size", 0)
    count = 2 if direction == "bidirectional" else 1
    names = [each.decode() for each in call.attribute("activations") or []]
    if names and [name.lower() for name in names] != ["sigmoid", "tanh", "tanh"] * count:
        raise Refusal(f"its activations {names} are not supported")
    if call.attribute("activation_alpha") or call.attribute("activation_beta") or call.attribute("clip"):
        raise Refusal("its activations have numbers, or a bound")
    call.only("input_forget", 0)
    for index in (4, 7):
        if call.given(index):
            raise Refusal(f"its input {index} is not supported")
    bias = call.whole(3) if call.given(3) else None
    weights, scales = zip(*(_weight(call, index, scale) for index, scale in ((1, 8), (2, 10))), strict=True)

    def make() -> nn.Module:
        layer: Any = RoundedLSTM(
            weights[0].shape[2], hidden, bias=bias is not None, bidirectional=count == 2, device="meta"
        )
        found = {}
        for index in range(count):
            end = "_reverse" if index else ""
            for name, weight, scale in zip(("ih", "hh"), weights, scales, strict=True):
                found[f"weight_{name}_l0{end}"] = torch_gates("LSTM", weight[index], hidden)
                layer.file_scales[f"weight_{name}_l0{end}"] = torch_gates("LSTM", scale[index], hidden)
            if bias is not None:
                for place, name in enumerate(("ih", "hh")):
                    half = bias[index, 4 * hidden * place : 4 * hidden * (place + 1)]
                    found[f"bias_{name}_l0{end}"] = torch_gates("LSTM", half, hidden)
        for name, value in found.items():
            setattr(layer, name, nn.Parameter(value))
        return layer  # type: ignore[no-any-return]

    x = call.x(0)
    if direction == "reverse":
        x = call.call(torch.flip, x, [0])
    states = [initial_state(call, index, False) for index in (5, 6)]
    key = ("dynamic_lstm", call.value(1).data, call.value(2).data, bias, direction)
    if all(state is None for state in states):
        made = call.layer(key, make, x)
    else:
        none = call.call(recurrent.no_state, x, count, hidden, False)
        made = call.layer(key, make, x, tuple(none if state is None else state for state in states))
    found = call.call(recurrent.outputs, made, count, hidden, direction == "reverse", False)
    steps, batch = (call.value(0).dims or (None,) * 3)[:2]
    shapes: list[Dims] = [(steps, count, batch, hidden), (count, batch, hidden), (count, batch, hidden)]
    return [Value(call.call(recurrent.item, found, index), FLOAT, dims) for index, dims in enumerate(shapes)]


def _weight(call: Call, index: int, scale: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A weight [directions, gates hidden, inputs], and what its integers are multiplied by, of each row."""
    units, zeros = _gates(call, scale), _gates(call, scale + 1)
    weight = dequantize(call, as_float(call, index), units, zeros)
    if not isinstance(weight, torch.Tensor) or not isinstance(units, torch.Tensor):
        raise Refusal(f"its input '{call.value(index).name}' has to be a constant, as it is part of what it computes")
    # ONNX Runtime has W and R as [directions, inputs, gates].
    return weight.transpose(1, 2), units.expand(weight.shape[0], 1, weight.shape[2])[:, 0]


def _gates(call: Call, index: int) -> Any:
    """A scale or zero point of each direction, or of each of its gates."""
    value = call.value(index)
    data = as_float(call, index) if not is_float(value.elem) else call.x(index)
    if value.rank == 1:
        return call.method("reshape", data, [-1, 1, 1])
    if value.rank == 2:
        return call.call(torch.unsqueeze, data, 1)
    raise Refusal(f"its input {index} has an unknown shape")
