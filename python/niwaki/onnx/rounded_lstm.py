"""ONNX Runtime's DynamicQuantizeLSTM as a layer, and what it becomes for compilation and for compression."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from niwaki.nn.recurrent import LSTM
from niwaki.onnx.functions.quantized import dequantize, dynamic
from niwaki.onnx.integer_weights import LARGEST
from niwaki.onnx.own_ranges import calls_of, with_range


class RoundedLSTM(nn.LSTM):
    """An LSTM whose inputs, and whose state at each step, are uint8 in the range of their values.

    It has the parameters of torch.nn.LSTM, and takes and returns the same, [time, batch, inputs]. A capture of it is
    for one length of time.

    Attributes:
        file_scales: what the file multiplies the integers of each weight by, by the parameter's name: float32, one for
            each row.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.file_scales: dict[str, torch.Tensor] = {}

    def forward(self, x: Any, hx: Any = None) -> Any:
        steps, batch = int(x.shape[0]), x.shape[1]
        x = _rounded(x)
        found, last_h, last_c = [], [], []
        for index, end in enumerate(_ends(self)):
            weight, recurrence = getattr(self, f"weight_ih_{end}"), getattr(self, f"weight_hh_{end}")
            biases = [getattr(self, f"bias_{each}_{end}") if self.bias else None for each in ("ih", "hh")]
            zero = torch.zeros(batch, self.hidden_size, dtype=x.dtype)
            h, c = (zero, zero) if hx is None else (hx[0][index], hx[1][index])
            made = []
            for time in reversed(range(steps)) if index else range(steps):
                gates = F.linear(x[time], weight, biases[0]) + F.linear(_rounded(h), recurrence, biases[1])
                enter, keep, new, leave = gates.chunk(4, -1)
                c = torch.sigmoid(keep) * c + torch.sigmoid(enter) * torch.tanh(new)
                h = torch.sigmoid(leave) * torch.tanh(c)
                made.append(h)
            found.append(torch.stack(made[::-1] if index else made))
            last_h.append(h)
            last_c.append(c)
        return torch.cat(found, -1), (torch.stack(last_h), torch.stack(last_c))


def plain_form(layer: RoundedLSTM) -> nn.LSTM:
    """The LSTM without rounding: its parameters are the layer's."""
    sizes = layer.input_size, layer.hidden_size
    made = nn.LSTM(*sizes, bias=layer.bias, bidirectional=layer.bidirectional, device="meta")
    for name, parameter in layer.named_parameters():
        setattr(made, name, parameter)
    return made.train(layer.training)


def make_native(module: fx.GraphModule) -> None:
    """Puts layers that run in the core in the place of these.

    Inputs are rounded with one range for all steps, as in the file. A state has the range of its sequence, where the
    file takes that of all sequences of a batch: of a single one they are the same. Where weights are no int8 of ours
    any more, or never were, nothing is rounded.
    """
    for path, calls in calls_of(module).items():
        layer = module.get_submodule(path)
        if type(layer) is not RoundedLSTM:
            continue
        made = _int8_form(layer)
        module.set_submodule(path, plain_form(layer) if made is None else made)
        if made is None:
            continue
        for call in calls:
            source: Any = call.args[0]
            with module.graph.inserting_before(call):
                call.update_arg(0, with_range(module.graph, source))


def _int8_form(layer: RoundedLSTM) -> LSTM | None:
    """The layer with the file's integers and two inputs more; None where there are none that fit."""
    codes = {}
    for name, scale in layer.file_scales.items():
        weight = getattr(layer, name).detach()
        q = torch.round(weight / scale[:, None])
        same = bool((scale > 0).all()) and torch.equal(q * scale[:, None], weight)
        if not same or bool((q.abs() > LARGEST).any()):
            return None
        codes[name] = q if "_hh" in name else F.pad(q, (0, 2))
    wide = nn.LSTM(
        layer.input_size + 2, layer.hidden_size, bias=layer.bias, bidirectional=layer.bidirectional, device="meta"
    ).to_empty(device="cpu")
    with torch.no_grad():
        for name, parameter in wide.named_parameters():
            parameter.copy_(codes[name] if name in codes else getattr(layer, name))
    made = LSTM(wide).eval()
    for name, scale in layer.file_scales.items():
        getattr(made, name).copy_(codes[name])
        getattr(made, f"{name}_scale").copy_(scale)
    return made


def _rounded(values: torch.Tensor) -> torch.Tensor:
    q, scale, zero = dynamic(values)
    return dequantize(q, scale, zero)


def _ends(layer: nn.LSTM) -> list[str]:
    return ["l0", "l0_reverse"][: 1 + layer.bidirectional]
