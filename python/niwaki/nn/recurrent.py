"""Recurrent layers in int8: a quarter of the size, and products of bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import _VF, nn
from torch.nn.utils.rnn import PackedSequence

from niwaki.modules.names import recurrent_names
from niwaki.nn.recurrent_op import dynamic_packed, dynamic_recurrent
from niwaki.quantization.weights import quantize_weight

_SCALE = "_scale"
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "LSTM": _VF.lstm, "GRU": _VF.gru, "RNN_TANH": _VF.rnn_tanh, "RNN_RELU": _VF.rnn_relu,
}  # fmt: skip


@torch.library.custom_op("niwaki::scaled_rows", mutates_args=())
def scaled_rows(weight: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """The numbers that int8 [O, I] stand for, with a scale for each row, float32 [O]."""
    return weight.float() * scale[:, None]


@scaled_rows.register_fake
def _(weight, scale):  # type: ignore[no-untyped-def]
    return scale.new_empty(weight.shape)


class Recurrent(nn.Module):
    """A torch.nn.LSTM, GRU or RNN with int8 weights, a scale for each row of each gate; takes and returns the same.

    Inputs and hidden states are rounded to uint8 when it runs, each row with its own range; gates and cells are
    float32. Layers that this would cost too much are multiplied in float32, with the numbers that the int8 weights
    stand for.

    Args:
        layer: float32, on the CPU. It is not changed.
        bits: of the weights, 2 to 8.
        name: its place in the network, for reports.

    Attributes:
        name: see there.
        dynamic: whether inputs and states are rounded.
        reason: why not.
    """

    def __init__(self, layer: nn.RNNBase | nn.RNNCellBase, *, bits: int = 8, name: str = "") -> None:
        super().__init__()
        self.name, self.mode = name, _mode(layer)
        self.dynamic, self.reason = True, ""
        self._names = recurrent_names(layer)
        self.input_size, self.hidden_size, self.bias = layer.input_size, layer.hidden_size, layer.bias
        self.proj_size, self.num_layers, self.bidirectional, self.batch_first = 0, 1, False, False
        if isinstance(layer, nn.RNNBase):
            self.proj_size, self.num_layers = layer.proj_size, layer.num_layers
            self.bidirectional, self.batch_first = layer.bidirectional, layer.batch_first
        with torch.inference_mode(False):
            for key in self._names:
                value = getattr(layer, key).detach()
                if key.startswith("weight"):
                    q, scale = quantize_weight(value, None, 1.0, bits=bits)
                    self.register_buffer(key, q)
                    self.register_buffer(key + _SCALE, scale)
                else:
                    self.register_buffer(key, value.clone())

    def weights(self) -> dict[str, torch.Tensor]:
        """int8, by torch's names."""
        return {key: getattr(self, key) for key in self._names if key.startswith("weight")}

    def _floats(self) -> list[torch.Tensor]:
        """In torch's order."""
        values = ((getattr(self, key), getattr(self, key + _SCALE, None)) for key in self._names)
        return [value if scale is None else scaled_rows(value, scale) for value, scale in values]

    def keep_rows_in_float32(self, reason: str) -> None:
        """From now on, inputs and states are not rounded."""
        self.dynamic, self.reason = False, reason

    def forward(self, input: Any, hx: Any = None) -> Any:
        return self._run(input, hx, self.dynamic)

    def in_float32(self, input: Any, hx: Any = None) -> Any:
        """As `forward`, without rounding inputs and states."""
        return self._run(input, hx, dynamic=False)

    def _dynamic_options(self, states: Any) -> tuple[Any, ...]:
        weights = self.weights()
        return (
            list(states) if self.mode == "LSTM" else [states], list(weights.values()),
            [getattr(self, key + _SCALE) for key in weights],
            [getattr(self, key) for key in self._names if key.startswith("bias")],
            self.mode.lower(), self.num_layers, self.bidirectional,
        )  # fmt: skip

    def _dynamic(self, x: torch.Tensor, states: Any) -> Any:
        return dynamic_recurrent(x, *self._dynamic_options(states), self.batch_first)

    def _floating(self, x: torch.Tensor, states: Any) -> Any:
        return _FUNCTIONS[self.mode](
            x, states, self._floats(), self.bias, self.num_layers, 0.0, False, self.bidirectional, self.batch_first
        )

    def _run(self, x: Any, hx: Any, dynamic: bool) -> Any:
        if isinstance(x, PackedSequence):
            return self._packed(x, hx, dynamic)
        single, axis = x.dim() == 2, 0 if self.batch_first else 1
        if single:
            x = x.unsqueeze(axis)
            hx = None if hx is None else self._each(hx, lambda state: state.unsqueeze(1))
        states = self._zeros(x.shape[axis]) if hx is None else hx
        y, *last = self._dynamic(x, states) if dynamic else self._floating(x, states)
        if single:
            y, last = y.squeeze(axis), [state.squeeze(1) for state in last]
        return y, tuple(last) if self.mode == "LSTM" else last[0]

    def _packed(self, x: PackedSequence, hx: Any, dynamic: bool) -> Any:
        states = self._zeros(x.batch_sizes[0]) if hx is None else hx
        order = x.sorted_indices
        if hx is not None and order is not None:
            states = self._each(hx, lambda state: state.index_select(1, order))
        y, *last = (
            dynamic_packed(x.data, x.batch_sizes, *self._dynamic_options(states))
            if dynamic
            else _FUNCTIONS[self.mode](
                x.data, x.batch_sizes, states, self._floats(), self.bias, self.num_layers, 0.0, False,
                self.bidirectional,
            )
        )  # fmt: skip
        if x.unsorted_indices is not None:
            last = [state.index_select(1, x.unsorted_indices) for state in last]
        packed = PackedSequence(y, x.batch_sizes, x.sorted_indices, x.unsorted_indices)
        return packed, tuple(last) if self.mode == "LSTM" else last[0]

    def _each(self, states: Any, function: Callable[[torch.Tensor], torch.Tensor]) -> Any:
        return tuple(map(function, states)) if self.mode == "LSTM" else function(states)

    def _zeros(self, batch: Any) -> Any:
        layers = self.num_layers * (2 if self.bidirectional else 1)
        h = torch.zeros(layers, batch, self.proj_size or self.hidden_size)
        return (h, torch.zeros(layers, batch, self.hidden_size)) if self.mode == "LSTM" else h

    def extra_repr(self) -> str:
        return (
            f"{self.mode}, {self.input_size}, {self.hidden_size}, num_layers={self.num_layers}, "
            f"bidirectional={self.bidirectional}, dynamic={self.dynamic}, int8"
        )


