"""An LSTM whose weights are int8: a quarter of the size, the arithmetic is torch's, in float32."""

from __future__ import annotations

from typing import Any

import torch
from torch import _VF, nn
from torch.nn.utils.rnn import PackedSequence

from niwaki.quantization.weights import quantize_weight

_SCALE = "_scale"


class LSTM(nn.Module):
    """torch.nn.LSTM with int8 weights, a scale for each row of each gate. It takes and returns what torch's does.

    Weights are turned into float32 for each call, which runs torch's own kernel; activations and states stay float32.

    Args:
        lstm: float32, on the CPU. It is not changed.
        bits: of the weights, 2 to 8.
        name: its place in the network, for reports.

    Attributes:
        name: see there.
    """

    def __init__(self, lstm: nn.LSTM, *, bits: int = 8, name: str = "") -> None:
        super().__init__()
        self.name = name
        self._names: list[str] = list(lstm._flat_weights_names)
        self.input_size, self.hidden_size, self.proj_size = lstm.input_size, lstm.hidden_size, lstm.proj_size
        self.num_layers, self.bidirectional = lstm.num_layers, lstm.bidirectional
        self.batch_first, self.bias = lstm.batch_first, lstm.bias
        for key in self._names:
            value = getattr(lstm, key).detach()
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
        return [
            getattr(self, key).float() * getattr(self, key + _SCALE)[:, None]
            if key.startswith("weight")
            else getattr(self, key)
            for key in self._names
        ]

    def forward(self, x: Any, hx: tuple[torch.Tensor, torch.Tensor] | None = None) -> Any:
        if isinstance(x, PackedSequence):
            return self._packed(x, hx)
        single = x.dim() == 2
        if single:
            x = x.unsqueeze(0 if self.batch_first else 1)
            hx = None if hx is None else (hx[0].unsqueeze(1), hx[1].unsqueeze(1))
        batch = x.shape[0 if self.batch_first else 1]
        y, h, c = _VF.lstm(
            x, self._zeros(batch) if hx is None else hx, self._floats(), self.bias, self.num_layers, 0.0, False,
            self.bidirectional, self.batch_first,
        )  # fmt: skip
        if single:
            y, h, c = y.squeeze(0 if self.batch_first else 1), h.squeeze(1), c.squeeze(1)
        return y, (h, c)

    def _packed(self, x: PackedSequence, hx: tuple[torch.Tensor, torch.Tensor] | None) -> Any:
        state = self._zeros(int(x.batch_sizes[0])) if hx is None else hx
        if hx is not None and x.sorted_indices is not None:
            state = (hx[0].index_select(1, x.sorted_indices), hx[1].index_select(1, x.sorted_indices))
        y, h, c = _VF.lstm(
            x.data, x.batch_sizes, state, self._floats(), self.bias, self.num_layers, 0.0, False, self.bidirectional
        )
        if x.unsorted_indices is not None:
            h, c = (part.index_select(1, x.unsorted_indices) for part in (h, c))
        return PackedSequence(y, x.batch_sizes, x.sorted_indices, x.unsorted_indices), (h, c)

    def _zeros(self, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
        layers = self.num_layers * (2 if self.bidirectional else 1)
        return torch.zeros(layers, batch, self.proj_size or self.hidden_size), torch.zeros(
            layers, batch, self.hidden_size
        )

    def extra_repr(self) -> str:
        return (
            f"{self.input_size}, {self.hidden_size}, num_layers={self.num_layers}, bidirectional={self.bidirectional}"
        )
