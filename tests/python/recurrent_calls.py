"""Calls of recurrent layers, for tests."""

from __future__ import annotations

import torch
from torch import nn

from niwaki.layerwise.sequences import Sequences


def sequences(layer: nn.RNNBase, lengths: list[int]) -> Sequences:
    """Random inputs and states of a plain form."""
    steps, count = max(lengths), len(lengths)
    ways = layer.num_layers * (1 + layer.bidirectional)
    sizes = [layer.proj_size or layer.hidden_size, layer.hidden_size][: 1 + isinstance(layer, nn.LSTM)]
    ends = torch.tensor(lengths)
    x = torch.randn(steps, count, layer.input_size) * (torch.arange(steps)[:, None] < ends)[:, :, None]
    states = tuple(torch.randn(ways, count, size) for size in sizes)
    return Sequences(x, ends, states, torch.arange(count))