class LSTM(Recurrent):
    """torch.nn.LSTM with int8 weights; see Recurrent."""


class GRU(Recurrent):
    """torch.nn.GRU with int8 weights; see Recurrent."""


class RNN(Recurrent):
    """torch.nn.RNN with int8 weights; see Recurrent."""


class RecurrentCell(Recurrent):
    """A torch.nn.LSTMCell, GRUCell or RNNCell with int8 weights: one step of a `Recurrent` layer.

    It takes and returns the same as the cell.
    """

    def _run(self, x: Any, hx: Any, dynamic: bool) -> Any:
        single = x.dim() == 1
        if single:
            x, hx = x[None], None if hx is None else self._each(hx, lambda state: state[None])
        states = self._zeros(x.shape[0]) if hx is None else self._each(hx, lambda state: state[None])
        _, *last = self._dynamic(x[None], states) if dynamic else self._floating(x[None], states)
        last = [state[0, 0] if single else state[0] for state in last]
        return tuple(last) if self.mode == "LSTM" else last[0]


class LSTMCell(RecurrentCell):
    """torch.nn.LSTMCell with int8 weights; see RecurrentCell."""


class GRUCell(RecurrentCell):
    """torch.nn.GRUCell with int8 weights; see RecurrentCell."""


class RNNCell(RecurrentCell):
    """torch.nn.RNNCell with int8 weights; see RecurrentCell."""


def _mode(layer: nn.RNNBase | nn.RNNCellBase) -> str:
    if isinstance(layer, nn.RNNBase):
        return layer.mode
    if isinstance(layer, nn.RNNCell):
        return f"RNN_{layer.nonlinearity.upper()}"
    return "LSTM" if isinstance(layer, nn.LSTMCell) else "GRU"


def quantized_recurrent(layer: nn.RNNBase | nn.RNNCellBase, *, bits: int = 8, name: str = "") -> Recurrent:
    """What stands for one of torch's recurrent layers, or cells."""
    kinds: dict[type[nn.Module], type[Recurrent]] = {
        nn.LSTM: LSTM, nn.GRU: GRU, nn.RNN: RNN, nn.LSTMCell: LSTMCell, nn.GRUCell: GRUCell, nn.RNNCell: RNNCell,
    }  # fmt: skip
    return kinds[type(layer)](layer, bits=bits, name=name)
